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
        self._rest = b""
        self._data: list[str] = []
        self._kind = ""
        self.last_id = ""
        self.retry_seconds = 1.0

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """Yield every event that is whole now; raise `UpstreamTooLarge` for one that never ends."""
        self._rest += chunk
        if len(self._rest) + sum(map(len, self._data)) > self._longest:
            raise errors.UpstreamTooLarge(detail="one event is larger than an answer may be")
        *lines, self._rest = self._rest.replace(b"\r\n", b"\n").split(b"\n")
        for line in lines:
            yield from self._line(line.rstrip(b"\r").decode("utf-8", "replace"))

    def _line(self, line: str) -> Iterator[Event]:
        if not line:
            if self._data:
                yield Event(self._kind or "message", "\n".join(self._data))
            self._data, self._kind = [], ""
            return
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "data":
                self._data.append(value)
            case "event":
                self._kind = value
            case "id" if "\0" not in value:
                self.last_id = value
            case "retry" if value.isdecimal():
                self.retry_seconds = min(int(value) / 1000, 10.0)
