"""Programs that are the service themselves: started with an environment of their own, spoken to in lines, ended whole.

A command comes from a connector's document and from nowhere else. Nothing of the broker's environment reaches it; what
it says on stderr reaches nobody.
"""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from broker.egress.secret import Secret
from broker.errors import UpstreamInterrupted, UpstreamTooLarge, UpstreamUnreachable

_GRACE_SECONDS = 2.0  # between asking a program to end and ending it
_SETTLED_SECONDS = 10.0  # a program that ran for so long began well
_LONGEST_PAUSE = 60.0  # seconds between two starts of a program that keeps ending
_MOST = 64  # programs at once; of more, the one that has been idle longest is ended
_SCHEME = "Bearer "
_ENDED = "The program behind this tool has been ended; try again if you still may."

Key = tuple[str, str]
"""The connector's name, and the id of the grant that the program was started with."""


@dataclass(frozen=True, slots=True)
class Command:
    """What to run: its words, its whole environment, where, and in which variable the credential is put."""

    words: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()
    directory: str = "/"
    variable: str | None = None
    longest: int = 4 << 20
    """The most bytes of one line."""


class Process:
    """One running program: lines in, lines out. `attached` is the connector's own, and goes with the program."""

    def __init__(self, child: asyncio.subprocess.Process, longest: int) -> None:
        self._child = child
        self._longest = longest
        self._killed = False
        self.blameless = False
        """Whether it is ended for no fault of its own, so that it may be started again at once."""
        self.attached: Any = None
        self.calls = 0
        """How many are speaking to it; a program in use is not ended to make room."""
        self.used = time.monotonic()

    @property
    def alive(self) -> bool:
        """Whether it can still be spoken to."""
        return self._child.returncode is None and not self._killed

    async def send(self, line: bytes) -> None:
        """Write one line; raise `UpstreamInterrupted` if the program is gone."""
        assert self._child.stdin is not None  # noqa: S101 - it was started with a pipe
        try:
            self._child.stdin.write(line + b"\n")
            await self._child.stdin.drain()
        except OSError:
            raise UpstreamInterrupted(detail="the program has ended") from None

    async def lines(self) -> AsyncIterator[bytes]:
        """Yield what it says, line by line, until it ends; for one reader.

        Raises `UpstreamTooLarge` for a line over the cap: what comes after that is nobody's, so the program is ended.
        """
        assert self._child.stdout is not None  # noqa: S101 - it was started with a pipe
        while True:
            try:
                line = await self._child.stdout.readline()
            except ValueError:
                self.kill()
                raise UpstreamTooLarge(detail=f"a line of over {self._longest} bytes") from None
            if not line:
                return
            yield line

    def kill(self) -> None:
        """End it at once, with everything that it has started."""
        self._killed = True
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._child.pid, signal.SIGKILL)

    async def stop(self) -> None:
        """Ask it to end, and end it if it does not; nothing that it has started is left."""
        self._killed = True
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._child.pid, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._child.wait(), _GRACE_SECONDS)
        self.kill()
        await self._child.wait()
        close: Callable[[], None] = self._child._transport.close  # type: ignore[attr-defined] # noqa: SLF001 - its pipes
        close()


class _Place:
    """Where the program of one grant runs, and how often it has ended too soon."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.process: Process | None = None
        self.command: Command | None = None
        self.secret: Secret | None = None
        self.failures = 0
        self.started = 0.0
        self.ended = False
        """Whether nobody looks here any more: a program that is started here yet must not go on."""

    def serves(self, command: Command, secret: Secret | None) -> bool:
        """Tell whether what runs is what is wanted, with the credential that is current."""
        process = self.process
        return process is not None and process.alive and self.command == command and self.secret == secret

    def fits(self, command: Command | None) -> bool:
        """Tell whether what runs here, or is about to, may go on under a document that names this command."""
        return command is not None and self.command in (None, command)

    def pause(self) -> float:
        """Return for how many seconds more it is not started again."""
        if self.process is not None and not self.process.alive:
            lived = time.monotonic() - self.started
            if not self.process.blameless:
                self.failures = self.failures + 1 if lived < _SETTLED_SECONDS else 0
            self.process = None
        wait = min(_LONGEST_PAUSE, 2.0 ** (self.failures - 1)) if self.failures else 0.0
        return self.started + wait - time.monotonic()


class Processes:
    """The programs that a running broker has started: one for each connector and grant."""

    def __init__(self) -> None:
        self._places: dict[Key, _Place] = {}
        self._revoked: set[str] = set()

    async def running(self, key: Key, command: Command, secret: Secret | None) -> Process:
        """Return the program, started if it does not run, or runs with another credential or command.

        Raises `UpstreamUnreachable` if it cannot be started, has just ended too often, or its grant is revoked.
        """
        if key[1] in self._revoked:
            raise UpstreamUnreachable(_ENDED, detail="its grant is revoked")
        place = self._places.setdefault(key, _Place())
        async with place.lock:
            if not place.ended and not place.serves(command, secret):
                await self._start(place, command, secret)
            if place.ended:  # while this call waited, or while the program started: whoever ends it has the lock next
                raise UpstreamUnreachable(_ENDED, detail="ended while it was started")
            assert place.process is not None  # noqa: S101 - it was just started
            place.process.used = time.monotonic()
            return place.process

    async def _start(self, place: _Place, command: Command, secret: Secret | None) -> None:
        if place.process is not None and place.process.alive:  # with another credential, or by another document
            await place.process.stop()
            place.process = None
        pause = place.pause()
        if pause > 0:
            raise UpstreamUnreachable(
                "The program behind this tool keeps ending; it is started again in a moment.",
                detail=f"ended {place.failures} times; started again in {pause:.0f} s",
            )
        await self._make_room()
        place.command, place.secret, place.started = command, secret, time.monotonic()
        try:
            child = await asyncio.create_subprocess_exec(
                *command.words,
                env=_environment(command, secret),
                cwd=command.directory,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,  # it may say anything, to nobody
                limit=command.longest,
                start_new_session=True,  # a group of its own, which ends as a whole
            )
        except (OSError, ValueError) as error:
            place.failures += 1
            place.process = None
            raise UpstreamUnreachable(
                "The program behind this tool cannot be started; an administrator must look at its connector.",
                detail=f"{command.words[0]}: {type(error).__name__}",
            ) from None
        place.process = Process(child, command.longest)

    async def _make_room(self) -> None:
        live = {key: place for key, place in self._places.items() if place.process is not None and place.process.alive}
        if len(live) < _MOST:
            return
        idle = [key for key, place in live.items() if not place.lock.locked() and _used(place)[0] == 0]
        if not idle:
            raise UpstreamUnreachable("Too many programs are in use; try again in a moment.", detail=f"{_MOST} run")
        await self._end({min(idle, key=lambda key: _used(live[key]))})

    async def end(self, grant: str) -> None:
        """End the programs that were started with a grant, for good: it is revoked, and they know its token."""
        if grant:
            self._revoked.add(grant)
            await self.restart(grant)

    async def restart(self, grant: str) -> None:
        """End the programs that were started with a grant; the next call starts them with what it then holds."""
        await self._end({key for key in self._places if grant and key[1] == grant})

    async def keep_only(self, commands: Mapping[str, Command]) -> None:
        """End the programs that no document names any more, or that it now names otherwise, by their connectors."""
        await self._end({key for key, place in self._places.items() if not place.fits(commands.get(key[0]))})

    async def close(self) -> None:
        """End every program."""
        await self._end(set(self._places))

    async def _end(self, keys: Collection[Key]) -> None:
        places = [self._places.pop(key) for key in keys]
        for place in places:
            place.ended = True
        await asyncio.gather(*(_ended(place) for place in places))


def _used(place: _Place) -> tuple[int, float]:
    """Return how many speak to its program, and when somebody last asked for it."""
    process = place.process
    return (0, 0.0) if process is None else (process.calls, process.used)


async def _ended(place: _Place) -> None:
    async with place.lock:  # a program that is being started is started first, and then ended
        if place.process is not None:
            await place.process.stop()


def _environment(command: Command, secret: Secret | None) -> dict[str, str]:
    """Return the whole environment: what the document names, and the credential, as a bare token."""
    environment = dict(command.environment)
    if command.variable is not None and secret is not None:
        environment[command.variable] = secret.reveal().removeprefix(_SCHEME)
    return environment
