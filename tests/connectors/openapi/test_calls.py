"""Operations as tools, called at a service that behaves: read, listed, written."""

import json
from typing import Any

import jsonschema_rs
import pytest

from broker.connector import Scope, errors
from broker.errors import CursorInvalid, InvalidArguments


def test_a_record_is_read_and_only_what_is_declared_of_it_leaves(reader: Any) -> None:
    """Issue 6, openapi: results are narrowed to the declared schema, at every depth."""
    assert reader.call("books_read", id="b2") == {
        "id": "b2",
        "title": "Book 2",
        "author": {"name": "Author 2"},
        "price": 1,
    }


def test_a_list_goes_on_page_after_page_until_it_has_what_is_asked_for(reader: Any) -> None:
    """Issue 6, openapi: pagination is followed under a cap, with progress, and what the envelope says beside it."""
    found = reader.call("books_search", limit=7)

    assert [book["id"] for book in found["records"]] == [f"b{number}" for number in range(1, 8)]
    assert (found["more"], found["total"], reader.progress) == (True, 10, [4])
    assert "secret" not in found
    assert [dict(asked.query)["per_page"] for asked in reader.library.asked] == ["4", "4"]


def test_a_cursor_leads_to_the_rest_even_from_the_middle_of_a_page(reader: Any) -> None:
    """Nothing is shown twice, and nothing passed over, whatever the limits are."""
    seen: list[str] = []
    arguments: dict[str, Any] = {"limit": 3}
    for _ in range(10):
        found = reader.call("books_search", **arguments)
        seen += [book["id"] for book in found["records"]]
        if not found["more"]:
            break
        arguments = {"limit": 2, "cursor": found["cursor"]}

    assert seen == [f"b{number}" for number in range(1, 11)]


def test_a_list_goes_on_by_the_link_in_a_header_on_its_own_url(reader: Any) -> None:
    """RFC 8288; of a link only its query is taken: where it says that the service is, changes nothing."""
    found = reader.call("loans_search", id="b1", limit=100)

    assert [loan["id"] for loan in found["records"]] == list(range(7))
    assert {asked.path for asked in reader.library.asked} == {"/v2/books/b1/loans"}


@pytest.mark.parametrize(
    "link", ["http://[", "javascript:alert(1)", "//evil.example", "../../admin", "?from=3&from=9", ""]
)
def test_a_link_that_leads_elsewhere_leads_nowhere(reader: Any, link: str) -> None:
    """Whatever a service links to: every request is to the operation's own path, or none is made."""
    reader.library.answers = (200, {"link": f'<{link}>; rel="next"'}, b'[{"id": 1}]')

    try:
        found = reader.call("loans_search", id="b1", limit=100)
    except errors.UpstreamMalformed:
        found = {"records": [{"id": 1}]}

    assert found["records"] == [{"id": 1}]
    assert {asked.path for asked in reader.library.asked} == {"/v2/books/b1/loans"}


def test_a_list_goes_on_by_a_token_that_the_answer_holds(reader: Any) -> None:
    """The token is found where its name says it is, inside `meta` here."""
    assert [one["at"] for one in reader.call("events_search")["records"]] == [0, 1, 2, 3, 4]


def test_a_cursor_of_another_list_is_refused(reader: Any) -> None:
    """architecture.md: cursors are sealed for one agent, tool and query."""
    cursor = reader.call("books_search", limit=2, genre=["a"])["cursor"]

    with pytest.raises(CursorInvalid):
        reader.call("books_search", limit=2, genre=["b"], cursor=cursor)


def test_a_policys_number_of_records_is_the_most_that_is_shown(reader: Any) -> None:
    """The decision's scope reaches the service."""
    reader.scope = Scope(records=2)

    assert len(reader.call("books_search", limit=50)["records"]) == 2
    assert dict(reader.library.asked[0].query)["per_page"] == "2"


def test_a_list_is_cut_where_a_result_would_be_too_large(reader: Any) -> None:
    """The rest is behind the cursor."""
    reader.most_bytes = 2048 + 250

    found = reader.call("books_search", limit=10)

    assert 0 < len(found["records"]) < 10
    assert found["more"]


def test_a_write_has_the_calls_own_key_and_is_done_once(reader: Any) -> None:
    """Issue 6, openapi: an idempotency key where the API has one; no agent chooses it."""
    first, again = (reader.call("books_create", body={"title": "New"}) for _ in range(2))

    assert first == again
    assert len(reader.library.books) == 11
    assert {asked.headers["idempotency-key"] for asked in reader.library.asked} == {reader.key}
    assert "Idempotency-Key" not in reader.tools["books_create"].tool.input_schema["properties"]


def test_a_change_and_a_deletion_do_what_they_say(reader: Any) -> None:
    """PATCH is update, DELETE is delete."""
    changed = reader.call("books_update", id="b3", body={"title": "Other", "subtitle": None})
    gone = reader.call("books_delete", id="b4")

    assert changed["title"] == "Other"
    assert json.loads(reader.library.asked[0].body) == {"title": "Other", "subtitle": None}
    assert gone == {"done": True}
    assert "b4" not in reader.library.books


@pytest.mark.parametrize(
    "body", [{}, {"title": ""}, {"title": "x", "price": 0}, {"title": None}, {"title": "x", "subtitle": 1}]
)
def test_a_body_that_is_not_as_described_is_refused_before_anything_is_sent(reader: Any, body: Any) -> None:
    """The described schema is the tool's: required members, bounds of OpenAPI 3.0, and null only where it may be."""
    with pytest.raises(InvalidArguments):
        reader.call("books_create", body=body)

    assert reader.library.asked == []


@pytest.mark.parametrize(
    ("status", "refusal"),
    [
        (400, errors.UpstreamRejected),
        (401, errors.UpstreamUnauthorized),
        (403, errors.UpstreamForbidden),
        (404, errors.UpstreamNotFound),
        (409, errors.UpstreamRejected),
        (412, errors.UpstreamChanged),
        (429, errors.UpstreamBusy),
        (500, errors.UpstreamFailed),
        (503, errors.UpstreamFailed),
    ],
)
def test_a_refusal_of_the_service_is_one_of_ours_without_its_words(reader: Any, status: int, refusal: Any) -> None:
    """architecture.md: the service's own error text never goes to the agent."""
    reader.library.answers = (status, {"retry-after": "7"}, b'{"error": "the librarian said no"}')

    with pytest.raises(refusal) as refused:
        reader.call("books_read", id="b1")

    assert "librarian" not in f"{refused.value.message} {refused.value.detail}"


@pytest.mark.parametrize("body", [b"<html>", b'{"books": {}}', b"[1, 2", b"17"])
def test_a_list_that_is_none_is_malformed(reader: Any, body: bytes) -> None:
    """A service that lies about its answers is told from one that has nothing."""
    reader.library.answers = (200, {}, body)

    with pytest.raises(errors.UpstreamMalformed):
        reader.call("books_search")


def test_a_service_that_answers_the_same_page_for_ever_ends_the_list(reader: Any) -> None:
    """A parameter that the service does not honour makes no endless list."""
    reader.library.answers = (200, {}, b'{"books": [{"id": "b1"}]}')

    assert reader.call("books_search", limit=1000)["records"] == [{"id": "b1"}]
    assert len(reader.library.asked) == 2


def test_pages_are_followed_up_to_a_cap(reader: Any) -> None:
    """`settings.most_pages`; the cursor goes on from there."""
    reader.settings = {"most_pages": 2}

    found = reader.call("books_search", limit=1000)

    assert (len(found["records"]), found["more"]) == (8, True)
    assert len(reader.library.asked) == 2


def test_what_stands_beside_a_wrapped_record_leaves_only_where_it_is_a_single_value(reader: Any) -> None:
    """A rule that narrows fields narrows the record: what is sent along with it would be a way round."""
    answer = reader.library.description["paths"]["/books/{id}"]["get"]["responses"]["200"]["content"][
        "application/json"
    ]
    wrapped = {
        "data": {"$ref": "#/components/schemas/Book"},
        "included": {"items": {"$ref": "#/components/schemas/Book"}},
    }
    answer["schema"] = {"type": "object", "properties": {**wrapped, "took": {"type": "integer"}}}
    body = {"data": {"id": "b1", "shelf": "x"}, "included": [{"id": "b2"}], "took": 3, "cached": True}
    reader.library.answers = (200, {}, json.dumps(body).encode())

    tool = reader.tools["books_read"].tool

    assert tool.records == "data"
    assert reader.call("books_read", id="b1") == {"data": {"id": "b1"}, "took": 3}


def test_every_result_is_as_clients_are_told(reader: Any) -> None:
    """`Tool.told` must be true of every result: some clients refuse what does not match."""
    results = {
        "books_search": reader.call("books_search"),
        "books_read": reader.call("books_read", id="b1"),
        "books_delete": reader.call("books_delete", id="b1"),
        "loans_search": reader.call("loans_search", id="b2"),
    }
    reader.library.answers = (200, {}, b'["a", null, 1]')
    results["loans_search of something else"] = reader.call("loans_search", id="b2")

    for name, result in results.items():
        jsonschema_rs.validate(dict(reader.tools[name.split()[0]].tool.told), result)
    assert set(reader.tools["books_search"].tool.told["properties"]["records"]["items"]["properties"]) == {
        *("id", "title", "subtitle", "author", "price", "sequels"),
    }
