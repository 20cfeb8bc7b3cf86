"""A service with GitHub's manners: what it is told to keep it keeps, and what it answers has GitHub's shape.

`shapes.json` has the least that each kind of answer must hold, made of GitHub's published description.
"""

import base64
import copy
import hashlib
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl, unquote

from starlette.types import Receive, Scope, Send

from broker.testing.certificates import CertificateAuthority
from broker.testing.server import LoopbackServer, bind

TOKEN = "CANARY-github-0123456789abcdefghij"
SHAPES: dict[str, Any] = json.loads((Path(__file__).parent / "shapes.json").read_text())
SECRET_REPOSITORY = "acme/secret"

Json = dict[str, Any]


def sha_of(*parts: object) -> str:
    """Return a commit's or file's name."""
    return hashlib.sha1(repr(parts).encode(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and its answer, as they went over the wire."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any
    status: int
    answer: Any


class Refused(Exception):  # noqa: N818 - as elsewhere
    """An answer that refuses."""

    def __init__(self, status: int, words: str = "Not Found", **more: Any) -> None:
        super().__init__(words)
        self.status = status
        self.body = {"message": words, "documentation_url": "https://docs.github.com/rest", **more}


@dataclass
class Repository:
    """What one repository holds."""

    name: str
    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[Json] = field(default_factory=list)
    branches: dict[str, str] = field(default_factory=dict)
    issues: dict[int, Json] = field(default_factory=dict)
    comments: dict[int, Json] = field(default_factory=dict)


class GitHub:
    """The service. `faults` are answered before anything else is looked at, one for each request."""

    def __init__(self, directory: Path) -> None:
        authority = CertificateAuthority(directory)
        listener = bind(0)
        self.url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        self.authority = authority.certificate_file.read_text()
        self.exchanges: list[Exchange] = []
        self.faults: list[tuple[int, dict[str, str], Any]] = []
        self.left = 5000
        self._ids = 1000
        self.repositories: dict[str, Repository] = {}
        for name in ("acme/website", "acme/api", SECRET_REPOSITORY, "other/thing"):
            self._seed(name)
        self._server = LoopbackServer(self._answer, authority.issue("github"), listener)

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.__exit__(None, None, None)

    def _seed(self, name: str) -> None:
        repository = self.repositories[name] = Repository(name)
        repository.files = {
            "README.md": f"# {name}\n".encode(),
            "src/app.py": b"print('crash')\n",
            "logo.png": b"\x89PNG",
        }
        repository.branches["main"] = self._commit(repository, "First", sorted(repository.files))
        for number in range(1, 6):
            self._issue(repository, {"title": f"Crash {number}", "body": f"of {name}"})
        self._pull(repository, {"title": "Mend the crash", "head": "main", "base": "main", "body": None})

    def _commit(self, repository: Repository, message: str, paths: list[str]) -> str:
        sha = sha_of(repository.name, message, len(repository.commits))
        shape = copy.deepcopy(SHAPES["commit"])
        person = {"name": "Ada", "email": "ada@example.com", "date": "2026-01-02T03:04:05Z"}
        said = {**shape["commit"], "message": message, "author": person, "committer": person}
        files = [{**SHAPES["diff"], "filename": path, "sha": sha_of(path), "patch": "+x"} for path in paths]
        repository.commits.insert(0, {**shape, "sha": sha, "commit": said, "files": files})
        return sha

    def _issue(self, repository: Repository, given: Json, *, pull: bool = False) -> Json:
        number = len(repository.issues) + 1
        wrong = not str(given.get("title", "")).strip()
        if wrong:
            raise Refused(
                422, "Validation Failed", errors=[{"resource": "Issue", "field": "title", "code": "missing_field"}]
            )
        api = f"https://api.github.com/repos/{repository.name}"
        labels = [
            {"id": 1, "node_id": "x", "url": api, "name": one, "description": None, "color": "f", "default": False}
            for one in given.get("labels", ())
        ]
        issue = {
            **copy.deepcopy(SHAPES["issue"]),
            "id": self._id(),
            "number": number,
            "title": given["title"],
            "body": given.get("body"),
            "state": "open",
            "user": self.user("ada"),
            "assignees": [self.user(one) for one in given.get("assignees", ())],
            "labels": labels,
            "repository_url": api,
            "html_url": f"https://github.com/{repository.name}/issues/{number}",
            "state_reason": None,
            "closed_at": None,
        }
        if pull:
            issue["pull_request"] = {
                "diff_url": None,
                "html_url": None,
                "patch_url": None,
                "url": None,
                "merged_at": None,
            }
        repository.issues[number] = issue
        return issue

    def _pull(self, repository: Repository, given: Json) -> Json:
        for one in ("head", "base"):
            if given.get(one, "").rpartition(":")[2] not in repository.branches:
                raise Refused(
                    422, "Validation Failed", errors=[{"resource": "PullRequest", "field": one, "code": "invalid"}]
                )
        issue = self._issue(repository, given, pull=True)
        issue["_pull"] = {
            "head": given["head"],
            "base": given["base"],
            "draft": bool(given.get("draft")),
            "merged": False,
        }
        return self.pull(repository, issue)

    def user(self, login: str) -> Json:
        """Return somebody."""
        return {**SHAPES["user"], "login": login}

    def pull(self, repository: Repository, issue: Json, shape: str = "pull") -> Json:
        """Return an issue as the pull request that it is."""
        said = issue["_pull"]
        whole = copy.deepcopy(SHAPES[shape])
        head, base = (said[one].rpartition(":")[2] for one in ("head", "base"))
        repo = self.repository(repository, "repository")
        whole["head"] |= {
            "ref": head,
            "label": f"acme:{head}",
            "sha": repository.branches.get(head, sha_of(head)),
            "repo": repo,
        }
        whole["base"] |= {"ref": base, "label": f"acme:{base}", "sha": repository.branches[base], "repo": repo}
        shown = {
            name: issue[name]
            for name in ("number", "title", "body", "state", "user", "labels", "created_at", "updated_at")
        }
        merged = {"merged_at": "2026-01-03T00:00:00Z" if said["merged"] else None, "draft": said["draft"]}
        if shape == "pull":
            merged |= {"merged": said["merged"], "mergeable": True}
        return {**whole, **shown, **merged, "html_url": issue["html_url"].replace("issues", "pull"), "id": issue["id"]}

    def repository(self, repository: Repository, shape: str) -> Json:
        """Return what there is to say of a repository."""
        owner, _, name = repository.name.partition("/")
        return {
            **copy.deepcopy(SHAPES[shape]),
            "name": name,
            "full_name": repository.name,
            "owner": self.user(owner),
            "default_branch": "main",
            "description": "A site",
            "html_url": f"https://github.com/{repository.name}",
            "archived": False,
            "visibility": "private",
            "open_issues_count": 5,
            "has_downloads": True,
            "topics": ["web"],
            "language": "Python",
        }

    def _id(self) -> int:
        self._ids += 1
        return self._ids

    # --- Over the wire -----------------------------------------------------------------------------------------------

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        text = b""
        while True:
            message = await receive()
            text += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        path, method = scope["raw_path"].decode(), scope["method"]
        query = dict(parse_qsl(scope["query_string"].decode(), keep_blank_values=True))
        body = json.loads(text) if text else None
        more: dict[str, str] = {}
        try:
            if self.faults:
                status, more, answer = self.faults.pop(0)
            elif headers.get("authorization") != f"Bearer {TOKEN}":
                raise Refused(401, "Bad credentials")
            else:
                status, answer, more = self._route(method, path, query, body)
        except Refused as refused:
            status, answer = refused.status, refused.body
        self.left -= path != "/rate_limit"
        searching = "search" if path.startswith("/search/") else "core"
        known = {"x-ratelimit-limit": "30" if searching == "search" else "5000", "x-ratelimit-resource": searching}
        known |= {"x-ratelimit-remaining": "29" if searching == "search" else str(self.left)}
        known |= {"x-ratelimit-reset": str(int(time.time()) + 1800), "content-type": "application/json; charset=utf-8"}
        self.exchanges.append(Exchange(method, path, query, headers, body, status, answer))
        sent = json.dumps(_public(answer)).encode()
        fields = {**known, **more, "content-length": str(len(sent))}
        start = {"type": "http.response.start", "status": status}
        await send({**start, "headers": [(name.encode(), value.encode()) for name, value in fields.items()]})
        await send({"type": "http.response.body", "body": sent})

    def _route(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any, dict[str, str]]:
        parts = [unquote(part) for part in path.strip("/").split("/")]
        if parts == ["rate_limit"]:
            shape = copy.deepcopy(SHAPES["rate"])
            shape["resources"]["core"] |= {"limit": 5000, "remaining": self.left}
            return 200, shape, {}
        if parts[0] == "search":
            return self._search(parts[1], query)
        if parts[0] != "repos" or len(parts) < 3:
            raise Refused(404)
        known = {name.casefold(): one for name, one in self.repositories.items()}
        repository = known.get("/".join(parts[1:3]).casefold())
        if repository is None:
            raise Refused(404)
        rest = parts[3:]
        for pattern, handler in _ROUTES:
            if re.fullmatch(pattern, f"{method} " + "/".join(rest)):
                found = handler(self, repository, rest, query, body)
                if isinstance(found, list) and method == "GET" and rest[:1] != ["contents"]:
                    return self._page(path, found, query)
                status = {"POST": 201, "PUT": 200}.get(method, 200)
                status = 201 if method == "PUT" and rest[0] == "contents" and "sha" not in body else status
                return 200 if rest and rest[-1] in {"merge", "reviews"} else status, found, {}
        raise Refused(404)

    def _page(
        self, path: str, found: list[Any], query: dict[str, str], total: str = ""
    ) -> tuple[int, Any, dict[str, str]]:
        size, page = min(int(query.get("per_page", "30")), 100), int(query.get("page", "1"))
        shown = found[(page - 1) * size : page * size]
        more = {}
        if page * size < len(found):
            more["link"] = f'<{self.url}{path}?page={page + 1}>; rel="next", <{self.url}{path}?page=9>; rel="last"'
        if total:
            whole = {"total_count": len(found), "incomplete_results": False, "items": shown}
            return 200, whole | ({"search_type": "lexical"} if total == "issues" else {}), more
        return 200, shown, more

    def _search(self, what: str, query: dict[str, str]) -> tuple[int, Any, dict[str, str]]:
        """Search as GitHub does: repo: and user: add up, other qualifiers narrow, words must all be there."""
        named: dict[str, set[str]] = {name: set() for name in ("repo", "user", "is", "fork", "")}
        for word in query["q"].split():
            name, _, value = word.partition(":")
            named[name if name in named else ""].add(value.casefold() if name in named else word.casefold())
        words, kinds = named[""], named["is"] & {"issue", "pr"}
        states = named["is"] - kinds
        places = named["repo"] | {one.casefold() for one in self.repositories if one.partition("/")[0] in named["user"]}
        within = [one for one in self.repositories.values() if not places or one.name.casefold() in places]
        found: list[Any] = []
        for one in within:
            if what == "repositories":
                found.append({**self.repository(one, "found_repository"), "score": 1.0})
            if what == "code":
                repo = self.repository(one, "repository")
                found += [
                    {**SHAPES["found_code"], "path": path, "name": path, "sha": sha_of(text), "repository": repo}
                    for path, text in one.files.items()
                    if all(word.encode() in text.lower() for word in words)
                ]
            if what == "issues":
                found += [
                    {**SHAPES["found_issue"], **issue, "body": issue["body"] or "", "score": 1.0}
                    for issue in one.issues.values()
                    if ("pr" in kinds) == ("pull_request" in issue)
                    and (not states or issue["state"] in states)
                    and all(word in f"{issue['title']} {issue['body']}".casefold() for word in words)
                ]
        return self._page(f"/search/{what}", found, query, what)

    # --- Handlers ----------------------------------------------------------------------------------------------------

    def read_repository(self, repository: Repository, *_: Any) -> Any:
        """GET a repository."""
        return self.repository(repository, "repository")

    def contents(self, repository: Repository, rest: list[str], _query: Any, _body: Any) -> Any:
        """GET a file or directory."""
        path = "/".join(rest[1:])
        api = f"https://api.github.com/repos/{repository.name}/contents"
        if path in repository.files:
            text = repository.files[path]
            content = base64.encodebytes(text).decode()
            said = {"path": path, "name": rest[-1], "sha": sha_of(text), "size": len(text), "type": "file"}
            return {**SHAPES["file"], **said, "content": content, "encoding": "base64", "url": f"{api}/{path}"}
        inside = {name for name in repository.files if name.startswith(f"{path}/" if path else "")}
        if not inside:
            raise Refused(404)
        skip = len(path) + 1 if path else 0
        entries = sorted({name[skip:].partition("/")[0] for name in inside})
        kinds = {one: "file" if f"{path}/{one}".strip("/") in repository.files else "dir" for one in entries}
        return [
            {**SHAPES["directory"], "name": one, "path": f"{path}/{one}".strip("/"), "type": kinds[one], "size": 1}
            for one in entries
        ]

    def put_contents(self, repository: Repository, rest: list[str], _query: Any, body: Json) -> Any:
        """PUT a file."""
        path, old = "/".join(rest[1:]), None
        old = repository.files.get(path)
        if old is not None and "sha" not in body:
            raise Refused(422, 'Invalid request. "sha" wasn\'t supplied.')
        if body.get("sha") not in {None, sha_of(old)}:
            raise Refused(409, f"{path} does not match {body['sha']}")
        repository.files[path] = base64.b64decode(body["content"], validate=True)
        return self._written(repository, path, body)

    def delete_contents(self, repository: Repository, rest: list[str], _query: Any, body: Json) -> Any:
        """DELETE a file."""
        path = "/".join(rest[1:])
        if path not in repository.files:
            raise Refused(404)
        if body["sha"] != sha_of(repository.files[path]):
            raise Refused(409, "does not match")
        del repository.files[path]
        return self._written(repository, path, body)

    def _written(self, repository: Repository, path: str, body: Json) -> Any:
        commit = self._commit(repository, body["message"], [path])
        repository.branches[body.get("branch", "main")] = commit
        written = copy.deepcopy(SHAPES["written"])
        content = None
        if path in repository.files:
            content = {
                "path": path,
                "name": path,
                "sha": sha_of(repository.files[path]),
                "html_url": "https://github.com/x",
            }
        return {"content": content, "commit": {**written["commit"], "sha": commit}}

    def issues(self, repository: Repository, _rest: Any, query: dict[str, str], _body: Any) -> Any:
        """GET issues; pull requests are among them, as at GitHub."""
        labels = set(query["labels"].split(",")) if "labels" in query else set()
        state = query.get("state", "open")
        return [
            one
            for one in reversed(repository.issues.values())
            if state in {"all", one["state"]} and labels <= {label["name"] for label in one["labels"]}
        ]

    def issue(self, repository: Repository, rest: list[str], *_: Any) -> Any:
        """GET an issue."""
        return self._find(repository.issues, rest[1])

    def post_issue(self, repository: Repository, _rest: Any, _query: Any, body: Json) -> Any:
        """POST an issue."""
        return self._issue(repository, body)

    def patch_issue(self, repository: Repository, rest: list[str], _query: Any, body: Json) -> Any:
        """PATCH an issue."""
        issue = self._find(repository.issues, rest[1])
        issue.update({name: body[name] for name in ("title", "body", "state", "state_reason") if name in body})
        issue["closed_at"] = "2026-01-03T00:00:00Z" if issue["state"] == "closed" else None
        return issue

    def comments(self, repository: Repository, rest: list[str], *_: Any) -> Any:
        """GET comments."""
        self._find(repository.issues, rest[1])
        return [one for one in repository.comments.values() if one["_issue"] == int(rest[1])]

    def post_comment(self, repository: Repository, rest: list[str], _query: Any, body: Json) -> Any:
        """POST a comment."""
        self._find(repository.issues, rest[1])
        comment = {**SHAPES["comment"], "id": self._id(), "body": body["body"], "user": self.user("ada")}
        repository.comments[comment["id"]] = comment | {"_issue": int(rest[1])}
        return repository.comments[comment["id"]]

    def patch_comment(self, repository: Repository, rest: list[str], _query: Any, body: Json) -> Any:
        """PATCH a comment."""
        comment = self._find(repository.comments, rest[2])
        comment["body"] = body["body"]
        return comment

    def pulls(self, repository: Repository, _rest: Any, query: dict[str, str], _body: Any) -> Any:
        """GET pull requests."""
        return [
            self.pull(repository, one, "pull_in_list")
            for one in repository.issues.values()
            if "_pull" in one and query.get("state", "open") in {"all", one["state"]}
        ]

    def read_pull(self, repository: Repository, rest: list[str], *_: Any) -> Any:
        """GET a pull request, or what it changes."""
        issue = self._find(repository.issues, rest[1])
        if "_pull" not in issue:
            raise Refused(404)
        if rest[-1] == "files":
            return [{**SHAPES["diff"], "filename": "src/app.py", "patch": "+x", "additions": 1}]
        return self.pull(repository, issue)

    def post_pull(self, repository: Repository, _rest: Any, _query: Any, body: Json) -> Any:
        """POST a pull request."""
        return self._pull(repository, body)

    def patch_pull(self, repository: Repository, rest: list[str], query: Any, body: Json) -> Any:
        """PATCH a pull request."""
        self.patch_issue(repository, rest, query, body)
        return self.read_pull(repository, rest[:2])

    def merge(self, repository: Repository, rest: list[str], _query: Any, body: Json) -> Any:
        """PUT a merge."""
        pull = self.read_pull(repository, rest[:2])
        if body["sha"] != pull["head"]["sha"]:
            raise Refused(409, "Head branch was modified. Review and try the merge again.")
        issue = repository.issues[int(rest[1])]
        if issue["state"] == "closed":
            raise Refused(405, "Pull Request is not mergeable")
        issue["_pull"]["merged"], issue["state"] = True, "closed"
        return {"merged": True, "message": "Pull Request successfully merged", "sha": sha_of("merge", rest)}

    def review(self, repository: Repository, rest: list[str], _query: Any, body: Json) -> Any:
        """POST a review."""
        self.read_pull(repository, rest[:2])
        return {**SHAPES["review"], "id": self._id(), "state": body["event"], "body": body.get("body", "")}

    def commits(self, repository: Repository, _rest: Any, query: dict[str, str], _body: Any) -> Any:
        """GET commits."""
        path = query.get("path")
        return [one for one in repository.commits if not path or any(file["filename"] == path for file in one["files"])]

    def commit(self, repository: Repository, rest: list[str], *_: Any) -> Any:
        """GET a commit, by its name or a branch's."""
        sha = repository.branches.get(rest[1], rest[1])
        found = next((one for one in repository.commits if one["sha"] == sha), None)
        if found is None:
            raise Refused(422, f"No commit found for SHA: {sha}")
        return found

    def list_branches(self, repository: Repository, *_: Any) -> Any:
        """GET branches."""
        commit = SHAPES["branch"]["commit"]
        return [
            {"name": name, "commit": {**commit, "sha": sha}, "protected": name == "main"}
            for name, sha in repository.branches.items()
        ]

    def post_ref(self, repository: Repository, _rest: Any, _query: Any, body: Json) -> Any:
        """POST a branch."""
        name = body["ref"].removeprefix("refs/heads/")
        if name in repository.branches:
            raise Refused(422, "Reference already exists")
        if all(one["sha"] != body["sha"] for one in repository.commits):
            raise Refused(422, "Object does not exist")
        repository.branches[name] = body["sha"]
        shape = copy.deepcopy(SHAPES["ref"])
        return {**shape, "ref": body["ref"], "object": {**shape["object"], "sha": body["sha"]}}

    @staticmethod
    def _find(among: dict[int, Json], number: str) -> Json:
        if not number.isdecimal() or int(number) not in among:
            raise Refused(404)
        return among[int(number)]


_Handler = Callable[[GitHub, Repository, list[str], dict[str, str], Any], Any]
_ROUTES: list[tuple[str, _Handler]] = [
    ("GET ", GitHub.read_repository),
    ("GET contents(/.*)?", GitHub.contents),
    ("PUT contents/.+", GitHub.put_contents),
    ("DELETE contents/.+", GitHub.delete_contents),
    ("GET issues", GitHub.issues),
    ("POST issues", GitHub.post_issue),
    (r"GET issues/\d+", GitHub.issue),
    (r"PATCH issues/\d+", GitHub.patch_issue),
    (r"GET issues/\d+/comments", GitHub.comments),
    (r"POST issues/\d+/comments", GitHub.post_comment),
    (r"PATCH issues/comments/\d+", GitHub.patch_comment),
    ("GET pulls", GitHub.pulls),
    ("POST pulls", GitHub.post_pull),
    (r"GET pulls/\d+(/files)?", GitHub.read_pull),
    (r"PATCH pulls/\d+", GitHub.patch_pull),
    (r"PUT pulls/\d+/merge", GitHub.merge),
    (r"POST pulls/\d+/reviews", GitHub.review),
    ("GET commits", GitHub.commits),
    ("GET commits/.+", GitHub.commit),
    ("GET branches", GitHub.list_branches),
    ("POST git/refs", GitHub.post_ref),
]  # fmt: skip


def _public(value: Any) -> Any:
    """Return a value without what the service keeps to itself; in lists of issues, pull requests are as issues are."""
    if isinstance(value, dict):
        return {name: _public(member) for name, member in value.items() if name not in {"_pull", "_issue"}}
    return [_public(one) for one in value] if isinstance(value, list) else value
