"""The Salesforce connector under policies: from a document to the query that the service runs."""

import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio
import jsonschema_rs
import pytest

from broker.app.options import Options
from broker.app.parts import Parts
from broker.documents import Documents, load
from broker.egress import Response, Secret
from broker.errors import Refusal
from broker.identity import OnBehalfOf, WorkloadIdentity
from broker.oauth import JwtBearerGrant
from broker.pipeline import Origin, Request, silent
from broker.testing.salesforce import Lose, SalesforceService
from broker.testing.salesforce.objects import ACCOUNT, INVOICE
from connectors.salesforce import CONNECTOR
from connectors.salesforce.snapshot import SnapshotObject, pin_object
from tests.support.broker import ReadTrail
from tests.support.salesforce import ANALYST, write_starter_set
from tests.support.salesforce import CONNECTOR as DOCUMENT

HEAD = "apiVersion: access.envisionai.dev/v1\n"
ACTOR = {"user": "test", "uid": 0, "role": "admin"}
JANE, OMAR = "jane@example.com", "omar@example.com"
MORE = """\
  settings: {{idempotency_fields: {{Invoice__c: Broker_Key__c}}}}
  limits: {{reserve: {reserve}}}
"""


class Desk(ReadTrail):
    """A broker's parts on a Salesforce-shaped service, called as a door calls them."""

    def __init__(self, parts: Parts, directory: Path) -> None:
        self.parts = parts
        self.database = directory / "data/broker.db"

    async def call(self, tool: str, arguments: Any, person: str | None = JANE) -> Any:
        """Call as the analyst, on behalf of a person; the result must be what the tool declares."""
        delegated = OnBehalfOf("https://issuer.example.com", person, "id-jag", person) if person else None
        identity = WorkloadIdentity(ANALYST, "prod", "jwt-svid", "attested", "sha256:0", on_behalf_of=delegated)
        request = Request(identity, f"salesforce_{tool}", arguments, Origin("streamable-http", "127.0.0.1"))
        result = json.loads((await self.parts.pipeline.call(request, silent)).text)
        found = self.parts.documents.current.catalog.find(request.tool)
        assert found is not None
        jsonschema_rs.validate(dict(found.tool.output_schema), result)
        return result

    async def refused(self, tool: str, arguments: Any, person: str | None = JANE) -> Refusal:
        """Make a call that must be refused; return the refusal."""
        try:
            await self.call(tool, arguments, person)
        except Refusal as refusal:
            return refusal
        raise AssertionError("the call was not refused")


At = Callable[..., None]


@pytest.fixture(scope="module")
def shared_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SalesforceService]:
    """Serve an org that these tests share."""
    with SalesforceService(tmp_path_factory.mktemp("org")) as service:
        yield service


@pytest.fixture
def service(shared_service: SalesforceService) -> Iterator[SalesforceService]:
    """Lend it; faults and allowances are taken back."""
    yield shared_service
    shared_service.faults.clear()
    shared_service.data.daily_calls = 15_000


@pytest.fixture
def rules() -> list[dict[str, Any]]:
    """Let a test say what is permitted."""
    return []


@pytest.fixture
def at(tmp_path: Path, service: SalesforceService, rules: list[dict[str, Any]]) -> At:
    """Run a coroutine function at a desk that has the test's rules."""

    def run(case: Callable[[Desk], Awaitable[None]], reserve: int = 0) -> None:
        written = write_starter_set(tmp_path / "access", service)
        for policy in (written.directory / "policies").glob("*.yaml"):
            policy.unlink()
        document = {"identity": {"workload": ANALYST}, "tools": rules}
        (written.directory / "policies/one.yaml").write_text(
            f"{HEAD}kind: AgentPolicy\nmetadata: {{name: one}}\nspec: {json.dumps(document)}\n"
        )
        connector = DOCUMENT.format(url=service.url, audience=service.audience) + MORE.format(reserve=reserve)
        connector = connector.replace("cases: Case}", "cases: Case, invoices: Invoice__c}")
        connector = connector.replace("  oauth:\n", "  grants: {accounts: organisation}\n  oauth:\n")
        (written.directory / "connectors/salesforce.yaml").write_text(connector)
        pinned = written.directory / "connectors/salesforce.snapshot.json"
        snapshot = json.loads(pinned.read_text())
        snapshot["objects"]["Invoice__c"] = invoice().model_dump()
        pinned.write_text(json.dumps(snapshot))

        async def main() -> None:
            options = Options(written.directory, development=True)
            documents = Documents(load(options.directory, options.find), options.find)
            async with AsyncExitStack() as stack:
                parts = await Parts.build(options, documents, stack)
                key = Secret(service.private_key_file.read_text())
                await parts.vault.add("salesforce", JwtBearerGrant(service.consumer_key, service.username, key), ACTOR)
                await case(Desk(parts, written.directory))

        anyio.run(main)

    return run


def invoice() -> SnapshotObject:
    """Return what is pinned of the custom object."""
    return pin_object(INVOICE.describe("/services/data/v59.0"))


def permit(resource: str, *actions: str, **more: Any) -> dict[str, Any]:
    """Return a rule."""
    return {"resource": f"salesforce.{resource}", "actions": list(actions), **more}


def owned_by(service: SalesforceService, email: str) -> set[str]:
    """Return the ids of a person's accounts."""
    owner = next(one["Id"] for one in service.org._records["User"].values() if one["Email"] == email)
    return {one["Id"] for one in service.org.records(ACCOUNT) if one["OwnerId"] == owner}


# --- Scope reaches the upstream --------------------------------------------------------------------------------------


def test_each_person_sees_and_changes_their_own_records_only(
    at: At, service: SalesforceService, rules: list[dict[str, Any]]
) -> None:
    """Issue 4: filter "Owner.Email = :on_behalf_of.email" becomes part of the query that the service runs."""
    mine_only = {"filter": "Owner.Email = :on_behalf_of.email"}
    rules += [permit("accounts", "read", "search", "update", "export", **mine_only)]
    janes, omars = owned_by(service, JANE), owned_by(service, OMAR)

    async def case(desk: Desk) -> None:
        for person, own, others in ((JANE, janes, omars), (OMAR, omars, janes)):
            other, one = min(others), min(own)
            found = await desk.call("accounts_search", {"fields": ["Id"], "limit": 2000}, person)
            exported = await desk.call("accounts_export", {"fields": ["Id"], "limit": 2000}, person)
            assert {record["Id"] for record in found["records"]} == own
            assert {record["Id"] for record in exported["records"]} == own
            assert (await desk.call("accounts_read", {"id": one, "fields": ["Id"]}, person))["record"]["Id"] == one
            assert (await desk.refused("accounts_read", {"id": other}, person)).code == "upstream_not_found"
            change = {"id": other, "values": {"Phone": "1"}}
            assert (await desk.refused("accounts_update", change, person)).code == "upstream_not_found"
        assert (await desk.refused("accounts_search", {}, None)).code == "condition_failed"

    at(case)


def test_fields_of_a_rule_hold_for_what_is_read_searched_by_and_written(
    at: At, service: SalesforceService, rules: list[dict[str, Any]]
) -> None:
    """Issue 4, fields; the answer still matches what the tool declares."""
    rules += [permit("accounts", "search", "update", "describe", fields=["Id", "Name", "Phone"], max_records=3)]
    account = service.org.records(ACCOUNT)[0]["Id"]

    async def case(desk: Desk) -> None:
        found = await desk.call("accounts_search", {"limit": 50})
        by_rating = {"filters": [{"field": "Rating", "operator": "equals", "value": "Hot"}]}
        described = await desk.call("accounts_describe", {})
        changed = await desk.call("accounts_update", {"id": account, "values": {"Phone": "9"}})

        assert [record.keys() for record in found["records"]] == [{"Id", "Name", "Phone"}] * 3
        assert (await desk.refused("accounts_search", by_rating)).code == "access_denied"
        assert {field["name"] for field in described["fields"]} == {"Id", "Name", "Phone"}
        assert changed["id"] == account
        refused = await desk.refused("accounts_update", {"id": account, "values": {"Rating": "Hot"}})
        assert refused.code == "access_denied"

    at(case)


def test_a_rule_that_filters_by_what_cannot_be_filtered_is_refused_at_load(at: At, rules: list[dict[str, Any]]) -> None:
    """Issue 4: a connector that cannot filter refuses such a rule at load."""
    rules += [permit("accounts", "search", filter="Description = 'x'")]

    async def case(_desk: Desk) -> None:
        raise AssertionError("it was loaded")

    with pytest.raises(Refusal) as refused:
        at(case)
    assert refused.value.code == "documents_invalid"


def test_what_is_masked_is_not_found_out_by_searching_for_it(at: At, rules: list[dict[str, Any]]) -> None:
    """Whether a condition holds tells what a field is, record by record; so does an order."""
    rules += [permit("contacts", "search", "export", mask=["Email"], redact=["Phone"])]
    starts = {"field": "Email", "operator": "starts_with", "value": "person1"}

    async def case(desk: Desk) -> None:
        found = await desk.call("contacts_search", {"fields": ["Email", "LastName"], "limit": 3})
        assert all(record["Email"] is None or "*" in record["Email"] for record in found["records"])
        for arguments in (
            {"filters": [starts]},
            {"filters": [{"none_of": [starts]}]},
            {"order_by": [{"field": "Phone"}]},
        ):
            refusal = await desk.refused("contacts_search", {"fields": ["LastName"], "limit": 1, **arguments})
            assert (refusal.code, "field" in refusal.message) == ("access_denied", True)
        assert (await desk.refused("contacts_export", {"filters": [starts]})).code == "access_denied"

    at(case)


# --- What a call touches ---------------------------------------------------------------------------------------------

QUERY = "SELECT Name, (SELECT Email FROM Contacts) FROM Account WHERE Rating = 'Hot'"


def test_free_soql_is_off_unless_granted(at: At, service: SalesforceService, rules: list[dict[str, Any]]) -> None:
    """Permission to search every object is not permission to write queries."""
    rules += [permit("accounts", "search"), permit("contacts", "search")]

    async def case(desk: Desk) -> None:
        before = service.api_requests
        assert (await desk.refused("query_run", {"soql": QUERY})).code == "unknown_tool"
        assert service.api_requests == before

    at(case)


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ([], "salesforce.accounts"),
        ([permit("accounts", "read")], "salesforce.accounts"),
        ([permit("accounts", "search")], "salesforce.contacts"),
        ([permit("accounts", "search", fields=["Name"]), permit("contacts", "search")], "field Rating"),
        ([permit("accounts", "search"), permit("contacts", "search", fields=["Email"])], "field AccountId"),
        ([permit("accounts", "search"), permit("contacts", "search", mask=["Email"])], "field Email"),
        ([permit("accounts", "search"), permit("contacts", "search", deny=["search"])], "salesforce.contacts"),
    ],
)
def test_a_query_is_refused_by_the_first_thing_that_lacks_permission(
    at: At, service: SalesforceService, rules: list[dict[str, Any]], more: list[dict[str, Any]], named: str
) -> None:
    """Issue 5: every object, field, relationship and subquery needs its own; the first that lacks it is named."""
    rules += [permit("query", "run"), *more]

    async def case(desk: Desk) -> None:
        before = service.api_requests
        refusal = await desk.refused("query_run", {"soql": QUERY})

        assert refusal.code == "access_denied"
        assert named in refusal.message
        assert service.api_requests == before
        assert desk.records(kind="decided")[-1]["policy"]["decision"] == "deny"

    at(case)


def test_a_query_that_is_permitted_in_all_parts_runs_within_each_ones_scope(
    at: At, service: SalesforceService, rules: list[dict[str, Any]]
) -> None:
    """And the record of the decision has the rules of every part."""
    rules += [
        permit("query", "run"),
        permit("accounts", "search", filter="Owner.Email = :on_behalf_of.email"),
        permit("contacts", "search", max_records=1),
    ]

    async def case(desk: Desk) -> None:
        found = await desk.call(
            "query_run", {"soql": "SELECT Id, (SELECT Email FROM Contacts) FROM Account", "limit": 99}
        )

        assert {row["Id"] for row in found["records"]} == owned_by(service, JANE)
        assert max(len(row["Contacts"]) for row in found["records"]) == 1
        assert len(desk.records(kind="decided")[-1]["policy"]["rules"]) == 3

    at(case)


def test_each_write_of_a_composite_is_decided_as_if_it_were_made_alone(
    at: At, service: SalesforceService, rules: list[dict[str, Any]]
) -> None:
    """A denial with a condition on an update's arguments is not gone around by sending several."""
    rules += [
        permit("composite", "write"),
        permit("accounts", "create", "update"),
        {"resource": "salesforce.accounts", "deny": ["update"],
         "when": "has(arguments.values) && has(arguments.values.Rating) && arguments.values.Rating == 'Hot'"},
    ]  # fmt: skip
    account = service.org.records(ACCOUNT)[1]["Id"]

    def update(**values: Any) -> dict[str, Any]:
        return {"operation": "update", "resource": "accounts", "id": account, "values": values}

    async def case(desk: Desk) -> None:
        made = await desk.call("composite_write", {"operations": [update(Phone="1"), update(Website="x")]})
        alone = await desk.refused("accounts_update", {"id": account, "values": {"Rating": "Hot"}})
        before = service.writes
        hot = await desk.refused("composite_write", {"operations": [update(Phone="2"), update(Rating="Hot")]})
        contact = {"operation": "create", "resource": "contacts", "values": {"LastName": "x"}}
        other = await desk.refused("composite_write", {"operations": [update(Phone="3"), contact]})

        assert [one["status"] for one in made["results"]] == ["changed", "changed"]
        assert (alone.code, hot.code, other.code) == ("access_denied",) * 3
        assert "salesforce.contacts" in other.message
        assert service.writes == before

    at(case)


def test_update_is_refused_by_policy(at: At, service: SalesforceService, rules: list[dict[str, Any]]) -> None:
    """The demo's claim: what the connector can do by now, the given policy still denies."""
    rules += [
        {"resource": "salesforce.accounts", "actions": ["read", "search"], "deny": ["export", "update", "delete"]}
    ]
    account = service.org.records(ACCOUNT)[0]["Id"]

    async def case(desk: Desk) -> None:
        before = service.writes
        for tool, arguments in (
            ("accounts_update", {"id": account, "values": {"Phone": "1"}}),
            ("accounts_delete", {"id": account}),
            ("accounts_export", {}),
        ):
            assert (await desk.refused(tool, arguments)).code == "access_denied"
        assert service.writes == before

    at(case)


def test_every_tool_answers_what_it_declares(at: At, service: SalesforceService, rules: list[dict[str, Any]]) -> None:
    """Issue 5: structured content matches the declared output schema; the desk checks each answer."""
    rules += [{"resource": "salesforce.*", "actions": ["*"]}]
    account = service.org.records(ACCOUNT)[10]["Id"]
    invoices = {"field": "Number__c", "value": "ALL-1", "values": {"Name": "INV-8", "Status__c": "Sent"}}
    words = {"text": "acme", "resources": ["accounts", "contacts"], "fields": ["Name", "Email"]}
    arguments: dict[str, list[dict[str, Any]]] = {
        "accounts_read": [{"id": account}],
        "accounts_search": [{}, {"limit": 0, "count": True}, {"limit": 2000}],
        "accounts_describe": [{}],
        "accounts_related": [{"id": account, "relationship": "Contacts", "fields": ["Id", "Email"]}],
        "accounts_export": [{}],
        "accounts_create": [{"values": {"Name": "All"}}],
        "accounts_update": [{"id": account, "values": {"Phone": "42"}}] * 2,
        "invoices_upsert": [invoices, invoices],
        "search_find": [words],
        "query_run": [{"soql": "SELECT COUNT() FROM Case"}, {"soql": "SELECT Account.Name, Birthdate FROM Contact"}],
        "composite_write": [
            {"operations": [{"operation": "create", "resource": "accounts", "values": {"Name": "x"}}]},
            {"operations": [{"operation": "delete", "resource": "accounts", "id": account}], "all_or_none": False},
        ],
    }

    async def case(desk: Desk) -> None:
        answers = [await desk.call(tool, one) for tool, several in arguments.items() for one in several]
        made = next(answer["id"] for answer in answers if answer.get("created") and "changed" not in answer)
        answers.append(await desk.call("accounts_delete", {"id": made}))

        assert all(answers)

    at(case)


# --- Writes that are repeated ----------------------------------------------------------------------------------------


def test_a_create_that_was_cut_is_not_made_twice_and_the_first_is_evidence(
    at: At, service: SalesforceService, rules: list[dict[str, Any]]
) -> None:
    """Issue 5, Show: a write retried after a cut. The first is on record as `outcome_unknown`."""
    rules += [permit("invoices", "create")]
    values = {"Name": "INV-77", "Status__c": "Draft", "Amount__c": 1}

    async def case(desk: Desk) -> None:
        before = len(service.org.records(INVOICE))
        service.faults.add(Lose(path="/sobjects/Invoice__c", method="PATCH"))
        lost = await desk.refused("invoices_create", {"values": values})
        again = await desk.call("invoices_create", {"values": values})
        others = await desk.call("invoices_create", {"values": values}, OMAR)
        second = await desk.call("invoices_create", {"values": values, "distinct": "the second"})

        assert lost.code == "upstream_interrupted"
        assert desk.records(kind="finished")[0]["outcome"]["status"] == "outcome_unknown"
        assert [one["created"] for one in (again, others, second)] == [False, True, True]
        assert len(service.org.records(INVOICE)) == before + 3

    at(case)


# --- Cursors and allowances ------------------------------------------------------------------------------------------


def test_a_cursor_is_of_no_use_to_anybody_else(at: At, rules: list[dict[str, Any]]) -> None:
    """Issue 5: bound to agent and query; the agent is another one on behalf of another person."""
    rules += [permit("accounts", "search", "read")]

    async def case(desk: Desk) -> None:
        first = await desk.call("accounts_search", {"fields": ["Id"], "limit": 2})
        asked = {"fields": ["Id"], "limit": 2, "cursor": first["cursor"]}

        second = await desk.call("accounts_search", asked)
        assert second["records"][0]["Id"] > first["records"][-1]["Id"]
        assert (await desk.refused("accounts_search", asked, OMAR)).code == "cursor_invalid"
        assert (await desk.refused("accounts_search", {**asked, "fields": ["Name"]})).code == "cursor_invalid"

    at(case)


def test_a_large_result_is_cut_and_the_cursor_leads_to_the_rest(at: At, rules: list[dict[str, Any]]) -> None:
    """`max_bytes` of a rule is a budget, and nothing is lost for it."""
    rules += [permit("accounts", "search", max_bytes=20_000)]

    async def case(desk: Desk) -> None:
        page = await desk.call("accounts_search", {"limit": 2000})
        ids = [record["Id"] for record in page["records"]]
        while page["more"]:
            page = await desk.call("accounts_search", {"limit": 2000, "cursor": page["cursor"]})
            ids += [record["Id"] for record in page["records"]]
        assert len(ids) == len(set(ids)) >= 120

    at(case)


def test_a_used_up_allowance_refuses_calls_with_when_to_try_again(
    at: At, service: SalesforceService, rules: list[dict[str, Any]]
) -> None:
    """Issue 5: API limits respected; what is left to others is not used, and the service is not asked meanwhile."""
    rules += [permit("accounts", "search")]
    service.data.daily_calls = service.data.calls + 3

    async def case(desk: Desk) -> None:
        await desk.call("accounts_search", {"limit": 1})
        await desk.call("accounts_search", {"limit": 1})
        before = service.api_requests
        refusal = await desk.refused("accounts_search", {"limit": 1})

        assert refusal.code == "upstream_busy"
        assert 0 < refusal.facts["retry_after"] <= 60
        assert service.api_requests == before
        largest = desk.parts.pipeline.usages.largest("salesforce")
        assert largest is not None
        noted = largest.usage
        assert (noted.most - noted.used, noted.most) == (1, service.data.daily_calls)

    at(case, reserve=1)


@pytest.mark.parametrize(
    ("status", "said", "body", "expected"),
    [
        (200, "api-usage=18/5000", b"", (18, 5000)),
        (200, "api-usage=25/5000; per-app-api-usage=17/250(appName=sample-app)", b"", (25, 5000)),
        (200, "per-app-api-usage=17/250(appName=sample-app)", b"", None),
        (200, "", b"", None),
        (403, "", b'[{"errorCode":"REQUEST_LIMIT_EXCEEDED"}]', (1, 1)),
        (403, "", b"[]", None),
    ],
)
def test_the_connector_reads_its_services_allowance(
    status: int, said: str, body: bytes, expected: tuple[int, int] | None
) -> None:
    """REST API Developer Guide, Limit Info Header: of the organisation, not of one app."""
    usage = CONNECTOR.usage
    assert usage is not None

    found = usage(Response(status, {"sforce-limit-info": said}, body))

    assert (None if found is None else (found.used, found.most)) == expected
