"""Parameters in their places and styles, as the specification's own table has them, and nothing beyond their places."""

from typing import Any
from urllib.parse import parse_qsl, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import InvalidArguments
from connectors.openapi.encoding import Prepared, prepare
from connectors.openapi.snapshot import Operation

ARRAY = ["blue", "black", "brown"]
OBJECT = {"R": 100, "G": 200, "B": 150}
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


def fill(place: str, style: str, value: Any, *, path: str = "/x", body: Any = None, **more: Any) -> Prepared:
    """Fill in one parameter, called `color`, or a body."""
    parameter = {
        "name": "color",
        "argument": "color",
        "place": place,
        "style": style,
        "schema": {},
        "members": list(OBJECT),
        **more,
    }
    operation = Operation.model_validate(
        {
            "method": "POST",
            "path": "/p/{color}/q" if place == "path" and path == "/x" else path,
            "description": "",
            "reads_only": False,
            "parameters": [parameter] if place else [],
            "body": body,
        }
    )
    return prepare(operation, {"color": value, **({"body": value} if body else {})}, frozenset(more.get("slashes", ())))


@pytest.mark.parametrize(
    ("style", "explode", "value", "written"),
    [
        ("form", False, "blue", "color=blue"),
        ("form", True, "blue", "color=blue"),
        ("form", False, ARRAY, "color=blue,black,brown"),
        ("form", True, ARRAY, "color=blue&color=black&color=brown"),
        ("form", False, OBJECT, "color=R,100,G,200,B,150"),
        ("form", True, OBJECT, "R=100&G=200&B=150"),
        ("spaceDelimited", False, ARRAY, "color=blue%20black%20brown"),
        ("pipeDelimited", False, ARRAY, "color=blue%7Cblack%7Cbrown"),
        ("deepObject", True, OBJECT, "color[R]=100&color[G]=200&color[B]=150"),
        ("deepObject", True, {"a": {"b": [1, True]}}, "color[a][b][0]=1&color[a][b][1]=true"),
        ("form", True, "a&b=c#d e+é", "color=a%26b%3Dc%23d%20e%2B%C3%A9"),
        ("form", True, True, "color=true"),
        ("form", True, 10.0, "color=10"),
        ("json", False, {"a": [1]}, "color=%7B%22a%22%3A%5B1%5D%7D"),
    ],
)
def test_a_query_is_written_as_the_specification_says(style: str, explode: bool, value: Any, written: str) -> None:  # noqa: FBT001
    """OpenAPI 3.1 §4.8.12.4, Style Examples."""
    assert fill("query", style, value, explode=explode).query == written.split("&")


@pytest.mark.parametrize(
    ("style", "explode", "value", "written"),
    [
        ("simple", False, "blue", "blue"),
        ("simple", False, ARRAY, "blue,black,brown"),
        ("simple", False, OBJECT, "R,100,G,200,B,150"),
        ("simple", True, OBJECT, "R=100,G=200,B=150"),
        ("label", False, "blue", ".blue"),
        ("label", True, ARRAY, ".blue.black.brown"),
        ("label", False, ARRAY, ".blue,black,brown"),
        ("matrix", False, "blue", ";color=blue"),
        ("matrix", False, ARRAY, ";color=blue,black,brown"),
        ("matrix", True, ARRAY, ";color=blue;color=black;color=brown"),
        ("matrix", True, OBJECT, ";R=100;G=200;B=150"),
    ],
)
def test_a_path_is_written_as_the_specification_says(style: str, explode: bool, value: Any, written: str) -> None:  # noqa: FBT001
    """OpenAPI 3.1 §4.8.12.4, Style Examples."""
    assert fill("path", style, value, explode=explode).path == f"/p/{written}/q"


def test_a_header_and_a_cookie_are_written_in_their_places() -> None:
    """`simple` in headers, `form` in cookies."""
    assert fill("header", "simple", ARRAY).headers == {"color": "blue,black,brown"}
    assert fill("cookie", "form", "a b").cookies == {"color": "a%20b"}


def test_what_is_reserved_stands_where_the_description_allows_it_and_separates_nothing() -> None:
    """`allowReserved`: slashes and colons stand; '&', '=' and '#' would make another query of it."""
    assert fill("query", "form", "a/b:c&d=e#f", reserved=True).query == ["color=a/b:c%26d%3De%23f"]


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ({"a": "x y", "b": [1, 2]}, b"a=x%20y&b=1&b=2"),
        ({"a": {"b": {"c": 1}}}, b"a[b][c]=1"),
        ({"items": [{"id": 1}, {"id": 2}]}, b"items[0][id]=1&items[1][id]=2"),
    ],
)
def test_a_form_is_written_as_forms_are(value: Any, written: bytes) -> None:
    """application/x-www-form-urlencoded: lists repeat, what is deeper has its place in brackets."""
    body = {"kind": "form", "media_type": "application/x-www-form-urlencoded", "schema": {}}

    prepared = fill("", "form", value, body=body)

    assert (prepared.body, prepared.headers) == (written, {"Content-Type": "application/x-www-form-urlencoded"})


@given(value=TEXT, explode=st.booleans(), reserved=st.booleans())
def test_a_value_in_a_query_is_one_value(value: str, explode: bool, reserved: bool) -> None:  # noqa: FBT001
    """lessons.md 4: whatever it holds, the service reads one parameter, and this value."""
    (written,) = fill("query", "form", value, explode=explode, reserved=reserved).query

    assert parse_qsl(written.replace("+", "%2B"), keep_blank_values=True) == [("color", value)]


@given(value=TEXT)
def test_a_value_in_a_path_is_one_segment_or_refused(value: str) -> None:
    """lessons.md 4: it neither climbs, nor adds a segment, nor begins a query, however often a server decodes."""
    try:
        path = fill("path", "simple", value).path
    except InvalidArguments:
        return

    segments = path.split("/")
    assert (len(segments), segments[1], segments[3]) == (4, "p", "q")
    assert unquote(segments[2]) == value
    assert segments[2] not in {"", ".", ".."}
    assert not set("?#") & set(path)
