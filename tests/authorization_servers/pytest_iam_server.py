"""PyPI pytest-iam (Canaille) over TLS on loopback: python pytest_iam_server.py KEY CERTIFICATE PORT CLIENTS.

Run by a Python of its own (AAM_IAM_PYTHON). Whoever comes to its authorization endpoint is signed in and has consented.
"""

import datetime
import json
import ssl
import sys
import uuid
from typing import Any

import pytest_iam  # in an environment of its own
from canaille import create_app
from canaille.backends import Backend
from joserfc.jwk import JWKRegistry


def main() -> None:
    """Serve until the process is ended."""
    key, certificate, port, clients = sys.argv[1:]
    jwk = JWKRegistry.generate_key("RSA", 2048)
    jwk.ensure_kid()
    configuration: dict[str, Any] = {
        "TESTING": True,
        "ENV_FILE": None,
        "SECRET_KEY": str(uuid.uuid4()),
        "WTF_CSRF_ENABLED": False,
        "PREFERRED_URL_SCHEME": "https",
        "SERVER_NAME": f"localhost:{port}",
        "CANAILLE": {
            "DATABASE": "memory",
            "JAVASCRIPT": False,
            "ACL": {"DEFAULT": {"PERMISSIONS": ["use_oidc", "manage_oidc"]}},
        },
        "CANAILLE_OIDC": {"ACTIVE_JWKS": [jwk.as_dict(private=True)], "REQUIRE_NONCE": False},
    }
    app = create_app(config=configuration)
    server = pytest_iam.Server(app, int(port), Backend.instance)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.httpd.base_environ["wsgi.url_scheme"] = "https"
    server.httpd.socket = context.wrap_socket(server.httpd.socket, server_side=True)
    with app.app_context():
        user = server.random_user(user_name="jane")
        server.backend.save(user)
        for client in json.loads(clients):
            add_client(server, client)
        server.login(user)
        server.consent(user)
    where = {"authorization": "/oauth/authorize", "token": "/oauth/token", "revocation": "/oauth/revoke"}
    sys.stdout.write(json.dumps(where) + "\n")
    sys.stdout.flush()
    server.httpd.serve_forever()


def add_client(server: Any, client: dict[str, Any]) -> None:
    """Register a client, described by the names of RFC 7591."""
    names = {"private_key_jwt": "client_assertion_jwt"}  # Canaille has a word of its own for it
    method = client["token_endpoint_auth_method"]
    made = server.models.Client(
        client_id=client["client_id"],
        client_secret=client.get("client_secret", ""),
        client_id_issued_at=datetime.datetime.now(datetime.UTC),
        client_name=client["client_id"],
        redirect_uris=client["redirect_uris"],
        grant_types=client["grant_types"],
        response_types=client["response_types"],
        scope=client["scope"].split(),
        token_endpoint_auth_method=names.get(method, method),
        jwks=json.dumps(client["jwks"]) if "jwks" in client else None,
    )
    server.backend.save(made)


if __name__ == "__main__":
    main()
