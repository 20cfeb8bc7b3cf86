"""An export as it comes from the broker: whole, or no export."""

from collections.abc import Iterator

from broker.audit import Gap, Statement


class Whole:
    """Sees to it that an export does not end before the log does, and counts its records."""

    def __init__(self) -> None:
        self.records = 0

    def checked(self, lines: Iterator[bytes], stated: Statement) -> Iterator[bytes]:
        """Yield the lines; raise `ValueError` if they end too early."""
        reached = 0
        for line in lines:
            gap = Gap.parse(line)
            reached = reached + 1 if gap is None else gap.stop
            self.records += gap is None
            yield line
        if reached != stated.size:
            raise ValueError(f"it ended after {reached} of {stated.size} records")
