"""A record that does not name the one before it: which of the two is the bad one."""

from typing import Any

from broker.audit.record import NO_HASH
from broker.audit.statement import Gap, Statement
from broker.audit.tree import Head


class BrokenLink:
    """A place where a record does not name the one before it, and the log as it would be with the link mended."""

    def __init__(self, index: int, repaired: Head | None, claimed: Any) -> None:
        self.index = index
        self.next_fits: bool | None = None
        self._repaired: Head | None = None
        if isinstance(claimed, str) and len(claimed) == len(NO_HASH) and index and repaired is not None:
            try:
                self._repaired = repaired.append(bytes.fromhex(claimed))
            except ValueError:
                self._repaired = None

    def follow(self, leaf: bytes) -> None:
        """Append what follows to the mended log too."""
        if self._repaired is not None:
            self._repaired = self._repaired.append(leaf)

    def skip(self, gap: Gap) -> None:
        """Append a gap that follows to the mended log too."""
        if self._repaired is not None:
            self._repaired = gap.onto(self._repaired)

    def verdict(self, stated: Statement, head: Head) -> tuple[int, str]:
        """Say which of the two records at the break is the bad one."""
        if self._repaired is not None and self._repaired.root().hex() == stated.root:
            return self.index - 1, "this record was changed; every other record is as it was committed"
        changed_link = self.next_fits is False or (self.next_fits is None and head.last.hex() != stated.last)
        if changed_link or self.index == 0:
            return self.index, "this record was changed, or its link to the one before it"
        return self.index - 1, "this record is not the one that the next record names"
