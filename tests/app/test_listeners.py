import socket
import ssl
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization as form

from broker.app.listeners import http_socket, tls_context, unix_socket
from broker.documents import BrokerDocument
from broker.errors import ListenerRefused
from broker.testing.certificates import CertificateAuthority


def document(http: str, *, behind_tls_proxy: bool = False) -> BrokerDocument:
    """Return a Broker document's spec with a listener."""
    return BrokerDocument.model_validate(
        {
            "log": "access.envisionai.dev/log/test",
            "audience": "https://aam.example/mcp",
            "listen": {"http": http, "behind_tls_proxy": behind_tls_proxy},
            "key": {"source": "file", "path": "key"},
            "operators": [{"user": "root", "role": "admin"}],
        }
    )


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "192.0.2.1:8470", "[2001:db8::1]:8470"])
def test_a_network_address_without_tls_is_refused(address: str) -> None:
    """Issue 2, MCP: non-loopback without TLS is refused."""
    with pytest.raises(ListenerRefused, match="without TLS"):
        http_socket(document(address), tls=False)


@pytest.mark.parametrize(("behind_tls_proxy", "tls"), [(True, False), (False, True)])
def test_a_network_address_is_served_with_tls_or_behind_it(*, behind_tls_proxy: bool, tls: bool) -> None:
    """architecture.md, Processes: TLS, or loopback, or an explicit "behind a TLS proxy"."""
    with http_socket(document("0.0.0.0:0", behind_tls_proxy=behind_tls_proxy), tls=tls) as listener:
        assert listener.getsockname()[0] == "0.0.0.0"  # noqa: S104 - on purpose


@pytest.mark.parametrize("address", ["127.0.0.1:0", "127.0.0.2:0", "[::1]:0"])
def test_loopback_needs_no_tls(address: str) -> None:
    """architecture.md, Processes: TLS, or loopback."""
    with http_socket(document(address), tls=False) as listener:
        assert listener.getsockname()[1] > 0


def test_an_address_that_is_taken_is_an_error_with_a_code() -> None:
    """Anything else than a listener as configured is refused."""
    with http_socket(document("127.0.0.1:0"), tls=False) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(ListenerRefused, match="cannot be listened on"):
            http_socket(document(f"127.0.0.1:{port}"), tls=False)


def test_a_socket_has_its_mode_and_at_no_moment_a_wider_one(tmp_path: Path) -> None:
    """architecture.md, Processes: modes 0666, 0600 and 0660."""
    for mode in (0o666, 0o600, 0o660):
        path = tmp_path / f"{mode:o}.sock"
        with unix_socket(path, mode):
            assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_dead_socket_is_taken_away_and_a_live_one_is_not(tmp_path: Path) -> None:
    """A killed broker leaves its sockets behind; a running one's must not be taken from it."""
    path = tmp_path / "s"
    with unix_socket(path, 0o600), pytest.raises(ListenerRefused, match="Another process is listening"):
        unix_socket(path, 0o600)

    with unix_socket(path, 0o600):
        assert path.is_socket()


@pytest.mark.parametrize("make", [Path.touch, Path.mkdir, lambda path: path.symlink_to(path.parent / "other")])
def test_what_is_no_socket_is_left_alone(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """A mistyped path must not cost anybody a file, and a link is not followed to one."""
    path = tmp_path / "s"
    (tmp_path / "other").touch()
    make(path)

    with pytest.raises(ListenerRefused, match="no socket"):
        unix_socket(path, 0o600)

    assert path.exists()


def test_a_path_that_the_system_cannot_hold_says_so(tmp_path: Path) -> None:
    """The kernel would cut it off or fail; neither says what to do."""
    with pytest.raises(ListenerRefused, match="shorter"):
        unix_socket(tmp_path / ("x" * 120), 0o600)


def test_a_group_that_does_not_exist_is_an_error_with_a_code(tmp_path: Path) -> None:
    """A socket that should be a group's is not left to nobody or everybody."""
    with pytest.raises(ListenerRefused, match="cannot be opened"):
        unix_socket(tmp_path / "s", 0o660, "no-such-group")


def test_tls_files_that_cannot_serve_are_refused_before_anything_listens(tmp_path: Path) -> None:
    """Issue 2, MCP: `--tls-cert/--tls-key`; and a serving process never prompts for a passphrase."""
    authority = CertificateAuthority(tmp_path)
    one, other = authority.issue("one"), authority.issue("other")
    junk = tmp_path / "junk.pem"
    junk.write_text("junk")
    locked = tmp_path / "locked.pem"
    locked.write_text(_with_passphrase(one.key_file.read_bytes()))

    for certificate, key in (
        (one.certificate_file, other.key_file),
        (junk, one.key_file),
        (one.certificate_file, junk),
        (one.certificate_file, locked),
        (tmp_path / "absent.pem", one.key_file),
    ):
        with pytest.raises(ListenerRefused, match="cannot be used"):
            tls_context(certificate, key)


def test_tls_takes_no_old_protocol_and_no_weak_cipher(tmp_path: Path) -> None:
    """What is left of TLS 1.2 is forward secret and authenticated."""
    certificate = CertificateAuthority(tmp_path).issue("server")

    context = tls_context(certificate.certificate_file, certificate.key_file)

    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    names = {cipher["name"] for cipher in context.get_ciphers()}
    assert all("GCM" in name or "POLY1305" in name for name in names)
    assert all(name.startswith(("TLS_", "ECDHE")) for name in names)


def test_a_queue_that_is_full_still_means_somebody_listens(tmp_path: Path) -> None:
    """A broker that is busy is not one that is dead."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as busy:
        busy.bind(str(path))
        busy.listen(0)
        waiting = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(3)]
        try:
            for one in waiting:
                one.settimeout(0)
                one.connect_ex(str(path))

            with pytest.raises(ListenerRefused, match="Another process is listening"):
                unix_socket(path, 0o600)
        finally:
            for one in waiting:
                one.close()


def _with_passphrase(key: bytes) -> str:
    loaded = form.load_pem_private_key(key, None)
    protection = form.BestAvailableEncryption(b"sesame")
    return loaded.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, protection).decode()
