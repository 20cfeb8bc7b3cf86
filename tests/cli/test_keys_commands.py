"""`aam keys`: issued, listed, revoked."""

from collections.abc import Callable
from typing import Any

import pytest

Aam = Callable[..., Any]


def test_a_key_is_shown_once_listed_by_its_id_and_revoked(aam: Aam, served: Any) -> None:
    """Issue 4: through the operators' socket; stdout holds the key and nothing else, so that it can be piped away."""
    where = ("--dir", served.directory)
    added = aam("keys", "add", "finance-analyst", "--days", "7", "--label", "a notebook", *where)
    key = added.out.strip()
    key_id, _, secret = key.rpartition("_")
    listed, as_json = aam("keys", "list", *where), aam("keys", "list", "--json", *where)

    revoked = aam("keys", "revoke", key_id, "--reason", "ticket 1", *where)
    again = aam("keys", "revoke", key_id, "--reason", "ticket 1", *where)

    assert (added.code, listed.code, revoked.code, again.code) == (0, 0, 0, 2)
    assert key.startswith("aamk_")
    assert "a notebook" in listed.out
    assert secret not in listed.out + as_json.out + revoked.out + added.err
    (found,) = [one for one in as_json.json if one["id"] == key_id]
    assert (found["agent"], found["status"]) == ("finance-analyst", "active")
    assert "finance-analyst" in added.err


@pytest.mark.parametrize(
    "arguments",
    [("add", "nobody"), ("add", "finance-analyst", "--days", "366"), ("revoke", "aamk_none", "--reason", "why")],
)
def test_what_cannot_be_is_misuse(aam: Aam, served: Any, arguments: tuple[str, ...]) -> None:
    """Exit status 2, and nothing is issued."""
    before = len(served.daemon.get("/v1/keys"))

    ran = aam("keys", *arguments, "--dir", served.directory)

    assert ran.code == 2
    assert len(served.daemon.get("/v1/keys")) == before
