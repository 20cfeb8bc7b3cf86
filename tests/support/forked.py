"""A broker as a process of its own that needs no time to start: forked from one that has imported everything.

What a start costs is nearly all imports. Where hundreds of brokers are to be killed, that is what takes the time.
"""

import contextlib
import multiprocessing
import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from broker.audit import record
from tests.support import serve
from tests.support.broker import PATIENCE, BrokerProcess

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["tests.support.forked"])


class ForkedBroker(BrokerProcess):
    """`BrokerProcess`, without its imports: the same program, killed as the whole process that it is."""

    child: Any

    def start(self, *options: str) -> None:
        """Start it, and wait until it serves."""
        assert self.begins(*options), self.log.read_text()

    def begins(self, *options: str) -> bool:
        """Start it, and wait until it serves; returns False if options have killed it before."""
        facts = self._fork(*options)
        assert facts.poll(PATIENCE), self.log.read_text()
        with contextlib.suppress(EOFError):
            self.facts = facts.recv()
            return True
        assert self.ended() == -signal.SIGKILL, self.log.read_text()
        return False

    def _fork(self, *options: str) -> Connection:
        receive, send = _FORKS.Pipe(duplex=False)
        arguments = [str(self.written.directory), *options]
        self.child = _FORKS.Process(target=serve_forked, args=(arguments, self.log, send))
        self.child.start()
        send.close()
        return receive

    def kill(self) -> None:
        """End it without any warning."""
        self.child.kill()
        self.ended()

    def ended(self) -> int:
        """Wait for its end; return the signal that ended it, negative, or its exit status."""
        self.child.join(PATIENCE)
        assert self.child.exitcode is not None, "it goes on"
        return int(self.child.exitcode)


def serve_forked(arguments: list[str], log: Path, facts: Connection) -> None:
    """Serve in a forked process, which has no signal handlers, output or place in a sequence of its parent's."""
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for standard in (1, 2):
        os.dup2(descriptor, standard)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    record._PROCESS = os.urandom(4).hex()
    serve.main(arguments, facts.send)
