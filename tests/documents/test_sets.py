"""What holds between the documents of a set: who is who, what is one of a kind, and what several policies mean."""

import grp
import os
import pwd
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from broker.connector import Connector, ConnectorDocument, Endpoints, Response, Session, Tool, ToolCall
from broker.documents import FindConnector, Invalid, Problem, load

Change = Callable[..., list[Problem]]
Problems = Callable[[], list[Problem]]

AGENT = "spiffe://prod/agent/finance-analyst"
ME = pwd.getpwuid(os.getuid())
SECOND_POLICY = """\
apiVersion: access.envisionai.dev/v1
kind: AgentPolicy
metadata: { name: second }
spec:
  identity: { workload: spiffe://prod/agent/finance-analyst }
  tools:
    - { resource: salesforce.contacts, actions: [read] }
    - { resource: salesforce.accounts, deny: [search] }
"""


async def _run(_call: ToolCall, _session: Session) -> Any:
    """Do nothing."""


async def _probe(_session: Session, _document: ConnectorDocument) -> str:
    return "there"


def _expired(_response: Response) -> bool:
    return False


def _closed(document: ConnectorDocument, _snapshot: Any) -> list[Tool]:
    """Offer tools that say which arguments they take."""
    schema = {"type": "object", "properties": {"id": {}, "limit": {}}, "additionalProperties": False}
    actions = ("read", "search", "export")
    return [
        Tool(name, action, "", schema, {}, reads_only=True, run=_run)
        for name in document.resources
        for action in actions
    ]


CLOSED = Connector("notes", (), Endpoints("https://notes.example.com/token"), "jwt-bearer", _closed, _expired, _probe)


def test_a_set_becomes_one_snapshot(directory: Path, find: FindConnector) -> None:
    """architecture.md, The documents: loaded as a whole into one immutable snapshot."""
    snapshot = load(directory, find)

    assert set(snapshot.files) == {
        "agent.yaml", "broker.yaml", "bundle.json", "connector.yaml", "domain.yaml", "policy.yaml"
    }  # fmt: skip
    assert snapshot.warnings == ()
    assert [tool.name for tool in snapshot.visible[AGENT]] == ["salesforce_accounts_read", "salesforce_accounts_search"]


def test_a_second_policy_for_the_same_agent_unites_with_the_first(directory: Path, find: FindConnector) -> None:
    """architecture.md, The documents: permits unite, denies override."""
    (directory / "second.yaml").write_text(SECOND_POLICY)

    snapshot = load(directory, find)

    assert snapshot.policy_names[AGENT] == ("finance-analyst-readonly", "second")
    assert [tool.name for tool in snapshot.visible[AGENT]] == ["salesforce_accounts_read", "salesforce_contacts_read"]


@pytest.mark.parametrize("file", ["policy.yaml", "agent.yaml", "domain.yaml", "connector.yaml"])
def test_two_documents_of_one_kind_and_name_are_a_mistake(directory: Path, problems: Problems, file: str) -> None:
    """Issue 2, Documents: duplicate names are refused; the first is named with its place."""
    (directory / "z-copy.yaml").write_text((directory / file).read_text())

    found = [problem for problem in problems() if problem.key == "metadata.name"]

    assert [problem.file for problem in found] == ["z-copy.yaml"]
    assert f"has this name, at {file}:" in found[0].message


def test_a_duplicate_is_found_even_if_one_of_the_two_has_mistakes(directory: Path, change: Change) -> None:
    """Every mistake at once."""
    (directory / "z-copy.yaml").write_text((directory / "policy.yaml").read_text())

    found = change("policy.yaml", "agent: false", "agent: true")

    assert [(problem.file, problem.key) for problem in found] == [
        ("policy.yaml", "spec.credentials.expose_to_agent"),
        ("z-copy.yaml", "metadata.name"),
    ]


def test_documents_of_different_kinds_may_share_a_name(change: Change, find: FindConnector, directory: Path) -> None:
    """A name is unique within its kind."""
    assert change("policy.yaml", "name: finance-analyst-readonly", "name: finance-analyst") == []
    assert load(directory, find).broker_name == "broker"


def test_a_set_without_a_broker_is_a_mistake(directory: Path, problems: Problems) -> None:
    """architecture.md, The documents: exactly one."""
    (directory / "broker.yaml").unlink()

    assert [problem.message for problem in problems()] == ["there is no Broker document"]


def test_a_set_with_two_brokers_is_a_mistake(directory: Path, problems: Problems) -> None:
    """architecture.md, The documents: exactly one."""
    text = (directory / "broker.yaml").read_text()
    (directory / "z-broker.yaml").write_text(text.replace("name: broker", "name: another"))

    assert [(problem.file, problem.message) for problem in problems()] == [
        ("z-broker.yaml", "there is exactly one Broker; the first is in broker.yaml")
    ]


def test_one_workload_is_registered_once(directory: Path, problems: Problems) -> None:
    """Two entries could disagree about who answers for it."""
    text = (directory / "agent.yaml").read_text()
    (directory / "z-agent.yaml").write_text(text.replace("name: finance-analyst", "name: another"))

    assert [(problem.file, problem.key, problem.message) for problem in problems()] == [
        ("z-agent.yaml", "spec.workload", "is registered already, as 'finance-analyst'")
    ]


def test_a_policy_for_an_unregistered_workload_is_a_warning(
    change: Change, directory: Path, find: FindConnector
) -> None:
    """Issue 2, Documents: a warning, so that a policy can be there before its agent."""
    assert change("policy.yaml", "agent/finance-analyst", "agent/finance-analist") == []

    (warning,) = load(directory, find).warnings

    assert (warning.file, warning.line, warning.key) == ("policy.yaml", 7, "spec.identity.workload")
    assert warning.message == f"no agent is registered for it; did you mean '{AGENT}'?"


def test_a_model_without_a_route_is_a_warning(change: Change, directory: Path, find: FindConnector) -> None:
    """Issue 2, Documents: a name in `models.allow` without a route is a warning."""
    assert change("policy.yaml", "  tools:", "  models: { allow: [reasoning-high] }\n  tools:") == []

    assert [(warning.key, warning.severity) for warning in load(directory, find).warnings] == [
        ("spec.models.allow[0]", "warning")
    ]


def test_an_action_that_one_rule_permits_and_denies_is_a_warning(
    change: Change, directory: Path, find: FindConnector
) -> None:
    """It is denied, and whoever wrote it may have meant otherwise."""
    assert change("policy.yaml", "deny: [export]", "deny: [export, read]") == []

    assert [warning.key for warning in load(directory, find).warnings] == ["spec.tools[0].actions[0]"]


@pytest.mark.parametrize(
    ("recorded", "message"),
    [
        ("arguments.limit", None),
        ("arguments.limmit", "no tool of the agent takes 'limmit'; did you mean 'limit'?"),
        ("arguments.zzz", "no tool of the agent takes 'zzz'; there is id, limit"),
    ],
)
def test_an_argument_that_is_recorded_and_that_no_tool_takes_is_a_warning(
    change: Change, directory: Path, recorded: str, message: str | None
) -> None:
    """Issue 3, What must be true: nothing would be recorded, and nobody would know until somebody asks for it."""
    assert change("policy.yaml", "outcome]", f"outcome, {recorded}, result]") == []

    found = [(warning.line, warning.key, warning.message) for warning in load(directory, lambda _: CLOSED).warnings]

    assert found == ([(16, "spec.audit.record[4]", message)] if message else [])


def test_where_tools_do_not_say_what_they_take_no_argument_is_warned_of(
    change: Change, directory: Path, find: FindConnector
) -> None:
    """An open schema takes anything."""
    assert change("policy.yaml", "outcome]", "outcome, arguments.anything]") == []

    assert load(directory, find).warnings == ()


def test_mistakes_do_not_hide_the_warnings(change: Change, directory: Path, find: FindConnector) -> None:
    """Whoever mends the one sees the other."""
    change("policy.yaml", "  tools:", "  models: { allow: [reasoning-high] }\n  tools:")
    change("broker.yaml", "role: admin", "role: root")

    with pytest.raises(Invalid) as refused:
        load(directory, find)

    assert [warning.key for warning in refused.value.warnings] == ["spec.models.allow[0]"]


# --- Agents and operators ---------------------------------------------------------------------------------------------

MINE = [
    [f"unix:uid:{ME.pw_uid}"],
    [f"unix:user:{ME.pw_name}"],
    [f"unix:gid:{ME.pw_gid}"],
    [f"unix:group:{grp.getgrgid(ME.pw_gid).gr_name}"],
    ["unix:path:/usr/bin/agent"],
    ["unix:sha256:" + "0" * 64],
    [f"unix:uid:{ME.pw_uid}", "unix:path:/usr/bin/agent"],
]
NOT_MINE = [
    ["unix:uid:4000000002"],
    ["unix:user:nobody-of-this-name"],
    ["unix:gid:4000000002"],
    ["unix:group:no-group-of-this-name"],
    ["unix:uid:4000000002", "unix:path:/usr/bin/agent"],
    [f"unix:gid:{ME.pw_gid}", "unix:uid:4000000002"],
    [],
]


@pytest.mark.parametrize("selectors", MINE)
def test_an_agent_that_an_operator_could_pass_for_is_a_mistake(change: Change, selectors: list[str]) -> None:
    """Issue 2, Operators: an agent's user cannot use their socket, so no operator's process may be an agent either."""
    change("broker.yaml", '"4000000001"', f'"{ME.pw_name}"')
    change("domain.yaml", "  development: true\n", "")

    found = change("agent.yaml", '["unix:uid:4000000002"]', str(selectors))

    assert [(problem.file, problem.line, problem.key) for problem in found] == [("agent.yaml", 11, "spec.selectors")]


@pytest.mark.parametrize("selectors", MINE)
def test_in_a_development_trust_domain_it_is_a_warning(
    change: Change, directory: Path, find: FindConnector, selectors: list[str]
) -> None:
    """architecture.md, Processes and people: refused at load, except in development mode, loudly."""
    change("broker.yaml", '"4000000001"', f'"{ME.pw_name}"')

    assert change("agent.yaml", '["unix:uid:4000000002"]', str(selectors)) == []
    assert [warning.key for warning in load(directory, find).warnings] == ["spec.selectors"]


@pytest.mark.parametrize("selectors", NOT_MINE)
def test_an_agent_that_no_operator_can_be_is_right(change: Change, selectors: list[str]) -> None:
    """All selectors must be true of a process, so one that cannot be true of an operator's is enough."""
    change("broker.yaml", '"4000000001"', f'"{ME.pw_name}"')
    change("domain.yaml", "  development: true\n", "")

    assert change("agent.yaml", '["unix:uid:4000000002"]', str(selectors)) == []


def test_an_operator_of_the_running_broker_may_be_no_agent_either(
    change: Change, directory: Path, find: FindConnector
) -> None:
    """Changes to the Broker need a restart: who it names no longer is an operator until then."""
    change("domain.yaml", "  development: true\n", "")

    with pytest.raises(Invalid) as refused:
        load(directory, find, operators_in_force={4000000002: ("ada", "admin")})

    assert [problem.key for problem in refused.value.problems] == ["spec.selectors"]


def test_one_user_is_one_operator(change: Change) -> None:
    """Two roles for one user would leave open which counts."""
    found = change(
        "broker.yaml",
        '- { user: "4000000001", role: admin }',
        f'- {{ user: {ME.pw_name}, role: admin }}\n    - {{ user: "{ME.pw_uid}", role: auditor }}',
    )

    assert [(problem.line, problem.key) for problem in found] == [(11, "spec.operators[1].user")]


@pytest.mark.parametrize("user", ["nobody-of-this-name", "a\\u0000b", "²", "9" * 5000])
def test_an_operator_whom_this_machine_does_not_know_is_a_warning(
    change: Change, directory: Path, find: FindConnector, user: str
) -> None:
    """Documents are checked on other machines too; there, nobody is that operator."""
    assert change("broker.yaml", '"4000000001"', f'"{user}"') == []

    snapshot = load(directory, find)

    assert snapshot.operators == {}
    assert [warning.key for warning in snapshot.warnings] == ["spec.operators[0].user"]


# --- Salesforce -------------------------------------------------------------------------------------------------------

SALESFORCE = """\
apiVersion: access.envisionai.dev/v1
kind: Connector
metadata: { name: salesforce }
spec:
  type: salesforce
  url: https://example.my.salesforce.com
  snapshot: salesforce.snapshot.json
  resources: { accounts: OBJECT }
"""
STARTER = Path(__file__).parents[2] / "broker/starter/connectors/salesforce.snapshot.json"


@pytest.mark.parametrize(
    ("wanted", "words"), [("Acount", ["; did you mean 'Account'?"]), ("Zebra", [""]), ("Account", [])]
)
def test_an_object_that_is_not_pinned_is_a_warning_that_names_the_nearest(
    directory: Path, wanted: str, words: list[str]
) -> None:
    """Issue 2, What a user can do 3: the nearest right word; fetching a description of a mistyped object fails."""
    (directory / "connector.yaml").write_text(SALESFORCE.replace("OBJECT", wanted))
    (directory / "salesforce.snapshot.json").write_bytes(STARTER.read_bytes())

    found = [warning for warning in load(directory).warnings if warning.file == "connector.yaml"]

    assert [warning.key for warning in found] == ["spec.resources.accounts"] * len(words)
    assert [warning.message.partition("snapshot salesforce'")[2] for warning in found] == words


@pytest.mark.parametrize(
    ("oauth", "revocation"),
    [
        ("{}", "https://login.salesforce.com/services/oauth2/revoke"),
        ("{ token_endpoint: https://test.salesforce.com/t }", None),
        ("{ revocation_endpoint: https://test.salesforce.com/r }", "https://test.salesforce.com/r"),
        (
            "{ token_endpoint: https://test.salesforce.com/t, revocation_endpoint: https://test.salesforce.com/r }",
            "https://test.salesforce.com/r",
        ),
    ],
)
def test_a_token_of_another_authorisation_server_is_not_sent_to_the_connectors_own(
    directory: Path, oauth: str, revocation: str | None
) -> None:
    """RFC 7009 §2: a token is revoked where it was issued; a live one is shown to nobody else."""
    (directory / "connector.yaml").write_text(SALESFORCE.replace("OBJECT", "Account") + f"  oauth: {oauth}\n")

    connection = load(directory).connections["salesforce"]

    assert connection.revocation_endpoint == revocation
    assert connection.audience == "https://login.salesforce.com"


# --- Connectors -------------------------------------------------------------------------------------------------------


def test_a_connector_may_be_named_before_its_snapshot_is_fetched(
    change: Change, directory: Path, find: FindConnector
) -> None:
    """The running broker fetches it: until then policies can name its tools, and none of them works."""
    assert change("connector.yaml", "  resources:", "  snapshot: pinned.json\n  resources:") == []

    snapshot = load(directory, find)

    assert [(warning.file, warning.line, warning.key) for warning in snapshot.warnings] == [
        ("connector.yaml", 7, "spec.snapshot")
    ]
    assert snapshot.visible[AGENT] == ()
    assert snapshot.digests["pinned.json"] is None


def test_a_snapshot_that_cannot_be_read_is_a_mistake(change: Change, directory: Path) -> None:
    """Not there yet is one thing; there and broken is another."""
    (directory / "pinned.json").write_text("{")
    (directory / "gone.json").symlink_to("nowhere")

    broken = change("connector.yaml", "  resources:", "  snapshot: pinned.json\n  resources:")
    dangling = change("connector.yaml", "pinned.json", "gone.json")

    assert ["is not JSON" in problem.message for problem in broken] == [True]
    assert ["cannot be read" in problem.message for problem in dangling] == [True]


@pytest.mark.parametrize("error", [KeyError("x"), TypeError("x"), RuntimeError("secret"), RecursionError()])
def test_a_connector_that_fails_does_not_bring_the_check_down(directory: Path, error: Exception) -> None:
    """A stranger's connector is code of theirs: its own mistake becomes a mistake of the set."""

    def find(_name: str) -> Connector:
        raise error

    with pytest.raises(Invalid) as refused:
        load(directory, find)

    (problem,) = refused.value.problems
    assert problem.key == "spec.type"
    assert "secret" not in problem.message


def test_two_connectors_that_would_share_a_tools_name_are_a_mistake(directory: Path, problems: Problems) -> None:
    """`a.b_c` and `a_b.c` are two resources, and one name on the wire."""
    text = (directory / "connector.yaml").read_text()
    (directory / "z.yaml").write_text(
        text.replace("name: salesforce", "name: sales").replace("accounts: Account", "force_accounts: Account")
    )
    (directory / "connector.yaml").write_text(text.replace("name: salesforce", "name: sales_force"))

    found = [problem for problem in problems() if problem.file != "policy.yaml"]

    assert {problem.key for problem in found} == {"spec.resources"}
    assert "would both be sales_force_accounts_" in found[0].message


def test_a_private_authority_is_kept_without_what_else_is_in_its_file(
    change: Change, directory: Path, find: FindConnector, ca_file: Path
) -> None:
    """Files of authorities carry comments in every language; egress takes certificates only."""
    (directory / "ca.pem").write_bytes("# Zertifizierungsstelle für Prüfungen\n".encode() + ca_file.read_bytes())

    assert change("connector.yaml", "  resources:", "  reach: { certificate_authority: ca.pem }\n  resources:") == []

    authority = load(directory, find).connections["salesforce"].authority
    assert authority is not None
    assert authority.startswith("-----BEGIN CERTIFICATE-----")


def test_a_certificate_that_cannot_be_read_is_a_mistake(change: Change, directory: Path) -> None:
    """Found when the documents are checked, not when the first call fails."""
    (directory / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")

    found = change("connector.yaml", "  resources:", "  reach: { certificate_authority: ca.pem }\n  resources:")

    assert [problem.key for problem in found] == ["spec.reach.certificate_authority"]


def test_a_trust_domain_without_a_usable_key_is_a_warning(directory: Path, find: FindConnector) -> None:
    """SPIFFE_Trust_Domain_and_Bundle §4.2.2: an empty bundle revokes everything, which may be meant."""
    (directory / "bundle.json").write_text('{"keys": []}')

    assert ["is revoked" in warning.message for warning in load(directory, find).warnings] == [True]


def test_a_production_domain_without_a_dot_is_a_warning(change: Change, directory: Path, find: FindConnector) -> None:
    """SPIFFE-ID §2.1.1: such names collide, and can then never be federated."""
    assert change("domain.yaml", "  development: true\n", "") == []

    assert [warning.key for warning in load(directory, find).warnings] == ["metadata.name"]


def test_the_digest_is_of_every_file_and_of_nothing_else(
    directory: Path, find: FindConnector, files: Mapping[str, str]
) -> None:
    """One digest names the set in every record: the same files have the same, any change another."""
    first = load(directory, find).digest
    (directory / "broker.yaml").write_text(files["broker.yaml"])
    (directory / "notes.txt").write_text("not of the set")

    same = load(directory, find).digest
    (directory / "policy.yaml").write_text(files["policy.yaml"] + "# a comment\n")

    assert same == first
    assert load(directory, find).digest != first
