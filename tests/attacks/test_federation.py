"""Proofs of other issuers and access keys, by somebody who should not have them or has made them himself."""

import hmac
import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import requests
from joserfc.jwk import ECKey

from tests.conftest import Serve
from tests.support.broker import ServedBroker, until
from tests.support.clients import Lines, Wire, request
from tests.support.documents import ANALYST, AUDIENCE, TRUST, agents_document
from tests.support.issuers import fresh, issuer_document, key_set, login, signed, write_issuer
from tests.support.low_issuer import encode, key, token
from tests.support.notes import NotesService

OTHER_ISSUER = "https://other.example.com"
DESKTOP = {"agent": "analyst", "client": "desktop"}
WRITE = ("notes_notes_write", {"id": "never"})


@pytest.fixture
def federated(serve: Serve, tmp_path: Path) -> ServedBroker:
    """Serve a broker that takes tokens of two issuers."""
    write_issuer(tmp_path / "access", DESKTOP)
    (tmp_path / "access/other.json").write_bytes(key_set("2"))
    other = issuer_document({"agent": "other", "client": "desktop"}, issuer=OTHER_ISSUER, keys={"file": "other.json"})
    (tmp_path / "access/other.yaml").write_text(other.replace("{name: login}", "{name: other}"))
    return serve()


def payload(**changes: Any) -> dict[str, Any]:
    """Return the claims of a good token, but for some."""
    now = int(time.time())
    return login(**{"aud": [AUDIENCE], "iat": now, "exp": now + 300, **changes})


def forged(broker: ServedBroker) -> Iterator[tuple[str, str, str]]:
    """Yield tokens that prove nothing, each by its own flaw, and with which code they are refused."""
    good, now = fresh(), int(time.time())
    head, body, _ = good.split(".")
    yield "foreign: of a configured issuer's name by another configured issuer", _by("2"), "proof_untrusted"
    yield "foreign: by nobody", signed(payload(), signer=key("P-256", "9")), "proof_untrusted"
    yield "foreign: by a trust domain", broker.written.prod.sign(payload()), "proof_untrusted"
    yield "foreign: of no configured issuer", signed(payload(iss="https://evil.example")), "proof_malformed"
    yield "foreign: an SVID by an issuer", signed(payload(iss=None, sub=ANALYST), typ="JWT"), "proof_untrusted"
    yield "foreign: for another audience", fresh(aud="https://elsewhere.example/mcp"), "proof_for_another_audience"
    yield "foreign: an id token, whose audience is its client", fresh(aud="desktop"), "proof_for_another_audience"
    yield "future: not yet valid", fresh(nbf=now + 3600, exp=now + 3900), "proof_not_yet_valid"
    yield "future: issued later", fresh(iat=now + 3600, exp=now + 3900), "proof_not_yet_valid"
    yield "old", fresh(exp=now - 1), "proof_expired"
    yield "living for ever", fresh(exp=now + 10**8), "proof_lives_too_long"
    yield "oversized", fresh(padding="x" * 8192), "proof_malformed"
    yield "malformed: without a signature", f"{head}.{body}.", "proof_malformed"
    yield "malformed: another's signature", f"{head}.{body}.{fresh(sub='x').split('.')[2]}", "proof_untrusted"
    yield "malformed: two claims of one name", _twice(), "proof_malformed"
    yield "malformed: not canonical", good + "=", "proof_malformed"
    yield "confused: HMAC with the issuer's public key", _hmac(), "proof_malformed"
    yield "confused: the key in the header", signed(payload(), jwk={"kty": "EC"}), "proof_malformed"
    yield "confused: an ID-JAG as a bearer token", signed(payload(), typ="oauth-id-jag+jwt"), "proof_malformed"
    yield "confused: a client's own token as a person's", fresh(sub="desktop"), "identity_unmapped"
    yield "confused: two clients", fresh(azp="another"), "identity_unmapped"
    yield "confused: somebody else acts", fresh(act={"sub": "mallory"}), "identity_unmapped"
    yield "no access key: only its prefix", "aamk_aaaaaaaaaaaa", "proof_malformed"
    yield "no access key: a guess", "aamk_aaaaaaaaaaaa_" + "A" * 43, "proof_untrusted"


def _by(name: str) -> str:
    return signed(payload(), signer=key("P-256", name), kid=f"P-256/{name}")


def _twice() -> str:
    text = json.dumps(payload())
    return token({"alg": "ES256", "kid": "P-256/1"}, text[:-1] + ', "sub": "mallory"}')


def _hmac() -> str:
    text = ".".join(encode(json.dumps(part).encode()) for part in ({"alg": "HS256", "kid": "P-256/1"}, payload()))
    published = cast("ECKey", key("P-256")).as_pem(private=False)
    return f"{text}.{encode(hmac.digest(published, text.encode(), 'sha256'))}"


def test_a_forged_proof_opens_no_door(federated: ServedBroker, notes_service: NotesService) -> None:
    """Issue 4: stolen, foreign-audience, future, oversized and malformed proofs; on every path, with its own code."""
    before = list(notes_service.effects)
    assert Wire(federated, fresh()).tools()

    for flaw, text, code in forged(federated):
        for path in ("/mcp", "/sse", "/messages/"):
            method = "GET" if path == "/sse" else "POST"
            response = requests.request(
                method, federated.url + path, headers={"Authorization": f"Bearer {text}"}, json={}, timeout=60
            )
            assert response.status_code in {401, 403}, flaw
            assert response.json()["error"]["data"]["code"] == code, flaw
        with Lines(federated.agents_socket) as lines:
            assert (
                lines.ask("tools/call", dict(zip(("name", "arguments"), WRITE, strict=True)), {"token": text})["error"][
                    "data"
                ]["code"]
                == code
            ), flaw

    assert notes_service.effects == before


@pytest.mark.slow
def test_a_stolen_token_ends_with_its_agent_and_its_key(federated: ServedBroker) -> None:
    """A bearer proof may repeat until it expires; an operator need not wait for that."""
    stolen = fresh()
    thief = Wire(federated, stolen)
    assert thief.tools()

    federated.written.put("agents.yaml", agents_document("suspended"))
    until(lambda: thief.post(b"{}", "tools/list").status_code == 403)
    federated.written.put("agents.yaml", agents_document())
    until(lambda: thief.post(b"{}", "tools/list").status_code != 403)
    (federated.written.directory / "login.json").write_bytes(key_set("3"))
    until(lambda: thief.post(b"{}", "tools/list").status_code == 401)


def test_a_stolen_token_does_not_take_over_what_another_has_opened(federated: ServedBroker) -> None:
    """lessons.md 5: connections are bound to the principal, and the person is part of it."""
    with Lines(federated.agents_socket) as lines:
        lines.say(request("tools/list"), {"token": fresh(sub="jane")})
        assert "result" in lines.next()
        for proof in (fresh(sub="mallory"), federated.token(), fresh(iss=OTHER_ISSUER), federated.token()):
            lines.say(request("tools/list"), {"token": proof})
            assert "error" in lines.next()


def test_a_stolen_access_key_ends_with_its_agent_and_when_it_is_revoked(federated: ServedBroker) -> None:
    """Issue 4: refused at once, without anything being restarted; what is left of it identifies it."""
    issued = federated.operators.post("/v1/keys", {"agent": "analyst"})
    thief = Wire(federated, issued["key"])
    assert thief.tools()

    federated.written.put("agents.yaml", agents_document("suspended"))
    until(lambda: thief.post(b"{}", "tools/list").status_code == 403)
    federated.operators.post(f"/v1/keys/{issued['id']}/revoke", {"reason": "stolen"})

    assert thief.post(b"{}", "tools/list").json()["error"]["data"]["code"] == "proof_revoked"
    key_ids = [one["outcome"]["detail"] for one in federated.records(kind="authentication_refused")]
    assert f"access key {issued['id']}" in key_ids


def test_no_proof_is_in_a_log_the_trail_or_an_answer(federated: ServedBroker, caplog: pytest.LogCaptureFixture) -> None:
    """Handbook: no token reaches an agent, a log, the trail or a traceback; neither one that is refused."""
    caplog.set_level(logging.DEBUG)
    issued = federated.operators.post("/v1/keys", {"agent": "analyst"})["key"]
    good = [fresh(), issued]
    bad = [text for _, text, _ in forged(federated) if len(text) > 60] + [issued[:-1] + "_"]

    answers = [Wire(federated, text).call("notes_notes_read", {"id": "n1"}).raw for text in good]
    answers += [Wire(federated, text).post(b"{}", "tools/list").content for text in bad]

    secrets = {part for text in (*good, *bad) for part in (text.rpartition(".")[2], text.rpartition("_")[2])}
    told = repr(federated.records()) + caplog.text + repr(answers)
    assert not [secret for secret in secrets if len(secret) > 40 and secret in told]


def test_a_trust_domain_that_lost_its_bundle_takes_no_svid(federated: ServedBroker) -> None:
    """Absent means less: without a bundle nobody proves themselves by SVID, whoever signed it; others are let in."""
    svid = Wire(federated, federated.token())
    assert svid.tools()

    trust = TRUST.replace("development: true, bundle: {file: prod.json}", "development: true")
    federated.written.put("trust.yaml", trust)
    until(lambda: svid.post(b"{}", "tools/list").status_code == 401)

    assert Wire(federated, fresh()).tools()
