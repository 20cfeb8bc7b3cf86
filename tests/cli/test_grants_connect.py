"""`aam grants client`, `connect`, `show`, `rotate` and `revoke`, with a browser that does what it is told."""

import webbrowser
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.broker import ServedBroker
from tests.support.notes import Notes, NotesService
from tests.support.people import APP, SECRET, People, documents_for

Aam = Callable[..., Any]


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Iterator[People]:
    """Serve a service that people consent to."""
    with People(tmp_path_factory.mktemp("people")) as people:
        yield people


@pytest.fixture(scope="module")
def broker(people: People, notes_service: NotesService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Serve a broker that has no account there."""
    written = documents_for(people, tmp_path_factory.mktemp("connecting") / "access", notes_service)
    with ServedBroker(written, Notes(), grant=False) as broker:
        yield broker


@pytest.fixture
def browser(people: People, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Have `aam` open a browser that consents at once; return the pages that it was sent to."""
    opened: list[str] = []

    def go(url: str) -> None:
        opened.append(url)
        where = requests.get(
            url, headers={"X-Login": "admin"}, allow_redirects=False, verify=str(people.ca_file), timeout=60
        ).headers["location"]
        requests.get(where.replace("/callback?", "/elsewhere?"), timeout=60)  # what is no answer is none
        requests.get(where, timeout=60)

    monkeypatch.setattr(webbrowser, "open", go)
    return opened


def test_an_account_is_connected_shown_rotated_and_revoked(
    aam: Aam, broker: ServedBroker, browser: list[str], tmp_path: Path
) -> None:
    """Issue 5: `aam grants connect NAME` prints what it may do; the other commands follow it to its end."""
    secret = tmp_path / "client.secret"
    secret.write_text(SECRET + "\n")
    place = ("--dir", broker.written.directory)

    registered = aam("grants", "client", "notes", "--client-id", APP, "--secret-file", secret, *place)
    connected = aam("grants", "connect", "notes", *place)
    shown = aam("grants", "show", "notes", *place, "--json").json
    rotated = aam("grants", "rotate", "notes", *place)
    tested = aam("grants", "test", "notes", *place)
    revoked = aam("grants", "revoke", "notes", *place)

    assert (registered.code, connected.code, rotated.code, tested.code) == (0, 0, 0, 0), connected.err
    assert "notes.read" in connected.out
    assert "notes_notes_read" in connected.out
    assert (shown["kind"], shown["status"], shown["scopes"]) == ("authorization-code", "active", ["notes.read"])
    assert "a note of admin" in tested.out
    assert revoked.code == 1  # this service offers no way to revoke tokens, and that is said
    assert "code_challenge_method=S256" in browser[0]
    everything = "".join(ran.out + ran.err for ran in (registered, connected, rotated, tested, revoked)) + str(shown)
    assert SECRET not in everything
    assert "refresh-" not in everything


def test_without_a_registered_client_nobody_can_consent(aam: Aam, broker: ServedBroker) -> None:
    """CLI rules: what to do is said; nothing is opened."""
    ran = aam("grants", "connect", "secrets", "--dir", broker.written.directory, "--no-browser")

    assert ran.code == 2
    assert "There is no connector" in ran.err
