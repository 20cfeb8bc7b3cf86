"""Server-sent events, taken apart as they come (WHATWG HTML §9.2.6)."""

from collections.abc import Iterator
from dataclasses import dataclass

from broker.connector import errors


@dataclass(frozen=True, slots=True)
class Event:
    """One event: what kind, and its data."""

    kind: str
    data: str


class Events:
    """Takes bytes, gives events; remembers where the stream can be taken up again, and when."""

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._rest = bytearray()  # of a line whose end has not come
        self._data: list[str] = []
        self._size = 0  # of the data; each line counts for its end too, so that empty ones do
        self._kind = ""
        self.last_id = ""
        self.retry_seconds = 1.0

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """Yield every event that is whole now; raise `UpstreamTooLarge` for one that never ends."""
        first, *lines = chunk.split(b"\n")
        self._rest += first
        for line in lines:
            self._check_size()
            whole = bytes(self._rest)
            self._rest = bytearray(line)
            yield from self._line(whole.rstrip(b"\r").decode("utf-8", "replace"))
        self._check_size()

    def _check_size(self) -> None:
        if self._size + len(self._rest) > self._longest:
            raise errors.UpstreamTooLarge(detail="one event is larger than an answer may be")

    def _line(self, line: str) -> Iterator[Event]:
        if not line:
            if self._data:
                yield Event(self._kind or "message", "\n".join(self._data))
            self._data, self._kind, self._size = [], "", 0
            return
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "data":
                self._data.append(value)
                self._size += len(value) + 1
            case "event":
                self._kind = value
            case "id" if "\0" not in value:
                self.last_id = value
            case "retry" if value.isdecimal():
                self.retry_seconds = min(int(value) / 1000, 10.0)
