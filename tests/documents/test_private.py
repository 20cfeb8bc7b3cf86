"""What is never kept: private keys, however they are written."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from broker.documents.private import holds_private_key
from broker.testing.trust_domain import DevelopmentTrustDomain

EC = ECKey.generate_key("P-256", auto_kid=False)
KEYS: dict[str, Any] = {
    "EC": EC,
    "RSA": RSAKey.generate_key(2048, auto_kid=False),
    "OKP": OKPKey.generate_key("Ed25519", auto_kid=False),
    "oct": OctKey.generate_key(256, auto_kid=False),
}
JWK = json.dumps(EC.as_dict(private=True))
PEM = KEYS["RSA"].as_pem(private=True).decode()
BLOCK = "\n".join(f"{name}: {value}" for name, value in EC.as_dict(private=True).items())


@pytest.mark.parametrize("kind", KEYS)
def test_a_private_json_web_key_is_known(kind: str) -> None:
    """RFC 7518 §6: 'd' of an asymmetric key, 'k' of a symmetric one; alone, in a set, and in something else."""
    key = KEYS[kind].as_dict(private=True)

    for value in (key, {"keys": [key]}, [{"a": {"b": [1, key]}}]):
        for text in (json.dumps(value), json.dumps(value, indent=2), json.dumps(value, separators=(",", ":"))):
            assert holds_private_key(text.encode())


@pytest.mark.parametrize(
    "text",
    [
        PEM,
        EC.as_pem(private=True).decode(),
        "-----BEGIN ENCRYPTED PRIVATE KEY-----",
        "-----BEGIN OPENSSH PRIVATE KEY-----",
        "-----BEGIN PGP PRIVATE KEY BLOCK-----",
        "AGE-SECRET-KEY-1QQQQ",
        "a certificate\n" + PEM,
        BLOCK,
        BLOCK.replace("d: ", "d: >-\n  "),
        BLOCK.replace("d: ", "'d': &anchor !!str "),
        BLOCK.replace("d: ", 'd:\n  "'),
        BLOCK.replace("d: ", "? d\n: "),
        "spec: {key: " + JWK + "}",
        "key: " + json.dumps(JWK),
        json.dumps({"key": json.dumps({"key": JWK})}),
        JWK.replace('"d"', '"\\u0064"'),
    ],
)
def test_a_private_key_is_known_however_it_is_written(text: str) -> None:
    """Issue 3, `aam documents history`: no private key of any kind is kept, in PEM, JSON, YAML or quoted in them."""
    assert holds_private_key(text.encode())


def test_an_encoding_hides_nothing() -> None:
    """A certificate file of another system may be UTF-16."""
    assert holds_private_key(PEM.encode("utf-16"))
    assert holds_private_key(JWK.encode("utf-16-le"))


@pytest.mark.parametrize("kind", ["EC", "RSA", "OKP"])
def test_a_public_key_is_kept(kind: str) -> None:
    """The history is of use: trust bundles, certificates and documents are in it."""
    public = KEYS[kind].as_dict(private=False)

    assert not holds_private_key(json.dumps({"keys": [public]}).encode())
    assert not holds_private_key(KEYS[kind].as_pem(private=False))


def test_an_ordinary_file_is_kept() -> None:
    """A bundle has a kty and no private part; a document may have a key 'd' and no kty."""
    bundle = json.dumps(DevelopmentTrustDomain.new("prod").bundle(), indent=2).encode()

    for content in (bundle, b"-----BEGIN CERTIFICATE-----\nMIIB", b"d: aaaaaaaaaaaaaaaaaaaaaaaa", b"", b"\xff\x00"):
        assert not holds_private_key(content)


@given(st.binary(min_size=32, max_size=66), st.sampled_from(["", " ", "\n\t "]), st.text(max_size=20))
def test_no_private_part_escapes(secret: bytes, space: str, around: str) -> None:
    """Whatever the key is, and whatever stands around it."""
    value = base64.urlsafe_b64encode(secret).decode().rstrip("=")
    key = f'{{"kty":{space}"EC","crv":"P-256",{space}"d"{space}:{space}"{value}"}}'

    assert holds_private_key((around + key + around).encode("utf-8", "replace"))
