"""What a server behind a tool says to the client that called: looked at for credentials, counted, capped."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec

from broker.connector import Dialogue
from broker.errors import LeakBlocked, ResultTooLarge, UpstreamMalformed
from broker.redact import Matcher, scrub


class Guarded:
    """A dialogue through which no credential passes. Satisfies `connector.Dialogue`."""

    def __init__(self, dialogue: Dialogue, matcher: Matcher, longest: int, asked: Counter[str]) -> None:
        self._dialogue = dialogue
        self._matcher = matcher
        self._longest = longest
        self._asked = asked
        self.waits = dialogue.waits
        self.capabilities = dialogue.capabilities
        self.log_level = dialogue.log_level
        self.answers = dialogue.answers
        self.state = dialogue.state

    async def ask(self, method: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        """Ask the client; raise `LeakBlocked` if the question holds a credential."""
        question = self._cleaned(params)
        self._asked[method] += 1
        return await self._dialogue.ask(method, question)

    def asks(self, method: str) -> None:
        """Note that the client is asked this by the answer, which is looked at as every result is."""
        self._asked[method] += 1

    async def log(self, level: str, data: Any, logger: str | None) -> None:
        """Tell the client; a message that holds a credential is told to nobody."""
        try:
            said = self._cleaned([data, logger])
        except LeakBlocked:
            return
        self._asked["notifications/message"] += 1
        await self._dialogue.log(level, *said)

    async def updated(self, uri: str) -> None:
        """Tell the client of a change; of a resource whose name holds a credential, nobody."""
        try:
            said = self._cleaned(uri)
        except LeakBlocked:
            return
        self._asked["notifications/resources/updated"] += 1
        await self._dialogue.updated(said)

    def begun(self) -> None:
        """Note that a subscription is open."""
        self._dialogue.begun()

    async def ended(self) -> None:
        """Return once the client wants its subscription no more."""
        await self._dialogue.ended()

    def _cleaned(self, value: Any) -> Any:
        try:
            text = msgspec.json.encode(value)
        except (UnicodeEncodeError, RecursionError):
            raise UpstreamMalformed(detail="a question with a lone surrogate, or nested too deeply") from None
        if len(text) > self._longest:
            raise ResultTooLarge(f"The server says {len(text)} bytes at once, over {self._longest}.")
        if self._matcher.hits(text):
            raise LeakBlocked(detail="a question held the credential of this call")
        return msgspec.json.decode(scrub(msgspec.json.decode(text), text).text)
