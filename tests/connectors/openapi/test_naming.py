"""What operations are called: short, the same each time, each its own, and never harmless for what is not."""

import itertools
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.openapi.description import Description
from connectors.openapi.naming import READING
from connectors.openapi.pinning import pin
from connectors.openapi.settings import Settings

_METHODS = ("get", "post", "put", "patch", "delete")


def described(*operations: str, **more: Any) -> Any:
    """Describe operations, each `METHOD /path operationId`."""
    paths: dict[str, Any] = {}
    for operation in operations:
        method, path, *name = operation.split()
        parameters = [
            {"name": one, "in": "path", "required": True, "schema": {"type": "string"}}
            for one in re.findall(r"\{(\w+)\}", path)
        ]
        paths.setdefault(path, {})[method.lower()] = {
            **({"operationId": name[0]} if name else {}),
            "parameters": parameters,
            "responses": {"200": {"description": ""}},
            **more,
        }
    return {"openapi": "3.1.0", "info": {"title": "T"}, "paths": paths}


def named(*operations: str, resources: dict[str, str] | None = None, **settings: Any) -> dict[str, dict[str, str]]:
    """Return resource, action and operation of each."""
    found = pin(
        Description(described(*operations)), resources or {"notes": "/notes"}, Settings.model_validate(settings)
    )
    return {
        resource: {action: f"{one['method']} {one['path']}" for action, one in actions.items()}
        for resource, actions in found["resources"].items()
    }


def test_actions_are_told_from_methods_and_paths() -> None:
    """Issue 6, openapi: GET of a collection searches, of an item reads; POST creates, PATCH updates, DELETE deletes."""
    found = named(
        *("GET /notes", "POST /notes", "DELETE /notes"),
        *("GET /notes/{id}", "PUT /notes/{id}", "PATCH /notes/{id}", "DELETE /notes/{id}"),
        *("GET /notes/{id}/comments", "POST /notes/{id}/comments", "GET /notes/{id}/comments/{number}"),
        *("POST /notes/{id}/archive notes/archive-it", "POST /notes/{id}/send"),
    )

    assert found == {
        "notes": {
            "search": "GET /notes",
            "create": "POST /notes",
            "delete_all": "DELETE /notes",
            "read": "GET /notes/{id}",
            "replace": "PUT /notes/{id}",
            "update": "PATCH /notes/{id}",
            "delete": "DELETE /notes/{id}",
            "search_comments": "GET /notes/{id}/comments",
            "create_comments": "POST /notes/{id}/comments",
            "read_comments": "GET /notes/{id}/comments/{number}",
            "archive_it": "POST /notes/{id}/archive",
            "send_post": "POST /notes/{id}/send",
        }
    }


def test_the_document_has_the_last_word() -> None:
    """Issue 6, openapi: inferred, and overridable."""
    found = named(
        *("GET /notes", "POST /search findThem", "POST /notes/{id}/archive", "GET /health"),
        operations={
            "findThem": {"resource": "notes", "action": "find", "reads_only": True},
            "POST /notes/{id}/archive": {"action": "archive"},
            "GET /notes": {"leave_out": True},
        },
    )

    assert found == {"notes": {"find": "POST /search", "archive": "POST /notes/{id}/archive"}}


def test_only_what_is_mapped_is_pinned_and_the_nearest_mapping_counts() -> None:
    """Issue 6, openapi: only operations that belong to resources which the document names become tools."""
    operations = ("GET /notes", "GET /notes/{id}/comments", "GET /users", "GET /status")
    resources = {"notes": "/notes", "comments": "/notes/{note}/comments", "state": "GET /status"}

    assert named(*operations, resources=resources) == {
        "comments": {"read": "GET /notes/{id}/comments"},
        "notes": {"read": "GET /notes"},
        "state": {"read_status": "GET /status"},
    }


def test_thousands_of_operations_need_one_line() -> None:
    """`others: by-path` makes a resource of each first word that is no version."""
    operations = ("GET /v1/notes", "GET /v1/users/{id}", "GET /v1/users/{id}/notes")

    found = named(*operations, resources={"notes": "/v1/notes"}, others="by-path")

    assert {resource: list(actions) for resource, actions in found.items()} == {
        "notes": ["read"],
        "users": ["read", "read_notes"],
    }


@pytest.mark.parametrize("name", sorted(READING))
def test_what_writes_is_never_called_as_what_reads(name: str) -> None:
    """A policy that permits `read` permits nothing that a hostile operationId calls so."""
    found = named(f"POST /notes/{{id}}/x {name}", f"POST /notes/{{id}}/y notes_{name}")

    assert not set(found["notes"]) & READING


def test_two_operations_that_the_document_calls_the_same_are_a_mistake() -> None:
    """What is ambiguous is refused, not guessed."""
    with pytest.raises(ValueError, match="two operations of 'notes'"):
        named("GET /notes/a", "GET /notes/b", operations={f"GET /notes/{one}": {"action": "get"} for one in "ab"})


_WORDS = st.sampled_from(["notes", "users", "v1", "{id}", "{other}", "list-all", "Über", "a" * 40, "search", "x.y"])
_OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(_METHODS), st.lists(_WORDS, min_size=1, max_size=6), st.sampled_from(["", "doIt", "read"])
    ),
    min_size=1,
    max_size=12,
    unique_by=lambda operation: (operation[0], tuple(operation[1])),
)


@given(operations=_OPERATIONS)
def test_names_fit_are_each_ones_own_and_are_the_same_each_time(operations: Any) -> None:
    """Issue 6, openapi: [a-zA-Z0-9_-], 64 at most with the connector's, deterministic, and no two alike."""
    texts = {f"{method.upper()} /notes/{'/'.join(parts)} {name}" for method, parts, name in operations}
    usable = [text for text in texts if len(set(re.findall(r"\{\w+\}", text))) == len(re.findall(r"\{\w+\}", text))]

    first, again = (named(*order) for order in (sorted(usable), sorted(usable, reverse=True)))

    assert first == again
    expected = {text.rsplit(" ", 1)[0] for text in usable if "Ü" not in text}
    assert set(itertools.chain(*(one.values() for one in first.values()))) == expected
    assert all(re.fullmatch(r"[a-z][a-z0-9_]{0,44}", action) for one in first.values() for action in one)
