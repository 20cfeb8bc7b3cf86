"""A place that keeps what is PUT there and gives it back, as a site that keeps signed heads does; it may be down."""

from pathlib import Path
from typing import Any, Self

from starlette.types import Receive, Scope, Send

from broker.testing.certificates import CertificateAuthority
from broker.testing.server import LoopbackServer, bind


class KeepingSite:
    """Serves one path over HTTPS."""

    def __init__(self, directory: Path) -> None:
        authority = CertificateAuthority(directory)
        listener = bind(0)
        self.kept: str | None = None
        self.status: int | None = None
        """What it answers instead of doing its work, if anything."""
        self.authority = authority.certificate_file
        self._place = f"https://127.0.0.1:{listener.getsockname()[1]}/heads/test"
        self._server = LoopbackServer(self._answer, authority.issue("heads"), listener)

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.__exit__(None, None, None)

    def document(self, name: str = "second-site") -> dict[str, Any]:
        """Return what the Broker document says of it under `trail.ship`."""
        return {
            "to": "https",
            "name": name,
            "url": self._place,
            "private_ranges": ["127.0.0.0/8"],
            "certificate_authority": str(self.authority),
        }

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        status, text = 200, b""
        if self.status is not None:
            status = self.status
        elif scope["method"] == "PUT":
            self.kept = body.decode()
        elif self.kept is None:
            status = 404
        else:
            text = self.kept.encode()
        headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(text)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": text})
