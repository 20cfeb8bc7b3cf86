"""The search for the access token in everything that must not hold it, and the proof that the search works."""

import base64
import json
import time
from collections.abc import Mapping
from pathlib import Path

import requests
from joserfc import jwt
from joserfc.jwk import RSAKey

from broker.cli.demo.servers import Servers


def places(servers: Servers, received: bytes, export: Path) -> Mapping[str, bytes]:
    """Return, by what it is, the content of everything that agents, operators or thieves could read."""
    directory = servers.directory
    return {
        "what the clients received": received,
        "the broker's log": servers.log.read_bytes(),
        "the exported trail": export.read_bytes(),
        "the database files": b"".join(path.read_bytes() for path in sorted((directory / "data").iterdir())),
        "the documents": b"".join(path.read_bytes() for path in directory.rglob("*.*") if path.is_file()),
        "the broker's command line": _read(Path(f"/proc/{servers.broker.pid}/cmdline")),
    }


def count(canary: str, text: bytes) -> int:
    """Count how often what is in every token stands in a text: in clear, as base64 at any offset, as hex."""
    raw = canary.encode()
    middles = {base64.b64encode(b"\0" * shift + raw)[4:-4] for shift in range(3)}
    return sum(text.count(needle) for needle in {raw, raw.hex().encode(), raw.hex().upper().encode(), *middles})


def token_without_the_broker(servers: Servers) -> str:
    """Take a token with the account's own key, as the service's administrator could."""
    service = servers.service
    key = RSAKey.import_key(Path(service["private_key_file"]).read_text())
    claims = {"iss": service["consumer_key"], "sub": service["username"], "aud": service["audience"]}
    with requests.Session() as session:
        session.trust_env = False
        answer = session.post(
            service["url"] + "/services/oauth2/token",
            data={
                "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
                "assertion": jwt.encode({"alg": "RS256"}, {**claims, "exp": int(time.time()) + 60}, key),
            },
            verify=service["ca_file"],
            timeout=5,
        )
    return str(json.loads(answer.text).get("access_token", ""))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # not Linux: there is no such file, and nothing to look at
        return b"-"
