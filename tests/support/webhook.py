"""A place that takes webhooks: what came is kept, and a test says how it is answered."""

import queue
from pathlib import Path
from typing import Self

from starlette.types import Receive, Scope, Send

from broker.testing.certificates import CertificateAuthority
from broker.testing.server import LoopbackServer, bind


class WebhookService:
    """Takes POSTs."""

    def __init__(self, directory: Path) -> None:
        authority = CertificateAuthority(directory)
        listener = bind(0)
        self.url = f"https://127.0.0.1:{listener.getsockname()[1]}/hooks/aam"
        self.authority = authority.certificate_file.read_text()
        self.status = 200
        self.came: queue.Queue[tuple[dict[str, str], bytes]] = queue.Queue()
        """The headers and the body of each message."""
        self._server = LoopbackServer(self._answer, authority.issue("webhook"), listener)

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.__exit__(None, None, None)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        self.came.put(({name.decode(): value.decode() for name, value in scope["headers"]}, body))
        await send({"type": "http.response.start", "status": self.status, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})
