"""What policies have recorded encrypted of one call: a commitment for its record, the sealed value for beside it.

    {"field":"arguments.id","sha256":"9f86…","bytes":87}
    {"field":"arguments","omitted":"too_large"}

The digest is that of the sealed bytes, so it says nothing of what they hold, not even to whoever can guess it.
"""

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec

from broker.audit import Record, timestamp
from broker.errors import AuditUnavailable
from broker.pipeline.recorder import Recorder
from broker.redact import scrub
from broker.store import Transaction

DEEPEST = 100  # lists and objects within each other; what checks and writes JSON gives up somewhere above
_MOST_FIELDS = 100  # of one call; a record has its own limit

Omitted = Literal["not_json", "too_deep", "too_large", "too_many", "not_sealed"]


@dataclasses.dataclass(frozen=True, slots=True)
class Payload:
    """One value that a policy has recorded: sealed, or omitted and why."""

    field: str
    sealed: bytes = dataclasses.field(default=b"", repr=False)
    omitted: Omitted | None = None

    def record(self) -> Record:
        """Return what the trail says of it."""
        if self.omitted is not None:
            return {"field": self.field, "omitted": self.omitted}
        digest = hashlib.sha256(self.sealed).hexdigest()
        return {"field": self.field, "sha256": digest, "bytes": len(self.sealed)}


class Payloads:
    """Seals what is recorded of one call. Costs nothing where no policy asks."""

    def __init__(self, recorder: Recorder, call_id: str, recorded: Sequence[str]) -> None:
        """Begin with nothing; `recorded` are the words of the agent's policies."""
        self.of_arguments: list[Payload] = []
        self.of_result: list[Payload] = []
        self._recorder = recorder
        self._call_id = call_id
        self._arguments = [word for word in recorded if word != "result"]
        self.wants_arguments = bool(self._arguments)
        self.wants_result = "result" in recorded

    def take_arguments(self, arguments: Mapping[str, Any], text: bytes | None, most: int) -> None:
        """Seal the chosen arguments, whose whole text is given. Raises `AuditUnavailable` if they cannot be sealed.

        What is over `most` bytes in all, or was not to be written or read again, is omitted, and the record says so.
        """
        if (omitted := _unfit(arguments, text, most)) is not None:
            self.of_arguments = [Payload("arguments", omitted=omitted)]
            return
        chosen = list(self._chosen(arguments))
        try:
            self.of_arguments = [self._sealed(name, value) for name, value in chosen[:_MOST_FIELDS]]
        except AuditUnavailable:
            self.of_arguments = [Payload("arguments", omitted="not_sealed")]
            raise
        if len(chosen) > _MOST_FIELDS:
            self.of_arguments.append(Payload("arguments", omitted="too_many"))

    def take_result(self, text: bytes) -> None:
        """Seal a result that is about to be released; raise `AuditUnavailable` if it cannot be sealed."""
        if self.wants_result:
            self.of_result = [self._seal("result", text)]

    def keep(self, transaction: Transaction, payloads: Sequence[Payload]) -> None:
        """Write sealed values, in the transaction of the record that commits to them."""
        for payload in payloads:
            if payload.omitted is None:
                kept = self._recorder.store.payloads
                kept.add(transaction, self._call_id, payload.field, payload.sealed, timestamp())

    def _chosen(self, arguments: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        for word in self._arguments:
            _, _, name = word.partition(".")
            if not name:
                yield word, arguments
            elif name in arguments:
                yield word, arguments[name]

    def _sealed(self, name: str, value: Any) -> Payload:
        """Seal a value as results leave: without what has the shape of a credential."""
        return self._seal(name, scrub(value, msgspec.json.encode(value, order="deterministic")).text)

    def _seal(self, name: str, text: bytes) -> Payload:
        try:
            return Payload(name, self._recorder.seals.sealed_payload(self._call_id, name, text))
        except Exception as error:  # noqa: BLE001 - whatever it is, what must be recorded and cannot be is not done
            raise AuditUnavailable(detail=f"{name} cannot be sealed: {type(error).__name__}") from None


def is_too_deep(value: Any, text: bytes) -> bool:
    """Tell whether a value, whose JSON text is given, is nested more than `DEEPEST` deep."""
    return text.count(b"[") + text.count(b"{") > DEEPEST and _is_deeper(value, DEEPEST)


def _is_deeper(value: Any, most: int) -> bool:
    members = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return most < 0 or any(_is_deeper(member, most - 1) for member in members)


def _unfit(arguments: Mapping[str, Any], text: bytes | None, most: int) -> Omitted | None:
    if text is None:
        return "not_json"
    if len(text) > most:
        return "too_large"
    return "too_deep" if is_too_deep(arguments, text) else None
