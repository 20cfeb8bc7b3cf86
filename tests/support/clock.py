"""A clock that a test turns, for one module of ours: the event loops of the process keep theirs."""


class Clock:
    """Stands in for `time` where a module has imported it: `monkeypatch.setattr("broker.x.time", Clock(100.0))`.

    To patch `time.monotonic` itself would have every event loop of this process sleep for hours.
    """

    def __init__(self, now: float) -> None:
        self.now = now

    def time(self) -> float:
        """Return what it shows."""
        return self.now

    def monotonic(self) -> float:
        """Return what it shows."""
        return self.now
