"""The GitHub connector on a service with GitHub's manners: what agents get, where they may look, what fails how."""

import asyncio
import base64
import ipaddress
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from broker.catalog import catalog_tool
from broker.connector import Comparison, ConnectorDocument, Scope, ToolCall
from broker.egress import Egress, HeaderSecret, Limits, Reach, Secret, Session
from broker.errors import (
    AccessDenied,
    CursorInvalid,
    InvalidArguments,
    Refusal,
    UpstreamBusy,
    UpstreamChanged,
    UpstreamFailed,
    UpstreamForbidden,
    UpstreamMalformed,
    UpstreamNotFound,
    UpstreamRejected,
    UpstreamUnauthorized,
)
from broker.redact import narrow
from broker.vault.cursors import CursorSealer
from connectors.github import CONNECTOR, KINDS
from tests.support.github import SECRET_REPOSITORY, TOKEN, GitHub

SITE = "acme/website"


class Token:
    """The token of a grant."""

    async def header(self) -> Secret:
        """Return the header."""
        return HeaderSecret(f"Bearer {TOKEN}")

    async def renew(self, spent: Secret) -> None:
        """Do nothing: there is no other."""


class Account:
    """The connector on a service: called as the pipeline calls it."""

    def __init__(self, service: GitHub, runner: asyncio.Runner, egress: Egress, *repositories: str) -> None:
        self.service = service
        reach = Reach(frozenset({service.url.removeprefix("https://")}), (ipaddress.ip_network("127.0.0.0/8"),))
        self._client = egress.client(reach, Limits(total_seconds=5), service.authority)
        self._run = runner.run
        self.scope = Scope()
        self.document = ConnectorDocument.model_validate(
            {
                "type": "github",
                "url": service.url,
                "resources": {kind: kind for kind in KINDS},
                "grants": {"api_key": {"prefix": "Bearer "}},
                "settings": {"repositories": list(repositories) or [SITE, "acme/api"]},
            }
        )
        found = [catalog_tool("github", tool) for tool in CONNECTOR.tools(self.document, None)]
        self.tools = {tool.name.removeprefix("github_"): tool for tool in found}
        self._cursors = CursorSealer(bytes(32))

    def call(self, name: str, /, **arguments: Any) -> Any:
        """Check the arguments, run a tool, and narrow its result to what it declares."""
        tool = self.tools[name]
        tool.check(arguments)
        cursors = self._cursors.of("spiffe://prod/agent/analyst", name)
        call = ToolCall(arguments, _emit, self.scope, (), "", cursors)
        assert tool.tool.run is not None
        run = tool.tool.run

        async def ran() -> Any:
            return await run(call, Session(self._client, self.service.url, Token(), CONNECTOR.expired))

        return narrow(self._run(ran()), tool.tool.output_schema)

    def probe(self) -> str:
        """Make the harmless call."""

        async def probed() -> str:
            session = Session(self._client, self.service.url, Token(), CONNECTOR.expired)
            return await CONNECTOR.probe(session, self.document)

        return self._run(probed())

    def refused(self, name: str, /, **arguments: Any) -> Refusal:
        """Make a call that must be refused."""
        with pytest.raises(Refusal) as refused:
            self.call(name, **arguments)
        return refused.value


async def _emit(_done: int, _total: int | None) -> None:
    pass


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    """Serve a GitHub of the test's own, and connect it."""
    with GitHub(tmp_path) as service, asyncio.Runner() as runner:

        async def opened() -> Egress:
            return Egress()

        egress = runner.run(opened())

        async def made() -> Account:
            return Account(service, runner, egress)

        yield runner.run(made())
        runner.run(egress.close())


def everything(account: Account) -> None:
    """Use every tool, each as it is meant to be used."""
    call = account.call
    call("repositories_read", repository=SITE)
    call("repositories_search", words="site")
    file = call("contents_read", repository=SITE, path="src/app.py", ref="main")["record"]
    call("contents_read", repository=SITE)
    call("contents_create", repository=SITE, path="docs/new page.md", content="# New\n", message="A page")
    written = call(
        "contents_update",
        repository=SITE,
        path="src/app.py",
        content="x\n",
        message="x",
        sha=file["sha"],
        branch="main",
    )
    call("contents_delete", repository=SITE, path="src/app.py", message="Gone", sha=written["sha"])
    call("code_search", words="crash")
    made = call("issues_create", repository=SITE, title="Broken", body="*very*", labels=["bug"], assignees=["ada"])
    call("issues_read", repository=SITE, number=made["number"])
    call("issues_search", repository=SITE, state="all", labels=["bug"], since="2025-01-01T00:00:00Z", limit=2)
    call("issues_search", words="crash label:bug", state="open")
    call("issues_update", repository=SITE, number=made["number"], state="closed", state_reason="not_planned", labels=[])
    comment = call("comments_create", repository=SITE, number=1, body="Same here.")
    call("comments_search", repository=SITE, number=1, since="2025-01-01T00:00:00Z")
    call("comments_update", repository=SITE, id=comment["id"], body="Same here, twice.")
    head = call("branches_search", repository=SITE)["records"][0]
    call("branches_create", repository=SITE, name="mend/it", sha=head["sha"])
    pull = call("pulls_create", repository=SITE, title="Mend", head="mend/it", base="main", draft=True, body="It.")
    call("pulls_search", repository=SITE, state="all", base="main")
    call("pulls_search", words="mend")
    seen = call("pulls_read", repository=SITE, number=pull["number"], files=True)["record"]
    call("pulls_update", repository=SITE, number=pull["number"], title="Mend it")
    call("pulls_review", repository=SITE, number=pull["number"], event="COMMENT", body="Fine.")
    call("pulls_merge", repository=SITE, number=pull["number"], sha=seen["head_sha"], merge_method="squash")
    call("commits_search", repository=SITE, path="src/app.py", ref="main", author="ada@example.com")
    call("commits_read", repository=SITE, ref=head["sha"])
    account.probe()


def test_every_tool_does_what_it_says(account: Account) -> None:
    """Issue 6: tools an agent finds natural."""
    everything(account)

    site = account.service.repositories[SITE]
    assert site.files["docs/new page.md"] == b"# New\n"
    assert "src/app.py" not in site.files
    assert (site.issues[7]["state"], site.issues[7]["state_reason"]) == ("closed", "not_planned")
    assert [one["body"] for one in site.comments.values()] == ["Same here, twice."]
    assert site.issues[8]["_pull"]["merged"]
    assert set(site.branches) == {"main", "mend/it"}


def test_what_is_read_is_plain(account: Account) -> None:
    """An agent gets what it needs of GitHub's many members, under plain names."""
    assert account.call("contents_read", repository=SITE, path="README.md")["record"]["content"] == "# acme/website\n"
    binary = account.call("contents_read", repository=SITE, path="logo.png")["record"]
    assert (binary["encoding"], base64.b64decode(binary["content"])) == ("base64", b"\x89PNG")
    listed = account.call("contents_read", repository=SITE)["record"]
    assert [(one["path"], one["type"]) for one in listed["entries"]] == [
        ("README.md", "file"),
        ("logo.png", "file"),
        ("src", "dir"),
    ]
    issue = account.call("issues_read", repository=SITE, number=2)["record"]
    assert (issue["repository"], issue["title"], issue["author"], issue["state"]) == (SITE, "Crash 2", "ada", "open")
    pull = account.call("pulls_read", repository=SITE, number=6, files=True)["record"]
    assert (pull["head"], pull["base"], pull["merged"]) == ("acme:main", "main", False)
    assert pull["changed_files"][0]["path"] == "src/app.py"


def test_lists_go_on_and_leave_pull_requests_out_of_issues(account: Account) -> None:
    """Pages are gone through under a cap; a cursor is of no use to another list."""
    for number in range(120):
        account.service._issue(account.service.repositories[SITE], {"title": f"More {number}", "body": ""})
    found: list[int] = []
    cursor: dict[str, Any] = {}
    while True:
        page = account.call("issues_search", repository=SITE, limit=50, **cursor)
        found += [one["number"] for one in page["records"]]
        if not page["more"]:
            break
        cursor = {"cursor": page["cursor"]}

    assert found == [number for number in range(126, 0, -1) if number != 6]
    with pytest.raises(CursorInvalid):
        account.call("issues_search", repository=SITE, limit=50, state="all", **cursor)
    account.scope = Scope(records=3)
    assert len(account.call("issues_search", repository=SITE, limit=50)["records"]) == 3


@pytest.mark.parametrize("repository", [SECRET_REPOSITORY, "other/thing", "acme/nothing", "ACME/Secret"])
def test_a_repository_beyond_the_document_is_not_there(account: Account, repository: str) -> None:
    """Absent means less: the document names the repositories, whatever the token may do; nothing is asked."""
    for name, arguments in (
        ("repositories_read", {}),
        ("contents_read", {"path": "README.md"}),
        ("issues_search", {}),
        ("issues_search", {"words": "crash"}),
        ("issues_create", {"title": "x"}),
        ("code_search", {"words": "crash"}),
    ):
        assert isinstance(account.refused(name, repository=repository, **arguments), UpstreamNotFound)

    assert account.service.exchanges == []


def test_a_policys_filter_says_which_repositories(account: Account) -> None:
    """Filters of the decision reach the service: repository = 'acme/api'."""
    account.scope = Scope(filters=(Comparison("repository", "=", "acme/api"),))

    assert isinstance(account.refused("issues_read", repository=SITE, number=1), UpstreamNotFound)
    assert account.call("issues_read", repository="Acme/API", number=1)["record"]["title"] == "Crash 1"
    found = account.call("issues_search", words="crash")["records"]
    assert {one["repository"] for one in found} == {"acme/api"}
    assert account.service.exchanges[-1].query["q"] == "crash is:issue repo:acme/api"
    for comparison in (Comparison("repository", "<", "b"), Comparison("owner", "=", "acme")):
        account.scope = Scope(filters=(comparison,))
        assert isinstance(account.refused("issues_search", words="crash"), UpstreamNotFound | AccessDenied)


@pytest.mark.parametrize(
    "words",
    [
        "crash repo:acme/secret",
        "crash REPO:acme/secret",
        "crash user:acme",
        "crash org:acme",
        "crash) OR (repo:acme/secret",
        "crash OR x",
        "NOT x",
        'x" repo:acme/secret "',
        "repo :acme/secret",
        "owner:acme",
    ],
)
def test_words_do_not_widen_a_search(account: Account, words: str) -> None:
    """Injection through the words of a search: qualifiers of place are arguments, and only arguments."""
    for name in ("issues_search", "pulls_search", "code_search", "repositories_search"):
        assert isinstance(account.refused(name, words=words), InvalidArguments)


def test_what_a_search_finds_elsewhere_all_the_same_is_left_out(account: Account) -> None:
    """A service that answers more than it was asked gives nothing away."""
    account.document = account.document.model_copy()
    answered = account.service._search("issues", {"q": "crash is:issue"})[1]
    account.service.faults = [(200, {}, answered)]

    found = account.call("issues_search", words="crash")["records"]

    assert len(answered["items"]) == 20
    assert {one["repository"] for one in found} == {SITE, "acme/api"}


@pytest.mark.parametrize("path", ["../../user", "a/../b", "./x", "a//b", "/a", "a/", "..", "\u0000", "a/..%2f/b/../c"])
def test_a_path_cannot_be_climbed_through_an_argument(account: Account, path: str) -> None:
    """Argument injection, twice a CVE of this field: each part of a path is one escaped segment."""
    assert isinstance(account.refused("contents_read", repository=SITE, path=path), InvalidArguments)
    assert isinstance(account.refused("commits_read", repository=SITE, ref=path), InvalidArguments)
    assert account.service.exchanges == []


@pytest.mark.parametrize("path", ["%2e%2e/x", "a?ref=x", "a#b", "a%00", "src%2fapp.py", "é/ü.md", "a b", "{number}"])
def test_a_path_stands_in_the_address_as_one_path(account: Account, path: str) -> None:
    """What looks like an address in an argument is a name."""
    with pytest.raises(Refusal):
        account.call("contents_read", repository=SITE, path=path)

    for exchange in account.service.exchanges:
        assert exchange.path.startswith("/repos/acme/website/contents/")
        assert exchange.query == {}


@pytest.mark.parametrize(
    ("fault", "refusal"),
    [
        ((403, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(time.time()) + 90)}, {}), UpstreamBusy),
        ((429, {"retry-after": "7"}, {}), UpstreamBusy),
        ((403, {"retry-after": "7"}, {}), UpstreamBusy),
        ((403, {}, {"message": "You have exceeded a secondary rate limit. SERVICE-WORDS"}), UpstreamBusy),
        ((403, {"x-accepted-github-permissions": "issues=write"}, {"message": "SERVICE-WORDS"}), UpstreamForbidden),
        ((404, {}, {"message": "SERVICE-WORDS"}), UpstreamNotFound),
        ((409, {}, {"message": "SERVICE-WORDS"}), UpstreamChanged),
        ((410, {}, {"message": "SERVICE-WORDS"}), UpstreamRejected),
        ((422, {}, {"message": "SERVICE-WORDS", "errors": ["SERVICE-WORDS"]}), UpstreamRejected),
        ((500, {}, {"message": "SERVICE-WORDS"}), UpstreamFailed),
        ((503, {}, "SERVICE-WORDS"), UpstreamFailed),
        ((418, {}, []), UpstreamRejected),
        ((200, {}, ["SERVICE-WORDS"]), UpstreamMalformed),
        ((200, {}, None), UpstreamMalformed),
    ],
)
def test_a_failure_is_said_in_our_words(account: Account, fault: Any, refusal: type[Refusal]) -> None:
    """The service's own words reach no agent; a limit says when to try again."""
    account.service.faults = [fault]

    refused = account.refused("issues_read", repository=SITE, number=1)

    assert isinstance(refused, refusal)
    assert "SERVICE-WORDS" not in f"{refused.message} {refused.detail}"
    if refusal is UpstreamBusy:
        assert 1 <= refused.facts["retry_after"] <= 90
    if refusal is UpstreamForbidden:
        assert refused.detail == "HTTP 403; GitHub wants issues=write"


def test_what_github_wants_of_a_field_is_told(account: Account) -> None:
    """Of a 422, names of fields and codes are told, which are GitHub's documented words."""
    refused = account.refused("pulls_create", repository=SITE, title="x", head="nowhere", base="main")

    assert refused.message == "GitHub does not take it as it is (head: invalid)."


def test_a_token_that_is_refused_is_renewed_once(account: Account) -> None:
    """GitHub says 401 of nothing but the token."""
    account.service.faults = [(401, {}, {"message": "Bad credentials"})]
    assert account.call("issues_read", repository=SITE, number=1)

    account.service.faults = [(401, {}, {})] * 2
    assert isinstance(account.refused("issues_read", repository=SITE, number=1), UpstreamUnauthorized)


def test_a_file_that_has_changed_is_not_overwritten(account: Account) -> None:
    """Writes are conditional on what the agent has read, where GitHub can be told so."""
    change = {"repository": SITE, "path": "README.md", "content": "x", "message": "x"}
    merge = {"repository": SITE, "number": 6, "sha": "0" * 40}

    assert isinstance(account.refused("contents_update", **change, sha="0" * 40), UpstreamChanged)
    assert isinstance(account.refused("contents_create", **change), UpstreamRejected)
    assert isinstance(account.refused("pulls_merge", **merge), UpstreamChanged)


def test_the_allowance_is_read_from_every_answer_but_a_search(account: Account) -> None:
    """Issue 4, usage: the hour's requests; a search has a limit of its own."""
    assert CONNECTOR.usage is not None

    async def answered(path: list[str]) -> Any:
        session = Session(account._client, account.service.url, Token(), CONNECTOR.expired)
        return await session.send("GET", account.service.url + "/" + "/".join(path), {}, None)

    core = CONNECTOR.usage(account._run(answered(["repos", "acme", "website"])))
    search = CONNECTOR.usage(account._run(answered(["search", "issues?q=x"])))

    assert core is not None
    assert (core.used, core.most) == (1, 5000)
    assert search is None
    assert account.probe() == "signed in; 4998 of 5000 requests left this hour"


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"resources": {"gists": "gists"}}, "gists"),
        ({"grants": {"api_key": {"prefix": ""}}}, "Bearer"),
    ],
)
def test_a_document_that_does_not_fit_says_what_to_change(account: Account, change: Any, word: str) -> None:
    """Bad input gets a clear error naming the field."""
    document = ConnectorDocument.model_validate({**account.document.model_dump(), **change})

    with pytest.raises(ValueError, match=word):
        CONNECTOR.tools(document, None)


def test_what_is_sent_says_which_version_and_holds_the_token_once(account: Account) -> None:
    """The API's version is pinned; the token stands in its header and nowhere else."""
    account.call("issues_create", repository=SITE, title="x")

    exchange = account.service.exchanges[-1]
    assert exchange.headers["x-github-api-version"] == "2022-11-28"
    assert exchange.headers["authorization"] == f"Bearer {TOKEN}"
    assert exchange.body == {"title": "x"}
