"""pytest-iam (Canaille), an authorization server that is not ours, over TLS: `python iam_server.py SETTINGS`.

Runs in an environment of its own, and imports nothing of ours. One person, jane, is logged in and has consented.
Prints one line once it listens.
"""

import json
import ssl
import sys
from typing import Any
from urllib.parse import urlsplit

from canaille import create_app
from canaille.backends import Backend
from canaille.oidc import provider
from joserfc.jwk import RSAKey
from pytest_iam import Server

settings = json.loads(sys.argv[1])
port = urlsplit(settings["issuer"]).port
key = RSAKey.generate_key(2048)
key.ensure_kid()
app = create_app(
    config={
        "TESTING": True,
        "SECRET_KEY": "of this test only",
        "WTF_CSRF_ENABLED": False,
        "PREFERRED_URL_SCHEME": "https",
        "SERVER_NAME": f"localhost:{port}",
        "CANAILLE": {"DATABASE": "memory", "ACL": {"DEFAULT": {"PERMISSIONS": ["use_oidc"]}}},
        "CANAILLE_OIDC": {"ACTIVE_JWKS": [key.as_dict(private=True)], "REQUIRE_NONCE": False},
    }
)
server = Server(app, port, Backend.instance)
written = provider.generate_id_token


def with_client(token: Any, user_info: Any, aud: Any, **more: Any) -> Any:
    """Name the client in access tokens, as RFC 9068 §2.2 asks and Canaille does not."""
    named = {**user_info, "client_id": aud[0]} if not token else user_info
    return written(token=token, user_info=named, aud=aud, **more)


provider.generate_id_token = with_client
with app.app_context():
    models, backend = server.models, server.backend
    jane = models.User(
        user_name="jane", formatted_name="Jane Doe", family_name="Doe", emails=["jane@example.com"], password="x"
    )
    backend.save(jane)
    resource = models.Client(client_id=settings["audience"], client_name="the broker", redirect_uris=[])
    backend.save(resource)
    client = models.Client(
        client_id=settings["client"],
        client_name="desktop",
        token_endpoint_auth_method="none",
        grant_types=["authorization_code", "refresh_token"],
        response_types=["code"],
        redirect_uris=settings["redirects"],
        scope=["openid", "profile"],
    )
    backend.save(client)
    client.audience = [client, resource]
    backend.save(client)
server.login(jane)
server.consent(jane)
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain(settings["certificate"], settings["key"])
server.httpd.socket = context.wrap_socket(server.httpd.socket, server_side=True)
server.httpd.base_environ["HTTPS"] = "on"
sys.stdout.write("listening\n")
sys.stdout.flush()
server.httpd.serve_forever()
