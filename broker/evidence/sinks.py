"""The places off this machine that keep the newest signed head: files on other disks, and URLs."""

import asyncio
import contextlib
import os
import tempfile
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from broker.documents import SinkSource
from broker.egress import Client, Dispatch, Egress, Limits, Reach
from broker.errors import Refusal

_LARGEST = 1 << 16  # bytes of a signed head
_SECONDS = 10.0
_OK = range(200, 300)
_NONE = (404, 410)
_HEADERS = {"Content-Type": "text/plain; charset=utf-8"}


class SinkFailed(Exception):  # noqa: N818 - it is what happened
    """A sink could not be read or written; the text says why, in our words."""


class Sink(Protocol):
    """Keeps one signed head. Both verbs raise `SinkFailed`."""

    name: str

    async def fetch(self) -> str | None:
        """Return the head that it keeps; None if it has none."""

    async def put(self, note: str) -> None:
        """Replace the head that it keeps; it is there, whole, once this returns."""


def open_sink(source: SinkSource, egress: Egress) -> Sink:
    """Return the sink that a document describes."""
    if source.file is not None:
        return FileSink(source.name, source.file)
    url = source.url or ""
    limits = Limits(total_seconds=_SECONDS, response_bytes=_LARGEST, connections=1)
    reach = Reach(frozenset({urlsplit(url).netloc.lower()}), source.private)
    return HttpsSink(source.name, url, egress.client(reach, limits, source.authority))


class FileSink:
    """A file, replaced as a whole."""

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self._path = path

    async def fetch(self) -> str | None:
        """Read the file."""
        return await asyncio.to_thread(self._read)

    async def put(self, note: str) -> None:
        """Replace the file; on disk once this returns."""
        await asyncio.to_thread(self._write, note)

    def _read(self) -> str | None:
        try:
            with self._path.open("rb") as file:
                return file.read(_LARGEST).decode("utf-8", "replace")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SinkFailed(f"{self._path} cannot be read: {error.strerror}") from None

    def _write(self, note: str) -> None:
        partial = None
        try:
            descriptor, partial = tempfile.mkstemp(prefix=f".{self._path.name}.", dir=self._path.parent)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(note)
                file.flush()
                os.fsync(file.fileno())
            Path(partial).chmod(0o644)  # it is there to be read
            Path(partial).replace(self._path)
            partial = None
            _sync_directory(self._path.parent)
        except OSError as error:
            raise SinkFailed(f"{self._path} cannot be written: {error.strerror}") from None
        finally:
            if partial is not None:
                with contextlib.suppress(OSError):
                    Path(partial).unlink()


class HttpsSink:
    """What answers a PUT with any 2xx, and a GET with what was PUT, or 404."""

    def __init__(self, name: str, url: str, client: Client) -> None:
        self.name = name
        self._url = url
        self._client = client

    async def fetch(self) -> str | None:
        """Get what is there."""
        status, body = await self._send("GET", None)
        if status in _NONE:
            return None
        if status not in _OK:
            raise SinkFailed(f"a GET is answered with HTTP {status}")
        return body.decode("utf-8", "replace")

    async def put(self, note: str) -> None:
        """Put it there."""
        status, _ = await self._send("PUT", note.encode())
        if status not in _OK:
            raise SinkFailed(f"a PUT is answered with HTTP {status}")

    async def _send(self, method: str, body: bytes | None) -> tuple[int, bytes]:
        try:
            response = await self._client.send(method, self._url, _HEADERS, body, Dispatch())
        except Refusal as refusal:
            raise SinkFailed(f"{refusal.code}: {refusal.detail or refusal.message}") from None
        return response.status, response.body


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
