"""A provider that costs nothing to ask: `python -m tests.benchmarks.model_upstream PORT CERTIFICATE KEY`.

Answers every POST at once, whole or as a stream of twenty events, as fast as asyncio can.
"""

import asyncio
import json
import ssl
import sys
from typing import Any, cast

import uvloop

_WORDS = 20
_HEAD: dict[str, Any] = {"id": "chatcmpl-1", "created": 1, "model": "gpt-small"}
_USAGE = {"prompt_tokens": 40, "completion_tokens": _WORDS, "total_tokens": 60}


def _whole() -> bytes:
    message = {"role": "assistant", "content": "word " * _WORDS}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    body = json.dumps({**_HEAD, "object": "chat.completion", "choices": choices, "usage": _USAGE}).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


def _streamed() -> list[bytes]:
    head = {**_HEAD, "object": "chat.completion.chunk"}
    events = [
        {**head, "choices": [{"index": 0, "delta": {"content": "word "}, "finish_reason": None}], "usage": None}
        for _ in range(_WORDS)
    ]
    events.append({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": None})
    events.append({**head, "choices": [], "usage": _USAGE})
    parts = [b"data: " + json.dumps(event).encode() + b"\n\n" for event in events] + [b"data: [DONE]\n\n"]
    chunks = [b"%x\r\n%b\r\n" % (len(part), part) for part in parts]
    start = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    return [start + chunks[0], b"".join(chunks[1:]) + b"0\r\n\r\n"]


WHOLE, STREAMED = _whole(), _streamed()


class Provider(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)
        self._given = b""

    def data_received(self, data: bytes) -> None:
        """Answer each request that is whole."""
        self._given += data
        while (end := self._given.find(b"\r\n\r\n")) >= 0:
            head = self._given[:end].lower()
            length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
            if len(self._given) < end + 4 + length:
                return
            body, self._given = self._given[end + 4 : end + 4 + length], self._given[end + 4 + length :]
            if b'"stream":true' in body or b'"stream": true' in body:
                for part in STREAMED:
                    self._transport.write(part)
            else:
                self._transport.write(WHOLE)


async def main(port: int, certificate: str, key: str) -> None:
    """Serve for ever."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = await asyncio.get_running_loop().create_server(Provider, "127.0.0.1", port, ssl=context)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), *sys.argv[2:]))
