"""The bytes of an answer that passes: counted and digested as they go, kept only where they are to be recorded."""

import hmac


class Passed:
    """What has gone to the agent so far."""

    __slots__ = ("_digest", "_kept", "size")

    def __init__(self, digest: hmac.HMAC, *, keep: bool) -> None:
        self.size = 0
        self._digest = digest
        self._kept: list[bytes] | None = [] if keep else None

    def take(self, data: bytes) -> None:
        """Count what goes now."""
        self.size += len(data)
        self._digest.update(data)
        if self._kept is not None:
            self._kept.append(data)

    @property
    def digest(self) -> str:
        """The keyed digest of all of it."""
        return self._digest.hexdigest()

    @property
    def text(self) -> bytes:
        """All of it; nothing where it is not kept."""
        return b"".join(self._kept or ())
