"""Local processes: who is at the other end of a Unix socket, and which registry selectors describe it.

The kernel is the witness. What it proves is "some process of this user", so the assurance is lower than an SVID's.
Selectors are written as SPIRE's unix workload attestor writes them: `unix:uid:1000`, `unix:gid:`, `unix:user:`,
`unix:group:`, `unix:path:`, `unix:sha256:`.
"""

import contextlib
import errno
import functools
import grp
import hashlib
import os
import pwd
import select
import socket
import stat
import struct
import sys
from dataclasses import dataclass, replace
from pathlib import Path

_NOBODY_AT_ALL = 2**32 - 1  # (uid_t) -1
_LARGEST_EXECUTABLE = 256 << 20  # bytes; a larger one, which may be nothing but a hole, has no digest
_CHUNK = 1 << 20


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
    pid, uid, gid = struct.unpack("iII", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    if uid == _NOBODY_AT_ALL:  # what the kernel says of a socket that has no peer process, such as a TCP one
        raise OSError(errno.ENOTCONN, "the socket has no local peer")
    return Peer(pid, uid, gid)


def described(peer: Peer, *, digest: bool = False) -> Peer:
    """Return the peer with the selectors that are true of it; those of an executable that cannot be read are missing.

    `unix:sha256:` is found out only if asked for: whoever connects decides how much there is to read.
    """
    found = {f"unix:uid:{peer.uid}", f"unix:gid:{peer.gid}"}
    with contextlib.suppress(KeyError):
        found.add(f"unix:user:{pwd.getpwuid(peer.uid).pw_name}")
    with contextlib.suppress(KeyError):
        found.add(f"unix:group:{grp.getgrgid(peer.gid).gr_name}")
    with contextlib.suppress(OSError, AttributeError):  # AttributeError: pidfds are Linux's
        found |= _executable(peer, digest=digest)
    return replace(peer, selectors=frozenset(found))


def _executable(peer: Peer, *, digest: bool) -> set[str]:
    process = f"/proc/{peer.pid}"
    watch = os.pidfd_open(peer.pid)  # so that the pid cannot come to mean another process while its file is read
    try:
        if os.stat(process).st_uid != peer.uid:  # noqa: PTH116
            return set()  # it means another process already, or one that changed its user since it connected
        path, status = os.readlink(f"{process}/exe"), os.stat(f"{process}/exe")  # noqa: PTH115, PTH116 - the link itself
        found = {f"unix:path:{path}"} if _is_here(path, status) else set()
        if digest and stat.S_ISREG(status.st_mode) and status.st_size <= _LARGEST_EXECUTABLE:
            file = _digest(f"{process}/exe", status.st_dev, status.st_ino, status.st_size, status.st_ctime_ns)
            found.add(f"unix:sha256:{file}")
        return set() if _has_ended(watch) else found
    finally:
        os.close(watch)


def _has_ended(watch: int) -> bool:
    ended = select.poll()  # not select(): a busy daemon's descriptors go beyond the 1024 that it takes
    ended.register(watch, select.POLLIN)
    return bool(ended.poll(0))


def _is_here(path: str, status: os.stat_result) -> bool:
    """Tell whether the path means that file to us too: in a mount namespace of its own, anyone can give it any path."""
    try:
        return os.path.samestat(os.stat(path), status)  # noqa: PTH116
    except OSError:
        return False


@functools.lru_cache(maxsize=256)
def _digest(path: str, _device: int, _inode: int, size: int, _changed: int) -> str:
    digest = hashlib.sha256()
    with Path(path).open("rb") as executable:
        for _ in range(0, size, _CHUNK):  # and no further, should it grow meanwhile
            digest.update(executable.read(_CHUNK))
    return digest.hexdigest()
