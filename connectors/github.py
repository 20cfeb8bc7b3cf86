"""GitHub: repositories, files, code, issues, comments, pull requests, commits and branches, through its REST API.

What a document maps (`issues: issues`) are kinds of things; every tool names the repository that it acts on, which must
be among `settings.repositories`, and within a policy's filter by `repository`.
"""

import base64
import binascii
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any, NoReturn
from urllib.parse import quote, urlencode

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from broker.connector import (
    Comparison,
    Connector,
    ConnectorDocument,
    Endpoints,
    Question,
    Response,
    Session,
    Tool,
    ToolCall,
    Usage,
    errors,
    retry_after,
)

__all__ = ["CONNECTOR"]

_OWNER = r"[A-Za-z0-9][A-Za-z0-9-]{0,38}"
_MOST_PAGES = 10  # of one call
_PAGE_SIZE = 100
_MOST_NAMED = 20  # repositories in one search
_WIDENING = re.compile(r"(?i)(?:repo|repository|org|user|owner|enterprise|fork)\s*:|[()]|\bOR\b|\bAND\b|\bNOT\b")
_FIELD_NAME, _ERROR_CODE = re.compile(r"[a-z_]{1,40}"), re.compile(r"[a-z_]{1,40}")

Schema = dict[str, Any]


class Settings(BaseModel):
    """Settings of a `github` connector."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    repositories: Annotated[
        list[Annotated[str, Field(pattern=rf"^{_OWNER}/([A-Za-z0-9._-]{{1,100}}|\*)$")]], Field(min_length=1)
    ] = Field(description="The repositories that may be used, as owner/name, or owner/* for all of an owner.")
    api_version: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")] = "2022-11-28"


# --- What is asked and answered --------------------------------------------------------------------------------------


def _closed(properties: Mapping[str, Any], *required: str) -> Schema:
    schema = {"type": "object", "properties": dict(properties), "additionalProperties": False}
    return {**schema, "required": list(required)} if required else schema


def _text(most: int, words: str = "", **more: Any) -> Schema:
    return {"type": "string", "minLength": 1, "maxLength": most, **({"description": words} if words else {}), **more}


def _shown(*names: str, **others: Schema) -> Schema:
    text = {"type": ["string", "null"]}
    return _closed({**dict.fromkeys(names, text), **others})


_REPOSITORY = {"type": "string", "pattern": rf"^{_OWNER}/[A-Za-z0-9._-]{{1,100}}$", "description": "As owner/name."}
_NUMBER = {"type": "integer", "minimum": 1}
_REF = _text(250, "A branch, tag or commit; the default branch if left out.")
_PATH = _text(1000, "From the repository's root, without a leading slash.")
_BODY = {"type": "string", "maxLength": 65_536, "description": "Markdown."}
_NAMES = {"type": "array", "items": _text(100), "maxItems": 20}
_STATE = {"enum": ["open", "closed", "all"], "description": "'open' if left out."}
_WORDS = _text(200, "Words and qualifiers of GitHub's search, as 'crash label:bug'; which repository is an argument.")
_PAGE_OF = {
    "limit": {"type": "integer", "minimum": 1, "maximum": 100, "description": "30 if left out."},
    "cursor": _text(4096, "From the answer before, with the same arguments otherwise: goes on there."),
}
_INTEGER, _FLAG, _LIST = {"type": ["integer", "null"]}, {"type": ["boolean", "null"]}, {"type": "array"}
_TEXTS = {**_LIST, "items": {"type": "string"}}

_ISSUE = _shown(
    *("repository", "title", "state", "state_reason", "author", "body", "created_at", "updated_at", "closed_at", "url"),
    number=_INTEGER,
    labels=_TEXTS,
    assignees=_TEXTS,
    comments=_INTEGER,
)
_PULL = _shown(
    *("repository", "title", "state", "author", "body", "created_at", "updated_at", "merged_at", "url"),
    *("head", "head_sha", "base"),
    number=_INTEGER,
    draft=_FLAG,
    merged=_FLAG,
    mergeable=_FLAG,
    labels=_TEXTS,
    changed_files={**_LIST, "items": _shown("path", "status", "patch", additions=_INTEGER, deletions=_INTEGER)},
)
_COMMENT = _shown("author", "body", "created_at", "updated_at", "url", id=_INTEGER)
_COMMIT = _shown(
    *("sha", "message", "author", "email", "date", "url"),
    files={**_LIST, "items": _shown("path", "status", "patch", additions=_INTEGER, deletions=_INTEGER)},
)
_FILE = _shown(
    *("path", "type", "sha", "content", "encoding", "url"),
    size=_INTEGER,
    entries={**_LIST, "items": _shown("path", "type", "sha", size=_INTEGER)},
)
_REPO = _shown(
    *("repository", "description", "default_branch", "visibility", "language", "updated_at", "url"),
    archived=_FLAG,
    open_issues=_INTEGER,
    topics=_TEXTS,
)
_FOUND = _shown("repository", "path", "sha", "url")
_BRANCH = _shown("name", "sha", protected=_FLAG)
_WRITTEN = _shown("sha", "url", "commit", merged=_FLAG, number=_INTEGER, id=_INTEGER)


# --- The service -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Account:
    """One connected GitHub, as the document has it."""

    settings: Settings

    async def ask(
        self,
        session: Session,
        method: str,
        path: Sequence[str],
        query: Mapping[str, Any] | None = None,
        body: Any = None,
    ) -> Response:
        """Make one request of the API; raise what a refusal of it is in our words."""
        url = session.base_url + "".join(f"/{_segment(one)}" for one in path)
        if query:
            url += "?" + urlencode({name: value for name, value in query.items() if value is not None})
        headers = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": self.settings.api_version}
        text = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            text = msgspec.json.encode({name: value for name, value in body.items() if value is not None})
        response = await session.send(method, url, headers, text)
        if response.status not in {HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.NO_CONTENT}:
            _refuse(response)
        return response

    async def one(
        self, session: Session, method: str, path: Sequence[str], query: Any = None, body: Any = None
    ) -> dict[str, Any]:
        """Make one request, and return the object that is its answer."""
        return _object((await self.ask(session, method, path, query, body)).json())

    async def listed(
        self,
        call: ToolCall,
        session: Session,
        path: Sequence[str],
        query: Mapping[str, Any],
        show: Callable[[dict[str, Any]], dict[str, Any] | None],
    ) -> dict[str, Any]:
        """Answer one page of a list, of what `show` shows; go through as many of GitHub's as it takes, to a cap."""
        limit = min(int(call.arguments.get("limit", 30)), 100 if call.scope.records is None else call.scope.records)
        if limit == 0:
            return {"records": [], "more": False}
        asked = repr((path, sorted(query.items()), limit))
        page, skip = call.cursors.open(asked, call.arguments["cursor"]) if "cursor" in call.arguments else (1, 0)
        found: list[dict[str, Any]] = []
        for number in range(page, page + _MOST_PAGES):
            response = await self.ask(session, "GET", path, {**query, "per_page": _PAGE_SIZE, "page": number})
            answer = response.json()
            items = answer.get("items") if isinstance(answer, dict) else answer
            if not isinstance(items, list):
                raise errors.UpstreamMalformed(detail="a list that is none")
            following = 'rel="next"' in response.headers.get("link", "")
            for place, item in enumerate(items):
                shown = show(_object(item)) if number > page or place >= skip else None
                if shown is not None:
                    found.append(shown)
                if len(found) == limit and (following or place + 1 < len(items)):
                    return {"records": found, "more": True, "cursor": call.cursors.seal(asked, [number, place + 1])}
            if not following or len(found) == limit:
                return {"records": found, "more": False}
            await call.emit(len(found), None)
        return {"records": found, "more": True, "cursor": call.cursors.seal(asked, [page + _MOST_PAGES, 0])}

    # --- Which repositories ------------------------------------------------------------------------------------------

    def repository(self, call: ToolCall) -> tuple[str, str]:
        """Return the owner and name that a call names; refuse those beyond the document's, or the policy's filter."""
        named = str(call.arguments["repository"])
        if not self.among(named, call.scope.filters):
            raise errors.UpstreamNotFound(f"There is no repository {named} for this agent.")
        owner, _, name = named.partition("/")
        return owner, name

    def among(self, named: str, filters: Sequence[Comparison]) -> bool:
        """Tell whether a repository may be used. GitHub does not tell capitals."""
        known = {one.casefold() for one in self.settings.repositories}
        owner = named.casefold().partition("/")[0]
        return bool({named.casefold(), f"{owner}/*"} & known) and all(_passes(named, one) for one in filters)

    def everywhere(self, call: ToolCall) -> str:
        """Return what narrows a search to where this call may look, in the words of GitHub's search."""
        if "repository" in call.arguments:
            return "repo:" + "/".join(self.repository(call))
        wanted = [list(map(str, one.value)) for one in call.scope.filters if isinstance(one.value, list)]
        wanted += [[str(one.value)] for one in call.scope.filters if one.operator == "="]
        if wanted:
            names = [one for one in wanted[0] if self.among(one, call.scope.filters)]
        else:
            names = [
                one for one in self.settings.repositories if one.endswith("/*") or self.among(one, call.scope.filters)
            ]
        if not names:
            raise errors.AccessDenied("The agent's policies leave no repository to search in.")
        if len(names) > _MOST_NAMED:
            raise errors.InvalidArguments(f"Name a repository: there are more than {_MOST_NAMED} to search in.")
        return " ".join(f"user:{one[:-2]}" if one.endswith("/*") else f"repo:{one}" for one in names)


def _passes(named: str, comparison: Comparison) -> bool:
    value = comparison.value
    wanted = [str(one).casefold() for one in (value if isinstance(value, list) else [value])]
    if comparison.field != "repository" or comparison.operator not in {"=", "!=", "in"}:
        return False
    return (named.casefold() in wanted) != (comparison.operator == "!=")


def _segment(text: str) -> str:
    if not text or set(text) <= {"."} or any(character < " " for character in text):
        raise errors.InvalidArguments("No part of a path may be empty, or dots.")
    return quote(text, safe="")


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise errors.UpstreamMalformed(detail="an answer that is no object")
    return value


def _refuse(response: Response) -> NoReturn:
    """Raise what a refusal of GitHub is in our words; of its own, only names of fields and codes are told."""
    status, headers = response.status, response.headers
    detail = f"HTTP {status}"
    if status in {HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS} and (seconds := _wait(response)) is not None:
        words = f"GitHub's rate limit is reached; try again in {seconds} seconds."
        raise errors.UpstreamBusy(words, detail=detail, retry_after=seconds)
    if status == HTTPStatus.FORBIDDEN:
        needed = headers.get("x-accepted-github-permissions") or headers.get("x-accepted-oauth-scopes", "")
        raise errors.UpstreamForbidden(detail=f"{detail}; GitHub wants {needed[:200]}" if needed else detail)
    if status == HTTPStatus.UNPROCESSABLE_ENTITY:
        raise errors.UpstreamRejected(_problems(response), detail=detail)
    by_status: dict[int, errors.Refusal] = {
        HTTPStatus.UNAUTHORIZED: errors.UpstreamUnauthorized(detail=detail),
        HTTPStatus.NOT_FOUND: errors.UpstreamNotFound(
            "GitHub shows this account no such thing: it is not there, or the account may not see it.", detail=detail
        ),
        HTTPStatus.CONFLICT: errors.UpstreamChanged(detail=detail),
        HTTPStatus.METHOD_NOT_ALLOWED: errors.UpstreamRejected("GitHub does not merge it as it is.", detail=detail),
        HTTPStatus.GONE: errors.UpstreamRejected("This is turned off in the repository.", detail=detail),
    }
    failed = errors.UpstreamFailed if status >= HTTPStatus.INTERNAL_SERVER_ERROR else errors.UpstreamRejected
    raise by_status.get(status) or failed(detail=detail)


def _wait(response: Response) -> int | None:
    """Return how long to wait where a limit is reached, the primary or a secondary one; None where none is."""
    said = retry_after(response)
    if said is not None:
        return said
    headers = response.headers
    if headers.get("x-ratelimit-remaining") == "0" and headers.get("x-ratelimit-reset", "").isdecimal():
        return min(max(int(headers["x-ratelimit-reset"][:12]) - int(time.time()), 1), 86_400)
    secondary = b"secondary rate limit" in response.body or b"abuse detection" in response.body
    return 60 if secondary or response.status == HTTPStatus.TOO_MANY_REQUESTS else None


def _problems(response: Response) -> str:
    try:
        said = response.json()
    except errors.UpstreamMalformed:
        said = None
    listed = said.get("errors") if isinstance(said, dict) else None
    found = [
        f"{one['field']}: {one['code']}"
        for one in (listed if isinstance(listed, list) else [])[:5]
        if isinstance(one, dict)
        and _FIELD_NAME.fullmatch(str(one.get("field")))
        and _ERROR_CODE.fullmatch(str(one.get("code")))
    ]
    return "GitHub does not take it as it is" + (f" ({', '.join(found)})." if found else "; look at the arguments.")


def expired(response: Response) -> bool:
    """Tell whether the token has expired: GitHub says 401 of nothing else."""
    return response.status == HTTPStatus.UNAUTHORIZED


def usage(response: Response) -> Usage | None:
    """Read how much of the hour's requests are used; searches have a limit of their own, by the minute."""
    headers = response.headers
    most, left = headers.get("x-ratelimit-limit", ""), headers.get("x-ratelimit-remaining", "")
    if headers.get("x-ratelimit-resource", "core") != "core" or not (most.isdecimal() and left.isdecimal()):
        return None
    return Usage(max(int(most[:9]) - int(left[:9]), 0), int(most[:9]))


async def probe(session: Session, document: ConnectorDocument) -> str:
    """Ask for the rate limit, which costs nothing and which every token may."""
    limits = await Account(Settings.model_validate(document.settings)).one(session, "GET", ["rate_limit"])
    core = _object(_object(limits.get("resources")).get("core"))
    return f"signed in; {int(core.get('remaining', 0))} of {int(core.get('limit', 0))} requests left this hour"


# --- What is shown of it ---------------------------------------------------------------------------------------------


def _login(value: Any) -> str | None:
    return value.get("login") if isinstance(value, dict) else None


def _named(values: Any, name: str) -> list[str]:
    found = [one.get(name) if isinstance(one, dict) else one for one in values or ()]
    return [one for one in found if isinstance(one, str)]


def _whose(item: Mapping[str, Any]) -> str | None:
    """Return the repository that an issue or pull request is of."""
    if isinstance(item.get("repository_url"), str):
        return "/".join(item["repository_url"].rsplit("/", 2)[-2:])
    base = item.get("base")
    of = base.get("repo") if isinstance(base, dict) else None
    return of.get("full_name") if isinstance(of, dict) else None


def _take(item: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: item.get(name) for name in names}


def _issue(item: Mapping[str, Any]) -> dict[str, Any]:
    plain = _take(item, "number", "title", "state", "state_reason", "body", "created_at", "updated_at", "closed_at")
    return {
        "repository": _whose(item),
        **plain,
        "author": _login(item.get("user")),
        "labels": _named(item.get("labels"), "name"),
        "assignees": _named(item.get("assignees"), "login"),
        "comments": item.get("comments"),
        "url": item.get("html_url"),
    }


def _pull(item: Mapping[str, Any]) -> dict[str, Any]:
    head, base = (_object(item.get(one) or {}) for one in ("head", "base"))
    merged_at = item.get("merged_at") or _object(item.get("pull_request") or {}).get("merged_at")
    return {
        "repository": _whose(item),
        **_take(item, "number", "title", "state", "body", "created_at", "updated_at", "draft", "mergeable"),
        "merged": bool(merged_at),
        "merged_at": merged_at,
        "author": _login(item.get("user")),
        "labels": _named(item.get("labels"), "name"),
        "head": head.get("label") or head.get("ref"),
        "head_sha": head.get("sha"),
        "base": base.get("ref"),
        "url": item.get("html_url"),
    }


def _comment(item: Mapping[str, Any]) -> dict[str, Any]:
    taken = _take(item, "id", "body", "created_at", "updated_at")
    return {**taken, "author": _login(item.get("user")), "url": item.get("html_url")}


def _change(item: Mapping[str, Any]) -> dict[str, Any]:
    return {"path": item.get("filename"), **_take(item, "status", "patch", "additions", "deletions")}


def _commit(item: Mapping[str, Any]) -> dict[str, Any]:
    said = _object(item.get("commit") or {})
    author = _object(said.get("author") or {})
    shown = {"sha": item.get("sha"), "message": said.get("message"), "url": item.get("html_url")}
    shown |= {"author": author.get("name"), **_take(author, "email", "date")}
    return shown | ({"files": [_change(_object(one)) for one in item["files"]]} if item.get("files") else {})


def _repo(item: Mapping[str, Any]) -> dict[str, Any]:
    taken = _take(item, "description", "default_branch", "visibility", "language", "updated_at", "archived", "topics")
    whose = {"repository": item.get("full_name"), "url": item.get("html_url")}
    return {**taken, **whose, "open_issues": item.get("open_issues_count")}


def _branch(item: Mapping[str, Any]) -> dict[str, Any]:
    return {**_take(item, "name", "protected"), "sha": _object(item.get("commit") or {}).get("sha")}


def _hit(item: Mapping[str, Any]) -> dict[str, Any]:
    whose = _object(item.get("repository") or {}).get("full_name")
    return {**_take(item, "path", "sha"), "url": item.get("html_url"), "repository": whose}


def _file(item: Mapping[str, Any]) -> dict[str, Any]:
    shown = {**_take(item, "path", "type", "sha", "size"), "url": item.get("html_url")}
    if item.get("type") != "file":
        return shown
    if item.get("encoding") != "base64" or not isinstance(item.get("content"), str):
        raise errors.UpstreamTooLarge("GitHub does not hand over a file this large; read it by other means.")
    try:
        content = base64.b64decode(item["content"])
    except binascii.Error:
        raise errors.UpstreamMalformed(detail="content that is no base64") from None
    try:
        return shown | {"content": content.decode(), "encoding": "utf-8"}
    except UnicodeDecodeError:
        return shown | {"content": base64.b64encode(content).decode(), "encoding": "base64"}


# --- What the tools do -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Action:
    """One action on one kind of thing. `run` is given the account, the call, the session and the repository's path."""

    description: str
    takes: Mapping[str, Any]
    required: Sequence[str]
    shows: Schema
    run: Callable[..., Any]
    reads: bool = True
    lists: bool = False
    anywhere: bool = False
    """Whether the repository may be left out."""


_reads = _Action
_finds = partial(_Action, lists=True)


def _writes(description: str, takes: Mapping[str, Any], required: Sequence[str], run: Callable[..., Any]) -> _Action:
    return _Action(description, takes, required, _WRITTEN, run, reads=False)


async def _get(
    shown: Callable[[Any], Any], *path: str, account: Account, call: ToolCall, session: Session, at: Any
) -> Any:
    """Read the one thing at a path, in which {name} stands for an argument."""
    return {"record": shown(await account.one(session, "GET", _at(at, path, call)))}


async def _list(
    shown: Callable[[Any], Any],
    *path: str,
    query: Mapping[str, str] = {},
    account: Account,
    call: ToolCall,
    session: Session,
    at: Any,
) -> Any:
    """List what is at a path; `query` has GitHub's names of the arguments that narrow it."""
    asked = {theirs: call.arguments.get(ours) for theirs, ours in query.items()}
    return await account.listed(call, session, _at(at, path, call), asked, shown)


async def _send(
    method: str, *path: str, body: Sequence[str], account: Account, call: ToolCall, session: Session, at: Any
) -> Any:
    """Write at a path, with these arguments as the body."""
    sent = {name: call.arguments.get(name) for name in body}
    answer = await account.one(session, method, _at(at, path, call), body=sent)
    return {**_take(answer, "number", "id", "sha", "merged"), "url": answer.get("html_url")}


def _at(at: Sequence[str], path: Sequence[str], call: ToolCall) -> list[str]:
    return [*at, *(str(call.arguments[one[1:-1]]) if one.startswith("{") else one for one in path)]


async def _search(
    what: str,
    qualifier: str,
    shown: Callable[[Any], Any],
    *,
    account: Account,
    call: ToolCall,
    session: Session,
    at: Any,
) -> Any:
    """Search everywhere that the call may look; what comes of anywhere else all the same is left out."""
    del at
    words = str(call.arguments.get("words", ""))
    if _WIDENING.search(words):
        raise errors.InvalidArguments(
            "Name the repository as an argument; 'words' takes no repo:, org:, user:, parentheses, OR, AND or NOT."
        )
    state = call.arguments.get("state")
    parts = [words, qualifier, account.everywhere(call), f"is:{state}" if state in {"open", "closed"} else ""]

    def within(item: dict[str, Any]) -> dict[str, Any] | None:
        one: dict[str, Any] = shown(item)
        return one if account.among(str(one.get("repository")), call.scope.filters) else None

    query = {"q": " ".join(part for part in parts if part)}
    return await account.listed(call, session, ["search", what], query, within)


async def _find_issues(*, account: Account, call: ToolCall, session: Session, at: Any) -> Any:
    """List a repository's issues, or search for them by words; GitHub lists pull requests among issues."""
    if "words" in call.arguments or "repository" not in call.arguments:
        return await _search("issues", "is:issue", _issue, account=account, call=call, session=session, at=at)
    arguments = call.arguments
    query = {"state": arguments.get("state"), "labels": ",".join(arguments.get("labels", ())) or None}
    query |= {"assignee": arguments.get("assignee"), "since": arguments.get("since")}
    only = lambda item: None if "pull_request" in item else _issue(item)  # noqa: E731 - it is short, and is handed over
    return await account.listed(call, session, [*at, "issues"], query, only)


async def _find_pulls(*, account: Account, call: ToolCall, session: Session, at: Any) -> Any:
    if "words" in call.arguments or "repository" not in call.arguments:
        return await _search("issues", "is:pr", _pull, account=account, call=call, session=session, at=at)
    query = {
        "state": call.arguments.get("state"),
        "head": call.arguments.get("head"),
        "base": call.arguments.get("base"),
    }
    return await account.listed(call, session, [*at, "pulls"], query, _pull)


async def _read_pull(*, account: Account, call: ToolCall, session: Session, at: Any) -> Any:
    path = [*at, "pulls", str(call.arguments["number"])]
    shown = _pull(await account.one(session, "GET", path))
    if call.arguments.get("files"):
        response = await account.ask(session, "GET", [*path, "files"], {"per_page": 100})
        shown["changed_files"] = [_change(_object(one)) for one in response.json()]
    return {"record": shown}


async def _read_contents(*, account: Account, call: ToolCall, session: Session, at: Any) -> Any:
    path = [*at, "contents", *_parts(call.arguments.get("path", ""))]
    answer = (await account.ask(session, "GET", path, {"ref": call.arguments.get("ref")})).json()
    if isinstance(answer, list):
        entries = [_take(_object(one), "path", "type", "sha", "size") for one in answer]
        return {"record": {"path": call.arguments.get("path", ""), "type": "dir", "entries": entries}}
    return {"record": _file(_object(answer))}


async def _write_contents(method: str, *, account: Account, call: ToolCall, session: Session, at: Any) -> Any:
    arguments = call.arguments
    body = {name: arguments.get(name) for name in ("message", "branch", "sha")}
    if "content" in arguments:
        body["content"] = base64.b64encode(arguments["content"].encode()).decode()
    answer = await account.one(session, method, [*at, "contents", *_parts(arguments["path"])], body=body)
    file, commit = (_object(answer.get(name) or {}) for name in ("content", "commit"))
    return {"sha": file.get("sha"), "url": file.get("html_url"), "commit": commit.get("sha")}


def _parts(path: str) -> list[str]:
    """Return a path's parts; an empty one, or one that climbs, is refused where the path is made."""
    return path.split("/") if path else []


async def _create_branch(*, account: Account, call: ToolCall, session: Session, at: Any) -> Any:
    body = {"ref": f"refs/heads/{call.arguments['name']}", "sha": call.arguments["sha"]}
    answer = await account.one(session, "POST", [*at, "git", "refs"], body=body)
    return {"sha": _object(answer.get("object") or {}).get("sha")}


_AGAIN = "Repeating the call makes another: where the outcome is unknown, search first."
_TITLED = {"title": _text(256), "body": _BODY}
_ISSUE_TAKES = {**_TITLED, "labels": _NAMES, "assignees": _NAMES}
_PULL_TAKES = {**_TITLED, "base": _text(250, "The branch that it goes into.")}
_SAID = {**_BODY, "minLength": 1}
_SINCE = _text(30, "A moment, in ISO 8601.")
_SHA = {"type": "string", "pattern": "^[0-9a-f]{40}$"}
_SEEN = {**_SHA, "description": "As you have read it: if it is another now, nothing is written."}
_OPEN = {"enum": ["open", "closed"]}
_COMMITTED = {"path": _PATH, "message": _text(2000, "Of the commit."), "branch": _text(250, "The default if left out.")}
_FILE_TAKES = {
    **_COMMITTED,
    "content": {"type": "string", "maxLength": 700_000, "description": "The whole file's text."},
}
_MERGING = {
    "merge_method": {"enum": ["merge", "squash", "rebase"]},
    "commit_title": _text(256),
    "commit_message": _text(2000),
}
_REASON = {"enum": ["completed", "not_planned", "reopened"]}
_EVENT = {"enum": ["APPROVE", "REQUEST_CHANGES", "COMMENT"]}
_SEARCHED = {"words": _WORDS, **_PAGE_OF}
_PERIOD = {"since": _SINCE, "until": _SINCE}

# A table, read by its rows
# fmt: off
KINDS: Mapping[str, Mapping[str, _Action]] = {
    "repositories": {
        "read": _reads("Read what GitHub says of a repository.", {}, (), _REPO, partial(_get, _repo)),
        "search": _finds("Search the repositories that you may use.", _SEARCHED, (), _REPO,
                         partial(_search, "repositories", "fork:true", _repo), anywhere=True),
    },
    "contents": {
        "read": _reads("Read a file of a repository, or list a directory; its root if no path is given.",
                       {"path": _PATH, "ref": _REF}, (), _FILE, _read_contents),
        "create": _writes("Create a file in a repository, as one commit.", _FILE_TAKES, ("path", "content", "message"),
                          partial(_write_contents, "PUT")),
        "update": _writes("Replace a file in a repository, as one commit.", {**_FILE_TAKES, "sha": _SEEN},
                          ("path", "content", "message", "sha"), partial(_write_contents, "PUT")),
        "delete": _writes("Delete a file in a repository, as one commit.", {**_COMMITTED, "sha": _SEEN},
                          ("path", "message", "sha"), partial(_write_contents, "DELETE")),
    },
    "code": {
        "search": _finds("Search the files on the default branches of the repositories that you may use.", _SEARCHED,
                         ("words",), _FOUND, partial(_search, "code", "", _hit), anywhere=True),
    },
    "issues": {
        "read": _reads("Read one issue.", {"number": _NUMBER}, ("number",), _ISSUE,
                       partial(_get, _issue, "issues", "{number}")),
        "search": _finds("List a repository's issues (by state, labels, assignee, since), or search issues by words.",
                         {"state": _STATE, "labels": _NAMES, "assignee": _text(100), "since": _SINCE, **_SEARCHED},
                         (), _ISSUE, _find_issues, anywhere=True),
        "create": _writes(f"Open an issue. {_AGAIN}", _ISSUE_TAKES, ("title",),
                          partial(_send, "POST", "issues", body=list(_ISSUE_TAKES))),
        "update": _writes("Change an issue, close it or open it again; labels and assignees are replaced as a whole.",
                          {"number": _NUMBER, **_ISSUE_TAKES, "state": _OPEN, "state_reason": _REASON}, ("number",),
                          partial(_send, "PATCH", "issues", "{number}", body=[*_ISSUE_TAKES, "state", "state_reason"])),
    },
    "comments": {
        "search": _finds("List the comments on an issue or pull request, the oldest first.",
                         {"number": _NUMBER, "since": _SINCE, **_PAGE_OF}, ("number",), _COMMENT,
                         partial(_list, _comment, "issues", "{number}", "comments", query={"since": "since"})),
        "create": _writes(f"Comment on an issue or pull request. {_AGAIN}", {"number": _NUMBER, "body": _SAID},
                          ("number", "body"), partial(_send, "POST", "issues", "{number}", "comments", body=["body"])),
        "update": _writes("Change a comment.", {"id": _NUMBER, "body": _SAID}, ("id", "body"),
                          partial(_send, "PATCH", "issues", "comments", "{id}", body=["body"])),
    },
    "pulls": {
        "read": _reads("Read one pull request; with 'files', what it changes, to 100 files.",
                       {"number": _NUMBER, "files": {"type": "boolean"}}, ("number",), _PULL, _read_pull),
        "search": _finds("List a repository's pull requests (by state, head, base), or search them by words.",
                         {"state": _STATE, "head": _text(300, "As owner:branch."), "base": _text(250), **_SEARCHED},
                         (), _PULL, _find_pulls, anywhere=True),
        "create": _writes("Open a pull request from a branch.",
                          {**_PULL_TAKES, "head": _text(300, "Where it comes from."), "draft": {"type": "boolean"}},
                          ("title", "head", "base"),
                          partial(_send, "POST", "pulls", body=[*_PULL_TAKES, "head", "draft"])),
        "update": _writes("Change a pull request, close it or open it again.",
                          {"number": _NUMBER, **_PULL_TAKES, "state": _OPEN}, ("number",),
                          partial(_send, "PATCH", "pulls", "{number}", body=[*_PULL_TAKES, "state"])),
        "review": _writes("Review a pull request: approve it, ask for changes, or comment.",
                          {"number": _NUMBER, "event": _EVENT, "body": _SAID, "commit_id": _SHA}, ("number", "event"),
                          partial(_send, "POST", "pulls", "{number}", "reviews", body=["event", "body", "commit_id"])),
        "merge": _writes("Merge a pull request, if its head is still the commit that you have seen.",
                         {"number": _NUMBER, "sha": _SEEN, **_MERGING}, ("number", "sha"),
                         partial(_send, "PUT", "pulls", "{number}", "merge", body=["sha", *_MERGING])),
    },
    "commits": {
        "read": _reads("Read one commit, with what it changes.", {"ref": _REF}, ("ref",), _COMMIT,
                       partial(_get, _commit, "commits", "{ref}")),
        "search": _finds("List commits, the newest first: of a branch, a file, an author, a period.",
                         {"ref": _REF, "path": _PATH, "author": _text(200), **_PERIOD, **_PAGE_OF}, (), _COMMIT,
                         partial(_list, _commit, "commits", query={"sha": "ref", "path": "path", "author": "author",
                                                                   "since": "since", "until": "until"})),
    },
    "branches": {
        "search": _finds("List a repository's branches.", _PAGE_OF, (), _BRANCH, partial(_list, _branch, "branches")),
        "create": _writes("Create a branch at a commit.", {"name": _text(200), "sha": _SHA}, ("name", "sha"),
                          _create_branch),
    },
}
# fmt: on
"""What can be done with each kind of thing."""


def tools(document: ConnectorDocument, _snapshot: Any) -> list[Tool]:
    """Return the tools of every mapped kind."""
    kinds = document.grants.kinds
    if (kinds is None or "api-key" in kinds) and document.grants.api_key.prefix.strip() not in {"Bearer", "token"}:
        raise ValueError("'grants.api_key.prefix' must be 'Bearer ': GitHub takes its tokens so")
    account = Account(Settings.model_validate(document.settings))
    found: list[Tool] = []
    for resource, kind in document.resources.items():
        if kind not in KINDS:
            raise ValueError(f"'resources.{resource}' is {kind!r}; there are {', '.join(KINDS)}")
        found += (_tool(account, resource, action, one) for action, one in KINDS[kind].items())
    return found


def _tool(account: Account, resource: str, name: str, action: _Action) -> Tool:
    async def run(call: ToolCall, session: Session) -> Any:
        whose = ["repos", *account.repository(call)] if "repository" in call.arguments else []
        return await action.run(account=account, call=call, session=session, at=whose)

    required = action.required if action.anywhere else ("repository", *action.required)
    shows = _closed({"record": action.shows}, "record") if action.reads else action.shows
    if action.lists:
        page = {
            "records": {"type": "array", "items": action.shows},
            "more": {"type": "boolean"},
            "cursor": {"type": "string"},
        }
        shows = _closed(page, "records", "more")
    return Tool(
        resource,
        name,
        action.description,
        _closed({"repository": _REPOSITORY, **action.takes}, *required),
        shows,
        reads_only=action.reads,
        run=run,
        check=_check,
        filterable=frozenset({"repository"}),
        records="records" if action.lists else "record",
    )


def _check(arguments: Mapping[str, Any]) -> None:
    """Refuse a path that could not stand in an address, before the call has begun."""
    for name in ("repository", "path", "name", "ref"):
        if name in arguments:
            list(map(_segment, str(arguments[name]).split("/")))


CONNECTOR = Connector(
    name="github",
    hosts=("api.github.com", "github.com"),
    endpoints=Endpoints(
        token_endpoint="https://github.com/login/oauth/access_token",  # noqa: S106 - an address
        authorization_endpoint="https://github.com/login/oauth/authorize",
    ),
    grant="api-key",
    further_grants=("authorization-code",),
    tools=tools,
    expired=expired,
    probe=probe,
    settings=Settings,
    usage=usage,
    about="GitHub: repositories, files, code, issues, comments, pull requests, commits and branches.",
    asks=(
        Question(
            "url", "The API's URL; that of GitHub Enterprise Server ends in /api/v3", usual="https://api.github.com"
        ),
        Question("settings.repositories", "The repositories that may be used", "list", example="acme/website, acme/*"),
        Question(
            "resources",
            "What policies call each kind of thing",
            "mapping",
            usual=", ".join(KINDS),
        ),
        Question("grants.api_key.prefix", "What stands before a token", usual="Bearer "),
    ),
)
