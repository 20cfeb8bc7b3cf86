"""What agents and services send, and what is secret, looked for in the metrics: none of it may get there."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from broker.testing.models import KEY, Behaviour, ModelService
from tests.support.broker import Line, ServedBroker
from tests.support.clients import Wire
from tests.support.metrics import Scraped, scraped
from tests.support.models import Gateway, asked, open_gateway
from tests.support.notes import TOKEN, NotesService

MARK = "SESAME-OPEN-SESAME"


@pytest.fixture(scope="module")
def shared(notes_service: NotesService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Serve one gateway for all of these."""
    place: Path = tmp_path_factory.mktemp("models")
    with ModelService(place) as service, open_gateway(place / "access", notes_service, service) as gateway:
        yield gateway


def test_nothing_that_an_agent_sends_becomes_a_label(shared: Gateway) -> None:
    """Issue 7, metrics: no argument, name, header or prompt of an agent's, wherever it puts it."""
    wire, headers = Wire(shared.broker), {"User-Agent": MARK, "X-Title": MARK, "anthropic-beta": MARK}
    wire.call(MARK, {MARK: MARK})
    wire.call("notes_notes_read", {"id": MARK})
    wire.call("notes_notes_read", {MARK: "n1"}, meta={"traceparent": MARK, "progressToken": MARK})
    wire.call(f"notes_notes_read_{MARK}")
    wire.ask("resources/read", {"uri": f"notes://{MARK}"})
    wire.ask("prompts/get", {"name": MARK})
    wire.ask(f"tools/{MARK}")
    for model in (MARK, "small", f"small:{MARK}", f"openai/{MARK}"):
        shared.chat(model, headers=headers, messages=[{"role": "user", "content": MARK}], user=MARK)
        shared.post("/v1/messages", {**asked(model), "max_tokens": 9, "metadata": {"user_id": MARK}}, headers)
    Wire(shared.broker, token=shared.broker.token(f"spiffe://prod/agent/{MARK.lower()}")).post(b"{}", "tools/list")

    found = scraped(shared.broker)

    assert found.value("aam_calls_total") >= 10
    assert MARK.lower() not in found.text.lower()


def test_nothing_that_a_provider_says_becomes_a_label(shared: Gateway) -> None:
    """A provider's names, codes and words are the operator's to read in the trail, and not series."""
    error = {"error": {"message": MARK, "code": MARK.lower().replace("-", "_"), "type": MARK}}
    shared.behaves(Behaviour(status=500, error=error), Behaviour(words=(MARK,), headers={"x-generation-id": MARK}))
    shared.chat("twice")
    shared.behaves(words=(MARK, MARK))
    shared.stream("/v1/chat/completions", asked("small"))

    text = scraped(shared.broker).text.lower()

    assert "aam_model_attempts_total{" in text
    assert "sesame" not in text


def test_no_credential_and_no_token_is_in_it(shared: Gateway) -> None:
    """Secrets live in vault, oauth and egress only."""
    token = shared.broker.token()
    Wire(shared.broker, token=token).call("notes_notes_read", {"id": "n1"})
    shared.behaves()
    shared.chat("small")

    text = scraped(shared.broker).text

    assert not [secret for secret in (KEY, TOKEN, token, token.split(".")[2]) if secret in text]
    assert "spiffe://" not in text


def test_whatever_names_and_arguments_agents_choose_the_series_stay_few(shared_broker: ServedBroker) -> None:
    """Issue 7, metrics: bounded cardinality, as a law: series are made by documents, never by calls."""
    line = Line(shared_broker.parts, shared_broker.written)
    for name, arguments in (("notes_notes_read", {}), ("x", {}), ("notes_notes_read", {"id": "\ud800"})):
        shared_broker.await_(line.refused, name, arguments)
    before = series(scraped(shared_broker))

    @settings(max_examples=50)
    @given(some.text(min_size=1), some.dictionaries(some.text(), some.text(), max_size=3))
    def any_call(name: str, arguments: dict[str, str]) -> None:
        shared_broker.await_(line.refused, f"x{name}", arguments)
        shared_broker.await_(line.refused, "notes_notes_read", {**arguments, "not-declared": name})

    any_call()
    assert series(scraped(shared_broker)) == before


def series(found: Scraped) -> set[tuple[str, frozenset[tuple[str, str]]]]:
    """Return the series of calls."""
    return {(name, frozenset(labels.items())) for name, labels, _ in found.samples if name.startswith("aam_call")}
