"""A value that must not be seen: no repr, no pickle, no comparison that leaks its length in time."""

import hmac
from typing import NoReturn


class Secret:
    """A token, key or password. Only `vault`, `oauth` and `egress` may call `reveal`; a test holds that."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the value itself, for the statement that needs it."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._value.encode(), other._value.encode())

    __hash__ = None  # type: ignore[assignment] # a secret is no key

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled")


class HeaderSecret(Secret):
    """A whole header's value, and the header's name: a token goes into `Authorization`, a key perhaps elsewhere."""

    __slots__ = ("name",)

    def __init__(self, value: str, name: str = "Authorization") -> None:
        super().__init__(value)
        self.name = name

    __hash__ = None  # as of any secret
