import base64
import getpass
import importlib.util
import os
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.backends.chainer import ChainerBackend
from keyring.backends.fail import Keyring as FailKeyring
from keyring.backends.null import Keyring as NullKeyring
from keyring.errors import KeyringLocked

from broker.errors import KeyUnavailable
from broker.vault import KeyEncryptionKey, create_key, read_key
from broker.vault.keys import _BACKENDS

TEXT = base64.b64encode(bytes(range(32))).decode()
Use = Callable[[KeyringBackend], None]


@pytest.fixture
def use() -> Iterator[Use]:
    """Make a keyring backend the one in use."""
    before = keyring.get_keyring()
    yield keyring.set_keyring
    keyring.set_keyring(before)


@pytest.fixture(autouse=True)
def nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Issue 2, Vault: a serving process never prompts; whoever tries, fails the test."""

    def asked(*_: Any) -> NoReturn:
        raise AssertionError("somebody was asked")

    monkeypatch.setattr(getpass, "getpass", asked)
    monkeypatch.setattr("builtins.input", asked)
    monkeypatch.setattr(sys, "stdin", None)


def backend(module: str, name: str = "Keyring", **members: Any) -> KeyringBackend:
    """Make a backend that looks as if it were installed under this module's name."""
    silent = {"get_password": lambda *_: None, "set_password": lambda *_: None}
    kind = type(name, (KeyringBackend,), {"__module__": module, "priority": 0, **silent, **members})
    made = kind()
    assert isinstance(made, KeyringBackend)
    return made


def in_memory(module: str = "keyring.backends.SecretService") -> KeyringBackend:
    """Make a backend that keeps what it is given."""
    held: dict[tuple[str, str], str] = {}
    return backend(
        module,
        get_password=lambda _, service, user: held.get((service, user)),
        set_password=lambda _, service, user, password: held.__setitem__((service, user), password),
    )


def test_a_key_is_read_from_a_file_that_only_its_owner_can_read(tmp_path: Path) -> None:
    """credentials.md B5: the file source, as systemd's LoadCredential writes it."""
    path = tmp_path / "key"
    path.write_text(f"{TEXT}\n")
    path.chmod(0o400)

    assert read_key("file", str(path)).key_id == KeyEncryptionKey(bytes(range(32))).key_id


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o660, 0o644, 0o777, 0o601])
def test_a_file_that_others_may_touch_is_refused_with_the_remedy(tmp_path: Path, mode: int) -> None:
    """credentials.md B5: the mode is checked on what was opened."""
    path = tmp_path / "key"
    path.write_text(TEXT)
    path.chmod(mode)

    with pytest.raises(KeyUnavailable, match="chmod 600"):
        read_key("file", str(path))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"short",
        base64.b64encode(bytes(31)),
        base64.b64encode(bytes(33)),
        bytes(range(200, 232)),
        TEXT.encode()[:-1],
        TEXT.encode() + b"!",
        b"\xff" * 44,
        "\u0410".encode() * 20,
    ],
    ids=repr,
)
def test_a_file_that_holds_no_key_is_refused_and_not_quoted(tmp_path: Path, content: bytes) -> None:
    """Issue 2, Vault: what is there may be nearly the key, so nothing of it is in the message."""
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(0o600)

    with pytest.raises(KeyUnavailable, match="no key of 32 bytes") as refusal:
        read_key("file", str(path))

    told = str(refusal.value).replace(str(path), "")
    assert not [byte for byte in content.split() if byte.decode("latin-1") in told]
    assert "0xff" not in told


def test_a_file_that_is_not_there_or_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    """Issue 2, Vault: a pipe, a directory or a terminal is no key file, and nobody waits for one."""
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "directory").mkdir(0o700)

    for name in ("nothing", "pipe", "directory"):
        with pytest.raises(KeyUnavailable):
            read_key("file", str(tmp_path / name))


def test_a_key_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """credentials.md B5: the environment source; missing and malformed are refused."""
    monkeypatch.setenv("AAM_VAULT_KEY", TEXT)
    assert read_key("environment", "AAM_VAULT_KEY").key_id

    for text in ("", "short"):
        monkeypatch.setenv("AAM_VAULT_KEY", text)
        with pytest.raises(KeyUnavailable, match="AAM_VAULT_KEY"):
            read_key("environment", "AAM_VAULT_KEY")


@pytest.mark.parametrize("module", ["SecretService", "libsecret", "kwallet", "macOS", "Windows"])
def test_a_key_is_kept_in_the_operating_systems_keyring(use: Use, module: str) -> None:
    """credentials.md B5: service `envision-aam`; a key that is there already stays."""
    use(in_memory(f"keyring.backends.{module}"))

    create_key("keyring", "vault")
    first = read_key("keyring", "vault")
    create_key("keyring", "vault")

    assert read_key("keyring", "vault").key_id == first.key_id
    with pytest.raises(KeyUnavailable):
        read_key("keyring", "other")


@pytest.mark.parametrize(
    "refused",
    [
        FailKeyring(),  # type: ignore[no-untyped-call]
        NullKeyring(),  # type: ignore[no-untyped-call]
        backend("keyrings.alt.file", "PlaintextKeyring"),
        backend("keyrings.alt.file", "EncryptedKeyring"),
        backend("keyrings.cryptfile.cryptfile", "CryptFileKeyring"),
        backend("keyrings.envvars.keyring", "EnvvarsKeyring"),
        backend("keyring.backends.SecretServiceButNot"),
        backend("mine"),
    ],
    ids=lambda made: f"{type(made).__module__}.{type(made).__name__}",
)
def test_a_keyring_that_is_not_the_systems_own_is_refused(use: Use, refused: KeyringBackend) -> None:
    """credentials.md B5: plaintext and null keyrings keep nothing secret; others ask at the terminal."""
    use(refused)

    with pytest.raises(KeyUnavailable):
        read_key("keyring", "vault")
    with pytest.raises(KeyUnavailable):
        create_key("keyring", "vault")


def test_a_chain_is_refused_for_its_weakest_member(use: Use, monkeypatch: pytest.MonkeyPatch) -> None:
    """credentials.md B5: installing `keyrings.alt` silently adds its plaintext keyring to the chain."""
    good, bad = in_memory(), backend("keyrings.alt.file", "PlaintextKeyring")
    monkeypatch.setattr(ChainerBackend, "backends", [good])
    use(ChainerBackend())  # type: ignore[no-untyped-call]
    create_key("keyring", "vault")
    assert read_key("keyring", "vault").key_id

    monkeypatch.setattr(ChainerBackend, "backends", [good, bad])

    with pytest.raises(KeyUnavailable):
        read_key("keyring", "vault")


@pytest.mark.parametrize(
    "error", [KeyringLocked("secret"), EOFError("secret"), OSError("secret"), RuntimeError("secret")]
)
def test_whatever_goes_wrong_in_a_keyring_is_one_refusal(use: Use, error: Exception) -> None:
    """errors.py: `key_unavailable`; each backend raises what its own libraries raise."""

    def fail(*_: Any) -> NoReturn:
        raise error

    use(backend("keyring.backends.SecretService", get_password=fail, set_password=fail))

    with pytest.raises(KeyUnavailable) as refusal:
        read_key("keyring", "vault")
    with pytest.raises(KeyUnavailable):
        create_key("keyring", "vault")

    assert "secret" not in str(refusal.value).replace("SecretService", "")


def test_a_new_key_file_is_its_owners_only_and_an_old_one_stays(tmp_path: Path) -> None:
    """Issue 2, What a user can do: `aam init` makes one; doing it again does not throw away what is sealed."""
    path = tmp_path / "secrets" / "key"
    create_key("file", str(path))
    first = path.read_text()

    create_key("file", str(path))

    assert path.read_text() == first
    assert len(base64.b64decode(first)) == 32
    assert [stat.S_IMODE(place.stat().st_mode) for place in (path, path.parent)] == [0o600, 0o700]


def test_two_keys_and_two_purposes_have_nothing_in_common() -> None:
    """RFC 5869: a key is derived for each purpose; the id that is shown says nothing of it."""
    key, other = KeyEncryptionKey(bytes(32)), KeyEncryptionKey(bytes(31) + b"\1")

    derived = {made.derive(purpose) for made in (key, other) for purpose in ("wrap", "check", "fingerprint")}

    assert len(derived) == 6
    assert key.key_id != other.key_id
    assert not [part for part in derived if part.hex().startswith((key.key_id, other.key_id))]


def test_the_keyrings_that_are_accepted_are_those_of_the_library() -> None:
    """The backends above are forged by name; a name that the library no longer has would be anybody's."""
    assert all(importlib.util.find_spec(module) for module in _BACKENDS)
