"""Every mistake in one document: where it is said to be, and what is said instead of pydantic's words."""

# ruff: noqa: E501 - a table reads across

from collections.abc import Callable
from pathlib import Path

import pytest

from broker.documents import FindConnector, Invalid, Problem, load
from broker.documents.source import Source
from broker.documents.words import sentence

Change = Callable[..., list[Problem]]

# file, what stands there, what stands there instead, line, key, words of the message
MISTAKES = [
    ("policy.yaml", "tools:", "toools:", 8, "spec.toools", "did you mean 'tools'?"),
    ("policy.yaml", "kind: AgentPolicy", "kind: AgentPolcy", 2, "kind", "did you mean 'AgentPolicy'?"),
    ("policy.yaml", "kind: AgentPolicy", "kind: [AgentPolicy]", 2, "kind", "there is no kind"),
    ("policy.yaml", "kind: AgentPolicy\n", "", 1, "", "'kind' is missing"),
    ("policy.yaml", "access.envisionai.dev/v1", "access.envisionai.dev/v2", 1, "apiVersion", "must be access.env"),
    ("policy.yaml", "apiVersion: access.envisionai.dev/v1\n", "", 1, "", "'apiVersion' is missing"),
    ("policy.yaml", "metadata:\n  name: finance-analyst-readonly\n", "", 1, "", "'metadata' is missing"),
    ("policy.yaml", "name: finance-analyst-readonly", "name: Finance Analyst", 4, "metadata.name", "for example:"),
    ("policy.yaml", "name: finance-analyst-readonly", "name: 2024", 4, "metadata.name", "put it in quotes"),
    ("policy.yaml", "name: finance-analyst-readonly", "name:", 4, "metadata.name", "a text is expected, not nothing"),
    ("policy.yaml", "spiffe://prod", "spiffee://prod", 7, "spec.identity.workload", "not a SPIFFE ID"),
    ("policy.yaml", "salesforce.accounts", "accounts", 9, "spec.tools[0].resource", "for example: salesforce.accounts"),
    ("policy.yaml", "salesforce.accounts", "salesforce.acounts", 9, "spec.tools[0].resource", "'salesforce.accounts'?"),
    ("policy.yaml", "[read, search]", "[read, serach]", 10, "spec.tools[0].actions[1]", "did you mean 'search'?"),
    ("policy.yaml", "[export]", "[exprot]", 11, "spec.tools[0].deny[0]", "did you mean 'export'?"),
    ("policy.yaml", "[read, search]", "read", 10, "spec.tools[0].actions", "a list is expected, not 'read'"),
    ("policy.yaml", "deny: [export]", "when: agent.tem == 'x'", 11, "spec.tools[0].when", "did you mean 'team'?"),
    ("policy.yaml", "deny: [export]", "when: 'agent.team =='", 11, "spec.tools[0].when", "is no CEL"),
    ("policy.yaml", "[read, search]\n      deny: [export]", "[search]\n      when: arguments.amount < 5", 11, "spec.tools[0].when", "takes the argument 'amount'; there is id, limit"),
    ("policy.yaml", "[read, search]\n      deny: [export]", "[search]\n      when: arguments.limt < 5", 11, "spec.tools[0].when", "did you mean 'limit'?"),
    ("policy.yaml", "deny: [export]", "filter: Owner.Email = jane", 11, "spec.tools[0].filter", "single quotes"),
    ("policy.yaml", "[read, search]\n      deny: [export]", "[search]\n      filter: Owner.Emial = :agent.owner", 11, "spec.tools[0].filter", "did you mean 'Owner.Email'?"),
    ("policy.yaml", "[read, search]\n      deny: [export]", "[read]\n      filter: Owner.Email = :agent.owner", 11, "spec.tools[0].filter", "read cannot filter by 'Owner.Email'"),
    ("policy.yaml", "[read, search]\n      deny: [export]", "[read]\n      fields: [Name]", 11, "spec.tools[0].fields", "returns no records"),
    ("policy.yaml", "deny: [export]", "limits: {}", 11, "spec.tools[0].limits", "names no limit"),
    ("policy.yaml", "deny: [export]", "valid_until: 2027-01-31T00:00:00", 11, "spec.tools[0].valid_until", "time zone"),
    ("policy.yaml", "deny: [export]", "deny: [export]\n      when: agent.team == 'x'", 9, "spec.tools[0]", "a rule of its own"),
    ("policy.yaml", "salesforce.accounts", "salesforc.*", 9, "spec.tools[0].resource", "did you mean 'salesforce'?"),
    ("policy.yaml", "salesforce.accounts", "sales*.accounts", 9, "spec.tools[0].resource", "salesforce.*"),
    ("policy.yaml", "[export]", "['ex*']", 11, "spec.tools[0].deny[0]", "for example: read"),
    ("policy.yaml", "  tools:", "  enforcement: observe\n  tools:", 5, "spec", "observing must end"),
    ("policy.yaml", "  tools:", "  tests: [{ resource: salesforce.acounts, action: read, expect: deny }]\n  tools:", 8, "spec.tests[0].resource", "'salesforce.accounts'?"),
    ("policy.yaml", "  tools:", "  tests: [{ resource: salesforce.accounts, action: raed, expect: deny }]\n  tools:", 8, "spec.tests[0].action", "did you mean 'read'?"),
    ("policy.yaml", "  tools:", "  tests: [{ resource: salesforce.accounts, action: read, expect: allow }]\n  tools:", 8, "spec.tests[0].expect", "there is deny, needs_approval, permit"),
    ("policy.yaml", "  tools:", "  require: { assurance: [high] }\n  tools:", 8, "spec.require.assurance[0]", "there is attested"),
    ("policy.yaml", "injection: runtime", "injection: environment", 13, "spec.credentials.injection", "only injection"),
    ("policy.yaml", "agent: false", "agent: true", 14, "spec.credentials.expose_to_agent", "never credentials"),
    ("policy.yaml", "agent: false", "agent: no", 14, "spec.credentials.expose_to_agent", "never credentials"),
    ("policy.yaml", "[identity, policy, action, outcome]", "[identity, policy, outcome]", 16, "spec.audit.record", "action"),
    ("policy.yaml", "outcome]", "outcom]", 16, "spec.audit.record[3]", "did you mean 'outcome'?"),
    ("policy.yaml", "outcome]", "outcome, argments]", 16, "spec.audit.record[4]", "did you mean 'arguments'?"),
    ("policy.yaml", "outcome]", "outcome, arguments.a.b]", 16, "spec.audit.record[4]", "did you mean 'arguments'?"),
    ("policy.yaml", "outcome]", "outcome, results]", 16, "spec.audit.record[4]", "did you mean 'result'?"),
    ("policy.yaml", "outcome]", "outcome, everything]", 16, "spec.audit.record[4]", "there is action, arguments, identity"),
    ("policy.yaml", "outcome]", "outcome" + ", result" * 50 + "]", 16, "spec.audit.record", "at most 50"),
    ("policy.yaml", "  tools:", "  models: { budget: { daily_usd: -1 } }\n  tools:", 8, "spec.models.budget.daily_usd", "0 or more"),
    ("policy.yaml", "  tools:", "  models: { budget: { daily_usd: .inf } }\n  tools:", 8, "spec.models.budget.daily_usd", "finite"),
    ("policy.yaml", "  tools:", "  models: { budget: { daily_usd: '75' } }\n  tools:", 8, "spec.models.budget.daily_usd", "a number is expected, not '75'"),
    ("policy.yaml", "  tools:", "  models: { allow: [''] }\n  tools:", 8, "spec.models.allow[0]", "must not be empty"),
    ("agent.yaml", "  owner: jane.doe@example.com\n", "", 5, "spec", "'owner' is missing"),
    ("agent.yaml", "  team: finance\n", "", 5, "spec", "'team' is missing"),
    ("agent.yaml", "  environment: production\n", "", 5, "spec", "'environment' is missing"),
    ("agent.yaml", "  deployment: one\n", "", 5, "spec", "'deployment' is missing"),
    ("agent.yaml", "owner: jane.doe@example.com", "owner: ''", 7, "spec.owner", "must not be empty"),
    ("agent.yaml", "environment: production", "environment: staging", 9, "spec.environment", "'prod' is 'production'"),
    ("agent.yaml", "spiffe://prod", "spiffe://prd", 6, "spec.workload", "did you mean 'prod'?"),
    ("agent.yaml", "unix:uid:4000000002", "uid:1", 11, "spec.selectors[0]", "for example: unix:uid:1000"),
    ("agent.yaml", "environment: production", "environment: Prod!", 9, "spec.environment", "for example: production"),
    ("domain.yaml", "{ file: bundle.json }", "{ url: 'http://example.com/b' }", 7, "spec.bundle.url", "for example: https://"),
    ("agent.yaml", "deployment: one", "deployment: one\n  status: paused", 11, "spec.status", "there is active, retired, suspended"),
    ("agent.yaml", "deployment: one", "deployment: one\n  valid_until: 2027-01-31T00:00:00", 5, "spec", "time zone"),
    ("agent.yaml", "deployment: one", "deployment: one\n  valid_until: '2027-01-31'", 11, "spec.valid_until", "a moment is expected"),
    ("agent.yaml", "deployment: one", "deployment: one\n  valid_until: 2027-13-31", 11, "spec.valid_until", "is no timestamp"),
    ("domain.yaml", "{ file: bundle.json }", "{ file: bundle.json, url: https://example.com/b }", 7, "spec.bundle", "name one of file, url and workload_api"),
    ("domain.yaml", "bundle.json", "bundel.json", 7, "spec.bundle.file", "cannot be read: No such file"),
    ("domain.yaml", "bundle.json", "domain.yaml", 7, "spec.bundle.file", "not a trust bundle"),
    ("domain.yaml", "{ file: bundle.json }", "{ url: 'https://10.0.0.1/b' }", 7, "spec.bundle.url", "not a public address"),
    ("domain.yaml", "development: true", "development: 'yes'", 6, "spec.development", "true or false is expected, not 'yes'"),
    ("broker.yaml", "source: file", "source: flie", 8, "spec.key", "did you mean 'file'?"),
    ("broker.yaml", "source: file, ", "", 8, "spec.key", "'source' is missing"),
    ("broker.yaml", "{ source: file, path: secrets/vault.key }", "vault.key", 8, "spec.key", "a mapping is expected, not 'vault.key'"),
    ("broker.yaml", ", path: secrets/vault.key", "", 8, "spec.key", "'path' is missing"),
    ("broker.yaml", "path: secrets", "paht: secrets", 8, "spec.key", "'path' is missing"),
    ("broker.yaml", "role: admin", "role: root", 10, "spec.operators[0].role", "there is admin, approver, auditor"),
    ("broker.yaml", 'operators:\n    - { user: "4000000001", role: admin }', "operators: []", 9, "spec.operators", "at least 1"),
    ("broker.yaml", "  key:", "  listen: { http: localhost }\n  key:", 8, "spec.listen.http", "for example 127.0.0.1:8470"),
    ("broker.yaml", "  key:", "  listen: { http: '127.0.0.1:99999' }\n  key:", 8, "spec.listen.http", "for example 127.0.0.1:8470"),
    ("broker.yaml", "  key:", "  store: ''\n  key:", 8, "spec.store", "does not have the form"),
    ("broker.yaml", "  key:", "  caps: { request_bytes: 10 }\n  key:", 8, "spec.caps.request_bytes", "1024 or more, not 10"),
    ("broker.yaml", "  key:", "  caps: { request_bytes: 99999999999 }\n  key:", 8, "spec.caps.request_bytes", "67108864 or less"),
    ("broker.yaml", "  key:", "  caps: { list_page: 1.5 }\n  key:", 8, "spec.caps.list_page", "a whole number is expected"),
    ("connector.yaml", "name: salesforce", "name: sales-force", 3, "metadata.name", "for example: salesforce"),
    ("connector.yaml", "type: notes", "type: salesfroce", 5, "spec.type", "did you mean 'salesforce'?"),
    ("connector.yaml", "https://notes", "http://notes", 6, "spec.url", "for example: https://"),
    ("connector.yaml", "https://notes.example.com", "https://notes.example.com:99999", 6, "spec.url", "would not call it"),
    ("connector.yaml", "https://notes.example.com", "https://127.0.0.1", 6, "spec.url", "private ranges"),
    ("connector.yaml", "https://notes.example.com", "https://[::1]:8443", 6, "spec.url", "does not have the form"),
    ("connector.yaml", "https://notes.example.com", "https://notes.example.com/../x", 6, "spec.url", "the path climbs"),
    ("connector.yaml", "  resources:", "  oauth: { token_endpoint: 'https://elsewhere.example.com/t' }\n  resources:", 7, "spec.oauth.token_endpoint", "not among the connector's hosts"),
    ("connector.yaml", "  resources:", "  reach: { private_ranges: [10.0.0.1/8] }\n  resources:", 7, "spec.reach.private_ranges[0]", "has host bits set"),
    ("connector.yaml", "  url: https://notes.example.com\n", "  url: http://127.0.0.1:11434\n  reach: { private_ranges: [127.0.0.0/8] }\n", 6, "spec.url", "without 'reach.plain_http'"),
    ("connector.yaml", "  url: https://notes.example.com\n", "  url: http://127.0.0.1:11434\n  reach: { plain_http: true }\n", 6, "spec.url", "not among the connector's private ranges"),
    ("connector.yaml", "  url: https://notes.example.com\n", "  url: https://notes.example.com\n  reach: { plain_http: true }\n", 7, "spec.reach.plain_http", "is for a URL that begins with http://"),
    ("connector.yaml", "  url: https://notes.example.com\n", "  url: http://notes.example.com\n  reach: { plain_http: true }\n", 6, "spec.url", ""),
    ("connector.yaml", "  url: https://notes.example.com\n", "  url: http://10.1.2.3:8000\n  reach: { private_ranges: [10.0.0.0/8], plain_http: true }\n", 6, "spec.url", ""),
    ("connector.yaml", "  url: https://notes.example.com\n", "  url: http://127.0.0.1\n  reach: { private_ranges: [127.0.0.0/8], plain_http: true }\n", 6, "spec.url", ""),
    ("connector.yaml", "  resources:", "  reach: { certificate_authority: bundle.json }\n  resources:", 7, "spec.reach.certificate_authority", "no certificate"),
    ("connector.yaml", "  resources:", "  limits: { total_seconds: 0 }\n  resources:", 7, "spec.limits.total_seconds", "greater than 0"),
    ("connector.yaml", "  resources:", "  settings: { api_version: '59.0' }\n  resources:", 7, "spec.settings.api_version", "unknown key"),
    ("connector.yaml", "  resources:", "  snapshot: ../policy.yaml\n  resources:", 7, "spec.snapshot", "salesforce.snapshot.json"),
    ("connector.yaml", "  resources:", "  snapshot: connector.json\n  resources:\n    Accounts: Account", 9, "spec.resources.Accounts", "for example: accounts"),
    ("connector.yaml", "resources:\n    accounts: Account\n    contacts: Contact", "resources: {}", 7, "spec.resources", "at least 1"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "right", "wrong", "line", "key", "words"), MISTAKES)
def test_a_mistake_is_reported_with_its_place_and_what_is_right(
    change: Change, file: str, right: str, wrong: str, line: int, key: str, words: str
) -> None:
    """Issue 2, What a user can do 3: file, line, key, what is wrong and the nearest right word."""
    found = change(file, right, wrong)

    assert [(problem.file, problem.line, problem.key) for problem in found if words in problem.message] == [
        (file, line, key)
    ], found


@pytest.mark.parametrize(("file", "right", "wrong", "line", "key", "words"), MISTAKES)
def test_one_mistake_is_reported_once(
    change: Change, file: str, right: str, wrong: str, line: int, key: str, words: str
) -> None:
    """What depends on a broken document is not called wrong for that; two mistakes in one place are two."""
    found = change(file, right, wrong)

    assert {problem.file for problem in found} == {file}
    assert len(found) <= 2
    assert {problem.line for problem in found} == {line}, (key, words)


@pytest.mark.parametrize(("file", "right", "wrong", "line", "key", "words"), MISTAKES)
def test_a_mistake_is_told_in_words_for_people(
    change: Change, file: str, right: str, wrong: str, line: int, key: str, words: str
) -> None:
    """Nobody needs to know which library checks the documents, or what it calls things."""
    told = " ".join(problem.message for problem in change(file, right, wrong))

    assert not [
        jargon
        for jargon in ("Input should", "valid dictionary", "instance of", "None", "Extra inputs", "pydantic", "_type")
        if jargon in told
    ], (line, key, words)


def test_every_mistake_of_a_set_is_reported_at_once(change: Change) -> None:
    """Issue 2, What a user can do 3: every mistake at once, those between documents too."""
    change("agent.yaml", "  owner: jane.doe@example.com\n", "", "spiffe://prod", "spiffe://prd", "team:", "taem:")
    change("domain.yaml", "bundle.json", "bundel.json")
    change("broker.yaml", "role: admin", "role: adminn")

    found = change(
        "policy.yaml",
        *("[read, search]", "[read, serach]"),
        *("expose_to_agent: false", "expose_to_agent: true"),
    )

    assert [(problem.file, problem.key) for problem in found] == [
        ("agent.yaml", "spec"),
        ("agent.yaml", "spec"),
        ("agent.yaml", "spec.workload"),
        ("agent.yaml", "spec.taem"),
        ("broker.yaml", "spec.operators[0].role"),
        ("domain.yaml", "spec.bundle.file"),
        ("policy.yaml", "spec.tools[0].actions[1]"),
        ("policy.yaml", "spec.credentials.expose_to_agent"),
    ]


def test_what_pydantic_may_find_and_our_documents_cannot_cause_is_said_too() -> None:
    """A stranger's connector has settings of its own: whatever their model refuses has a sentence."""
    details = {"type": "url_scheme", "msg": "Input should be a URL with scheme https", "loc": ("url",)}

    assert sentence(details, "ftp://x") == "must be a URL with scheme https"


def test_a_long_value_is_shown_in_part() -> None:
    """A message stays a line."""
    said = sentence({"type": "bool_type", "msg": "", "loc": ()}, "x" * 1000)

    assert len(said) < 120


def test_the_line_of_a_place_that_is_not_there_is_that_of_what_is_around_it() -> None:
    """A missing key has no line of its own."""
    source = Source("x.yaml", {}, {(): 1, ("spec",): 7}, "")

    assert source.line(("spec", "tools", 3, "deny")) == 7


def test_a_refusal_of_documents_has_a_code(change: Change, directory: Path, find: FindConnector) -> None:
    """Every refusal has a stable code, and this one has the list."""
    change("broker.yaml", "role: admin", "role: root")

    with pytest.raises(Invalid) as refused:
        load(directory, find)

    assert refused.value.code == "documents_invalid"
