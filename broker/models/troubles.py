"""Why a provider did not answer: told from its status and its own codes, never from its words, which stay there."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from broker.errors import (
    ContextTooLong,
    ModelContentRefused,
    ModelRequestRejected,
    ModelUnavailable,
    Refusal,
    UpstreamBusy,
    UpstreamTimeout,
)
from broker.models.document import Trouble

_CONTEXT = frozenset(
    {"context_length_exceeded", "token_limit_exceeded", "max_tokens_exceeded", "string_above_max_length"}
)
_MODERATION = frozenset({"content_filter", "content_policy_violation", "moderation_blocked", "flagged", "refusal"})
_RATE = frozenset({"rate_limit_exceeded", "rate_limit_error"})
_OVERLOADED = frozenset({"overloaded_error", "provider_overloaded", "server_is_overloaded", "slow_down"})
_BY_STATUS: dict[int, Trouble] = {
    401: "credential", 402: "credential", 403: "credential", 408: "timeout", 413: "context_length",
    429: "rate_limited", 503: "overloaded", 504: "timeout", 524: "timeout", 529: "overloaded",
}  # fmt: skip
_LONGEST_CODE = 60
_TOO_LONG = ("prompt is too long", "maximum context length", "context window")
_FIRST_OF_SERVERS = 500
_GAVE_UP = frozenset({408, 499})  # the provider stopped waiting, or says that we did: it may have been at work
_TURNED_AWAY = frozenset({503, 529})  # any proxy says these, too, whatever became of the work behind it
_OK, _ERRORS = 200, range(400, 600)


@dataclass(frozen=True, slots=True)
class Failure:
    """One attempt that failed: why, whether the provider may have billed it, and when it may be tried again."""

    trouble: Trouble | None
    """None for what no other target would answer differently: the request itself is wrong."""
    status: int
    code: str | None = None
    """The provider's own code, where it is a word: for the operator."""
    retry_after: float | None = None

    @property
    def free(self) -> bool:
        """Whether the answer's status, and code, say that the provider did not take the work up: nothing was billed."""
        if self.status in _TURNED_AWAY:
            return self.code in _OVERLOADED
        return 400 <= self.status < _FIRST_OF_SERVERS and self.status not in _GAVE_UP  # noqa: PLR2004

    @property
    def detail(self) -> str:
        """What an operator reads."""
        return f"HTTP {self.status}" + (f" {self.code}" if self.code else "") + f": {self.trouble or 'bad request'}"

    def refusal(self) -> Refusal:
        """Return what the agent is told where no other target can answer. A provider's 402 is nobody's budget here."""
        match self.trouble:
            case None:
                return ModelRequestRejected(detail=self.detail)
            case "context_length":
                return ContextTooLong(detail=self.detail)
            case "moderation":
                return ModelContentRefused(detail=self.detail)
            case "rate_limited":
                wait = max(1, round(self.retry_after or 1))
                return UpstreamBusy(
                    f"The model's provider allows no more calls just now; try again in {wait} seconds.",
                    retry_after=wait,
                    detail=self.detail,
                )
            case "timeout":
                return UpstreamTimeout(detail=self.detail)
        return ModelUnavailable(detail=self.detail)


def failure_of(status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    """Return what an error of a provider means."""
    code, words = _code(body)
    return Failure(_trouble(status, code, words), status, code, _seconds(headers.get("retry-after")))


def failure_within(error: Any) -> Failure:
    """Return what an error in the midst of a stream means, where there is no status but what its own code says.

    Whatever it is, the request was taken: it is never the request alone that is wrong.
    """
    said = error.get("code") if isinstance(error, dict) else None
    if isinstance(said, str) and said.isascii() and said.isdecimal() and len(said) < _LONGEST_CODE:
        said = int(said)
    status = said if type(said) is int and said in _ERRORS else _OK
    code, words = _words(error)
    return Failure(_trouble(status, code, words) or "unavailable", status, code)


def _trouble(status: int, code: str | None, words: str) -> Trouble | None:
    if code in _CONTEXT or (status < _FIRST_OF_SERVERS and any(one in words for one in _TOO_LONG)):
        return "context_length"
    if code in _MODERATION:
        return "moderation"
    if code in _RATE:
        return "rate_limited"
    if code in _OVERLOADED:
        return "overloaded"
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    return "unavailable" if status >= _FIRST_OF_SERVERS or status == 404 else None  # noqa: PLR2004 - no such model there


def _code(body: bytes) -> tuple[str | None, str]:
    """Return the provider's own word for what is wrong, and all its words in lower case, to be searched and dropped."""
    try:
        said: Any = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None, ""
    return _words(said.get("error") if isinstance(said, dict) else None)


def _words(error: Any) -> tuple[str | None, str]:
    if not isinstance(error, dict):
        return None, ""
    metadata = error.get("metadata")
    typed = metadata.get("error_type") if isinstance(metadata, dict) else None
    for found in (typed, error.get("code"), error.get("type")):
        if isinstance(found, str) and found.replace("_", "").isalnum() and found.isascii():
            return found[:_LONGEST_CODE], str(error.get("message", ""))[:2000].lower()
    return None, str(error.get("message", ""))[:2000].lower()


def _seconds(text: str | None) -> float | None:
    try:
        seconds = float(text or "")
    except ValueError:
        return None
    return seconds if 0 <= seconds <= 86_400 else None  # noqa: PLR2004 - a day
