import base64
import itertools
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from broker.testing.salesforce import Answer, Echo, Gzip, SalesforceService
from tests.support.broker import BrokerProcess
from tests.support.raw import raw_agents
from tests.support.salesforce import grant, write_starter_set

CANARY = "CANARY"
RECORD = "001000000000001AAA"
CALLS = [
    ("salesforce_accounts_read", {"id": RECORD, "fields": ["Id", "Name"]}),
    ("salesforce_accounts_search", {"fields": ["Name"], "limit": 2}),
    ("salesforce_accounts_describe", {}),
    ("salesforce_contacts_read", {"id": RECORD}),
    ("salesforce_contacts_search", {}),
    ("salesforce_contacts_describe", {}),
    ("salesforce_accounts_export", {}),
    ("salesforce_accounts_read", {"id": "not an id"}),
    ("salesforce_nothing_read", {"id": RECORD}),
]
STATUSES = (200, 400, 401, 403, 404, 500)


def encodings(token: str) -> Iterator[str]:
    """Yield how a service may write a token in a text: B6's list, not the broker's own."""
    raw = token.encode()
    yield from (token, f"Bearer {token}", raw.hex(), raw.hex().upper())
    yield quote(token, safe="")
    for shift, encode in itertools.product(range(3), (base64.b64encode, base64.urlsafe_b64encode)):
        yield encode(b"x" * shift + raw).decode()
    yield base64.b64encode(b"user:" + raw).decode()


def signs_of(tokens: tuple[str, ...]) -> set[bytes]:
    """Return what shows that a token was there; the ends of base64 depend on what stands beside it."""
    plain = {sign for token in tokens for sign in (token, token.encode().hex(), token.encode().hex().upper())}
    shifted = {base64.b64encode(b"x" * shift + token.encode()).decode()[4:-4] for token in tokens for shift in range(3)}
    return {CANARY.encode(), CANARY.encode().hex().encode(), *(sign.encode() for sign in plain | shifted)}


def found(tokens: tuple[str, ...], text: bytes) -> list[bytes]:
    """Return which signs of the tokens are in some bytes."""
    return sorted(sign for sign in signs_of(tokens) if sign in text)


class Adversary:
    """The service, made to repeat its caller's credential in every way it can."""

    def __init__(self, service: SalesforceService) -> None:
        self._service = service

    def tricks(self) -> Iterator[None]:
        """Arrange one trick after the other; each is good for one call."""
        service, data = self._service, "/services/data"
        for status, compressed in itertools.product(STATUSES, (False, True)):
            if compressed:
                service.faults.add(Gzip(path=data, times=4))
            service.faults.add(Echo(path=data, status=status, times=4))
            yield
            service.faults.clear()
        token = service.tokens_issued[-1]
        escaped = "".join(f"\\u{ord(character):04x}" for character in token)
        for text in (*encodings(token), escaped):
            record = f'"Id": "{RECORD}", "Name": "{text}"'
            page = f'{{{record}, "records": [{{{record}}}], "done": true, "totalSize": 1}}'
            told = text if text != escaped else token
            headers = {"X-Echo": told, "Set-Cookie": f"sid={told}", "Link": f"<https://x/{told}>", "ETag": told}
            service.faults.add(Answer(path=data, status=200, body=page, headers=headers, times=4))
            yield
            service.faults.clear()


def everything(process: BrokerProcess, service: SalesforceService, spans: Path) -> dict[str, bytes]:
    """Play every trick on every agent; return all that could have taken a credential out, by where it was found."""
    seen: dict[str, bytes] = {}
    process.operators.post("/v1/grants/salesforce/test")  # so that there is a token to be repeated
    for number, agent in enumerate(raw_agents(process)):
        calls = itertools.cycle(CALLS[number:] + CALLS[:number])  # so that every trick meets every tool
        with agent:
            agent.ask("tools/list")
            for (tool, arguments), _ in zip(calls, Adversary(service).tricks(), strict=False):
                agent.ask("tools/call", {"name": tool, "arguments": arguments})
        seen[f"{type(agent).__name__} {agent.era}"] = agent.received
    place = process.written.directory
    with process.operators.export() as lines:
        seen["export"] = b"\n".join(lines)
    for name in ("status", "grants", "agents", "tools?as=finance-analyst", "metrics?format=json"):
        seen[name] = repr(process.operators.get(f"/v1/{name}")).encode()
    for file in ("environ", "cmdline"):
        seen[file] = Path(f"/proc/{process.process.pid}/{file}").read_bytes()
    process.process.terminate()
    stdout, _ = process.process.communicate(timeout=60)
    seen["stdout"], seen["log"], seen["spans"] = stdout.encode(), process.log.read_bytes(), spans.read_bytes()
    for stored in (place / "data").iterdir():
        seen[stored.name] = stored.read_bytes()
    assert all(seen[name] for name in ("log", "spans", "broker.db", "export"))
    return seen


@pytest.fixture
def service(tmp_path: Path) -> Iterator[SalesforceService]:
    """Serve an org whose tokens can be recognised."""
    with SalesforceService(tmp_path / "org", canary=CANARY) as service:
        yield service


@pytest.fixture
def spans(tmp_path: Path) -> Path:
    """Say where the spans go."""
    return tmp_path / "spans.json"


def test_no_byte_of_a_token_is_anywhere_it_should_not_be(
    service: SalesforceService, spans: Path, tmp_path: Path
) -> None:
    """credentials.md B6: the canary, over every tool, transport, era, error and encoding."""
    written = write_starter_set(tmp_path / "access", service)
    with BrokerProcess(written, "--spans", str(spans)) as process:
        process.operators.post("/v1/grants", grant(service))
        seen = everything(process, service, spans)

    key = service.private_key_file.read_text().splitlines()[5].encode()
    leaks = {where: found(service.tokens_issued, text) for where, text in seen.items()}
    assert {where: signs for where, signs in leaks.items() if signs} == {}
    assert [where for where, text in seen.items() if key in text] == []
    assert service.api_requests > 100
    assert b"leak_blocked" in seen["export"]


@pytest.mark.slow
def test_the_same_search_finds_the_canary_once_the_scanner_is_off(
    service: SalesforceService, spans: Path, tmp_path: Path
) -> None:
    """credentials.md B6: the negative control. A search that finds nothing proves something only if it can find."""
    written = write_starter_set(tmp_path / "access", service)
    with BrokerProcess(written, "--spans", str(spans), "--matcher-off") as process:
        process.operators.post("/v1/grants", grant(service))
        seen = everything(process, service, spans)

    leaks = {where: found(service.tokens_issued, text) for where, text in seen.items()}
    leaking = {where for where, signs in leaks.items() if signs}
    assert {
        f"{kind} {era}" for kind in ("RawStdio", "RawSse", "RawHttp") for era in ("legacy", "2026-07-28")
    } <= leaking
    assert "cmdline" not in leaking
