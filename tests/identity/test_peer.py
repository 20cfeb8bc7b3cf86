import contextlib
import hashlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.identity import Peer, described, socket_peer

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="selectors of executables are read from /proc")

SAYS_HELLO = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.sendall(b'x'); s.recv(1)"


@contextlib.contextmanager
def connected(program: Path | str, path: Path) -> Iterator[tuple[subprocess.Popen[bytes], socket.socket]]:
    """Run a Python program that connects to a socket here, and stays until it is let go."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(60)
        process = subprocess.Popen(
            [str(program), "-S", "-c", SAYS_HELLO, str(path)], env={"PYTHONHOME": sys.base_prefix}
        )
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(60)
            connection.recv(1)
            yield process, connection
        process.wait(60)


def executable() -> Path:
    """Return the file that runs us."""
    return Path(sys.executable).resolve()


def test_the_kernel_names_the_process_at_the_other_end(tmp_path: Path) -> None:
    """Issue 2, Identity: the socket peer, by SO_PEERCRED."""
    with connected(executable(), tmp_path / "s") as (process, connection):
        peer = socket_peer(connection)

        assert (peer.pid, peer.uid, peer.gid) == (process.pid, os.getuid(), os.getgid())


def test_a_process_is_described_as_spires_attestor_would(tmp_path: Path) -> None:
    """identity.md A9: uid, gid, their names, and the executable by path and digest."""
    with connected(executable(), tmp_path / "s") as (_, connection):
        selectors = described(socket_peer(connection), digest=True).selectors

    with executable().open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    assert selectors >= {
        f"unix:uid:{os.getuid()}",
        f"unix:gid:{os.getgid()}",
        f"unix:path:{executable()}",
        f"unix:sha256:{digest}",
    }


def test_a_socketpair_has_this_process_at_both_ends() -> None:
    """Issue 2, Identity: what is asked is the kernel, not the peer."""
    ends = socket.socketpair()
    with ends[0], ends[1]:
        assert {socket_peer(end).pid for end in ends} == {os.getpid()}


def test_a_socket_of_the_network_has_no_peer() -> None:
    """Issue 2, Identity: over TCP the kernel knows nobody, and nobody is not user -1."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as client,
        pytest.raises(OSError, match="no local peer"),
    ):
        socket_peer(client)


def test_a_process_that_has_ended_has_no_executable(tmp_path: Path) -> None:
    """identity.md A9: a pid that may come to mean another process proves nothing about a file."""
    with connected(executable(), tmp_path / "s") as (_, connection):
        peer = socket_peer(connection)

    selectors = described(peer, digest=True).selectors

    assert f"unix:uid:{os.getuid()}" in selectors
    assert not [selector for selector in selectors if selector.startswith(("unix:path:", "unix:sha256:"))]


@pytest.mark.parametrize("pid", [0, -1, 2**22 + 1])
def test_a_process_that_cannot_be_seen_has_no_executable(pid: int) -> None:
    """identity.md A9: in another pid namespace a peer has the pid 0."""
    selectors = described(Peer(pid, 1000, 1000), digest=True).selectors

    assert {selector.split(":")[1] for selector in selectors} <= {"uid", "gid", "user", "group"}


def test_a_pid_that_means_another_users_process_by_now_has_no_executable() -> None:
    """identity.md A9: pid reuse, seen by the user that the process has now."""
    mine = described(Peer(os.getpid(), os.getuid(), os.getgid())).selectors
    anothers = described(Peer(os.getpid(), os.getuid() + 1, os.getgid()), digest=True).selectors

    assert f"unix:path:{executable()}" in mine
    assert not [selector for selector in anothers if selector.startswith(("unix:path:", "unix:sha256:"))]


def test_an_executable_that_was_replaced_has_its_old_digest_and_no_path(tmp_path: Path) -> None:
    """identity.md A9: what runs is what counts; the path means another file now."""
    program = tmp_path / "python"
    shutil.copy2(executable(), program)
    with connected(program, tmp_path / "s") as (_, connection):
        before = described(socket_peer(connection), digest=True).selectors
        (tmp_path / "other").write_bytes(b"#!/bin/sh\n")
        (tmp_path / "other").replace(program)
        after = described(socket_peer(connection), digest=True).selectors

    digests = [{found for found in selectors if found.startswith("unix:sha256:")} for selectors in (before, after)]
    assert f"unix:path:{program}" in before
    assert f"unix:path:{program}" not in after
    assert digests[0] == digests[1] != set()


def test_an_executable_that_was_changed_in_place_is_read_again(tmp_path: Path) -> None:
    """identity.md A9: a digest is remembered for a file as it is; its owner can set one of its times back, not both."""
    program = tmp_path / "python"
    shutil.copy2(executable(), program)
    seen = []
    for number in range(2):
        with connected(program, tmp_path / f"s{number}") as (_, connection):
            peer = socket_peer(connection)
            seen.append({found for found in described(peer, digest=True).selectors if found.startswith("unix:sha256:")})
        times = program.stat()
        with program.open("ab") as file:
            file.write(b"\0")
        os.utime(program, ns=(times.st_atime_ns, times.st_mtime_ns))

    assert seen[0] != seen[1]


def test_an_executable_is_not_read_unless_asked_for() -> None:
    """Issue 2, Identity: what a stranger's file costs to read is not paid for nothing; its path costs nothing."""
    selectors = described(Peer(os.getpid(), os.getuid(), os.getgid())).selectors

    assert f"unix:path:{executable()}" in selectors
    assert not [selector for selector in selectors if selector.startswith("unix:sha256:")]


def test_an_executable_that_is_far_too_large_has_no_digest(tmp_path: Path) -> None:
    """Issue 2, Identity: a file may be gigabytes of nothing, and its user decides."""
    program = tmp_path / "python"
    shutil.copy2(executable(), program)
    os.truncate(program, (256 << 20) + 1)
    with connected(program, tmp_path / "s") as (_, connection):
        selectors = described(socket_peer(connection), digest=True).selectors

    assert f"unix:path:{program}" in selectors
    assert not [selector for selector in selectors if selector.startswith("unix:sha256:")]


def test_a_daemon_with_many_connections_still_tells_who_calls(tmp_path: Path) -> None:
    """Issue 2, MCP: select() ends at descriptor 1024; a busy daemon does not."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 1200:
        pytest.skip("this user may not open that many files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1200), hard))
    with contextlib.ExitStack() as opened:
        opened.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        path = tmp_path / "file"
        path.touch()
        for _ in range(1050):
            opened.enter_context(path.open())

        selectors = described(Peer(os.getpid(), os.getuid(), os.getgid())).selectors

    assert f"unix:path:{executable()}" in selectors
