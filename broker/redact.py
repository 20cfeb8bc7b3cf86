"""What may leave: results narrowed to what a tool declares, and never a credential's own text.

Gets an opaque matcher, not the secret.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from broker.errors import LeakBlocked, ResultTooLarge

# Shapes of credentials that are not ours: they are taken out wherever they stand.
_CREDENTIAL_SHAPES = re.compile(
    rb"00D[A-Za-z0-9]{12,15}![A-Za-z0-9._]{80,}"  # Salesforce session ids and access tokens
    rb"|eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}"  # JSON Web Tokens
    rb"|ya29\.[A-Za-z0-9_-]{20,}|xox[abp]-[A-Za-z0-9-]{10,}|gh[opsu]_[A-Za-z0-9]{20,}"  # Google, Slack, GitHub
    rb"|-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]*-----END [A-Z ]*PRIVATE KEY-----"
)
_PLACEHOLDER = b"[credential removed]"


class Matcher(Protocol):
    """Finds the credentials of one attempt, in any usual encoding, without giving them away."""

    def hits(self, data: bytes) -> bool:
        """Tell whether the data holds any of them."""
        ...


@dataclass(frozen=True, slots=True)
class Released:
    """A result that may leave: its JSON text, and how many credential shapes were taken out of it."""

    text: bytes
    removed: int


def release(result: Any, schema: Mapping[str, Any], matcher: Matcher, longest: int) -> Released:
    """Narrow a result to the schema and let it go; raise `LeakBlocked` or `ResultTooLarge` otherwise."""
    try:
        text = msgspec.json.encode(narrow(result, schema))
    except UnicodeEncodeError:
        raise ResultTooLarge("The result holds text that has no encoding.", detail="a lone surrogate") from None
    if len(text) > longest:
        raise ResultTooLarge(f"The result has {len(text)} bytes, over the {longest} that are released.")
    if matcher.hits(text):
        raise LeakBlocked(detail="the result held the credential of this call")
    cleaned, removed = _CREDENTIAL_SHAPES.subn(_PLACEHOLDER, text)
    return Released(cleaned, removed)


def narrow(value: Any, schema: Mapping[str, Any]) -> Any:
    """Return the value with every object member taken off that the schema does not declare."""
    if isinstance(value, Mapping):
        declared = schema.get("properties", {})
        open_members = schema.get("additionalProperties")
        kept = {name: narrow(member, declared[name]) for name, member in value.items() if name in declared}
        if isinstance(open_members, Mapping):
            kept |= {name: narrow(member, open_members) for name, member in value.items() if name not in declared}
        return kept
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        items = schema.get("items", {})
        return [narrow(member, items) for member in value]
    return value
