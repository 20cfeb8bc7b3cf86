"""Which resource a URI names: by templates that may come from anywhere, in no more work than the URI is long."""

import ast
import inspect
import re
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.doors.mcp import offers
from broker.doors.mcp.offers import Offers
from broker.errors import InvalidArguments

PIECES = st.lists(st.sampled_from(["a", "b", "/", "ab", "{x}", "{y*}"]), max_size=6).map("".join)
URIS = st.text("ab/", max_size=10)


class Watched(str):
    """A text that counts how often something is looked for in it."""

    __slots__ = ("looked",)

    def find(self, *wanted: Any) -> int:
        """Count, and look."""
        self.looked = getattr(self, "looked", 0) + 1
        return super().find(*wanted)


def reading(template: str) -> Offers:
    """Return what an agent is offered where one connector has such a template."""
    definition = {"resources": [], "templates": [{"uriTemplate": template}]}
    tool = SimpleNamespace(name="up_resources_read", tool=SimpleNamespace(serves="resource", definition=definition))
    return Offers(SimpleNamespace(visible={"w": [tool]}), "w")  # type: ignore[arg-type] # as much as it reads of them


@given(PIECES, URIS)
def test_a_template_fits_the_uris_that_it_always_did(template: str, uri: str) -> None:
    """RFC 6570, as it is taken here: each expression is one character or more."""
    pattern = "".join(".+" if one.startswith("{") else re.escape(one) for one in re.split(r"(\{[^}]*\})", template))

    assert offers._fits({"uriTemplate": template}, uri) == (re.fullmatch(pattern, uri) is not None)


@pytest.mark.parametrize("template", ["repo://{owner}/{repo}/contents{/path*}", "test://{a}/{b}/data"])
def test_a_long_uri_is_looked_through_once_for_each_expression(template: str) -> None:
    """docs/threat-model.md: an agent's URI cannot hold up the broker, before anything is decided."""
    uri = Watched(template[: template.index("{")] + "/" * 8000 + "!")

    assert not offers._fits({"uriTemplate": template}, uri)

    assert uri.looked <= template.count("{")
    imported = [one for one in ast.walk(ast.parse(inspect.getsource(offers))) if isinstance(one, ast.Import)]
    assert "re" not in {name.name for one in imported for name in one.names}


def test_a_uri_that_no_tool_would_take_is_refused_before_it_is_looked_at() -> None:
    """The cap on a URI holds from the first step on."""
    with pytest.raises(InvalidArguments, match="8192"):
        reading("test://{a}/{b}").reader("test://" + "/" * 100_000)

    assert reading("test://{a}/{b}").reader("test://a/b").name == "up_resources_read"
