"""An answer that is read as it comes: bounded, cut when nobody wants it any more, and without a trace of the token."""

from collections.abc import Mapping

import aiohttp

from broker.errors import Refusal, UpstreamInterrupted, UpstreamTimeout, UpstreamTooLarge


class Streamed:
    """What came back of one request, as far as it has come. Close it in any case: it holds a connection."""

    __slots__ = ("_most", "_read", "_response", "headers", "status")

    def __init__(self, response: aiohttp.ClientResponse, headers: Mapping[str, str], most: int) -> None:
        self.status = response.status
        self.headers = headers
        self._response = response
        self._most = most
        self._read = 0

    async def next(self) -> bytes:
        """Return what has come, as soon as something has; nothing, once the answer has ended as it should.

        Raises `UpstreamTimeout` where nothing comes any more, `UpstreamInterrupted` where the connection ends first,
        and `UpstreamTooLarge`, counted after decompression.
        """
        failure: Refusal
        try:
            data = await self._response.content.readany()
            self._read += len(data)
            if self._read <= self._most:
                return data
            failure = UpstreamTooLarge(detail=f"over {self._most} bytes")
        except TimeoutError:
            failure = UpstreamTimeout(detail="nothing came any more")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            failure = UpstreamInterrupted(detail=type(error).__name__)
        self._response.close()
        # Raised out here, so that it carries neither their exceptions nor their frames
        raise failure

    async def whole(self) -> bytes:
        """Return all of it. Raises as `next` does."""
        parts = []
        while data := await self.next():
            parts.append(data)
        return b"".join(parts)

    def close(self) -> None:
        """Let the connection go: back to the others if the answer has been read to its end, cut otherwise."""
        self._response.close()
