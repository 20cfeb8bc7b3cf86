"""Private keys that sign assertions, read from PEM text."""

import warnings

from joserfc.errors import SecurityWarning
from joserfc.jwk import RSAKey

from broker.egress import Secret

_RSA_BITS = 2048  # RFC 7518 §3.3


def check_private_key(pem: Secret) -> None:
    """Return if the PEM text holds an RSA private key that can sign; raise `ValueError` otherwise."""
    signing_key(pem)


def signing_key(pem: Secret) -> RSAKey:
    """Return the key in PEM text; raise `ValueError` for anything but an RSA private key that is long enough."""
    key: RSAKey | None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SecurityWarning)  # of small keys, which are refused below
            key = RSAKey.import_key(pem.reveal())
    except Exception:  # noqa: BLE001 - parsers of keys raise many things, and their words may quote the key
        key = None
    if key is None or key.private_key is None or key.private_key.key_size < _RSA_BITS:
        raise ValueError(
            f"an RSA private key of {_RSA_BITS} bits or more in PEM form, without a passphrase, is expected"
        )
    return key
