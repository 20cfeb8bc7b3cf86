"""Local processes: who is at the other end of a Unix socket, and which registry selectors describe it.

The kernel is the witness. What it proves is "some process of this user", so the assurance is lower than an SVID's.
Selectors are written as SPIRE's unix workload attestor writes them: `unix:uid:1000`, `unix:gid:`, `unix:user:`,
`unix:group:`, `unix:path:`, `unix:sha256:`.
"""

import contextlib
import functools
import grp
import hashlib
import os
import pwd
import select
import socket
import struct
import sys
from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Peer:
    """The process that opened a connection, as the kernel noted it then."""

    pid: int
    uid: int
    gid: int
    selectors: frozenset[str] = frozenset()


def socket_peer(connection: socket.socket) -> Peer:
    """Return the peer of a connected Unix socket, without selectors; raise `OSError` where the system does not tell."""
    if sys.platform == "darwin":  # pragma: no cover - xucred of <sys/ucred.h>; LOCAL_PEERPID
        _version, uid = struct.unpack_from("2I", connection.getsockopt(0, 0x001, 76))
        (pid,) = struct.unpack("i", connection.getsockopt(0, 0x002, 4))
        return Peer(pid, uid, pwd.getpwuid(uid).pw_gid)
    pid, uid, gid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return Peer(pid, uid, gid)


def described(peer: Peer) -> Peer:
    """Return the peer with every selector that is true of it; those of an executable it cannot read are missing."""
    found = {f"unix:uid:{peer.uid}", f"unix:gid:{peer.gid}"}
    with contextlib.suppress(KeyError):
        found.add(f"unix:user:{pwd.getpwuid(peer.uid).pw_name}")
    with contextlib.suppress(KeyError):
        found.add(f"unix:group:{grp.getgrgid(peer.gid).gr_name}")
    with contextlib.suppress(OSError, AttributeError):  # AttributeError: pidfds are Linux's
        found |= _executable(peer.pid)
    return replace(peer, selectors=frozenset(found))


def _executable(pid: int) -> set[str]:
    watch = os.pidfd_open(pid)  # so that the pid cannot come to mean another process while its file is read
    try:
        path = os.readlink(f"/proc/{pid}/exe")  # noqa: PTH115 - the text, not a path of ours
        status = os.stat(f"/proc/{pid}/exe")  # noqa: PTH116 - the link itself is what matters
        digest = _digest(f"/proc/{pid}/exe", status.st_dev, status.st_ino, status.st_mtime_ns)
        if select.select([watch], [], [], 0)[0]:
            return set()  # it has ended meanwhile
        return {f"unix:path:{path}", f"unix:sha256:{digest}"}
    finally:
        os.close(watch)


@functools.lru_cache(maxsize=256)
def _digest(path: str, _device: int, _inode: int, _modified: int) -> str:
    with Path(path).open("rb") as executable:
        return hashlib.file_digest(executable, "sha256").hexdigest()
