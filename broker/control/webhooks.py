"""Webhooks: those who may approve are told that something waits, and whoever looks after budgets of alerts.

What waits for approval is told of by an id and a link, and nothing else:

    {"format":"access.envisionai.dev/approval/v1","id":"0197…","link":"https://…","log":"…","time":"2026-11-23T21:54:07.123Z"}

What is told of budgets: see `broker.control.budgets`.

The header `Aam-Signature` holds the name of the log's key and its signature, in base64, of three lines: the format, the
log, and the SHA-256 of the body in hexadecimal. `aam trail keys` prints the public key (C2SP signed note).
"""

import asyncio
import hashlib
import json
import logging
from collections.abc import Callable
from typing import Protocol

import anyio

from broker.audit import timestamp
from broker.control.records import approval_event
from broker.documents import Documents
from broker.egress import Client, Dispatch, Egress, Limits
from broker.errors import Refusal
from broker.store import ApprovalRow, Store

logger = logging.getLogger(__name__)

FORMAT = "access.envisionai.dev/approval/v1"
SIGNATURE = "Aam-Signature"
_LIMITS = Limits(total_seconds=10.0, response_bytes=1 << 16, connections=4)
_AGAIN_SECONDS = (2.0, 20.0)
_AT_ONCE = 8
_OK = range(200, 300)


class Signs(Protocol):
    """Signs with the log's key."""

    async def sign(self, text: str) -> str:
        """Return the text as a signed note; raise `AuditUnavailable` if it cannot."""
        ...


class Webhooks:
    """Sends what is to be announced, a few at once, each up to three times; what became of it is on record."""

    def __init__(self, documents: Documents, store: Store, egress: Egress, signing: Signs) -> None:
        self._documents = documents
        self._store = store
        self._egress = egress
        self._signing = signing
        self._waiting: asyncio.Queue[ApprovalRow] = asyncio.Queue()  # no more than agents may have pending
        self._clients: dict[str, Client] = {}
        self._places = anyio.Semaphore(_AT_ONCE)

    def announce(self, row: ApprovalRow) -> None:
        """Have a request announced, if its policy names a webhook."""
        if row.webhook is not None:
            self._waiting.put_nowait(row)

    async def keep_sending(self) -> None:
        """Send what waits, for ever."""
        async with anyio.create_task_group() as tasks:
            while True:
                tasks.start_soon(self._send, await self._waiting.get())

    async def deliver(self, url: str, form: str, body: Callable[[], bytes]) -> str | None:
        """Send one message, signed, up to three times; return the code of what kept it from arriving, or None."""
        code = await self._try(url, form, body())
        for seconds in _AGAIN_SECONDS:
            if code is None:
                break
            await asyncio.sleep(seconds)
            code = await self._try(url, form, body())
        return code

    async def _send(self, row: ApprovalRow) -> None:
        assert row.webhook is not None  # noqa: S101 - `announce` has seen to it
        code = await self.deliver(row.webhook, FORMAT, lambda: self._body(row))
        if code is not None:
            logger.warning("a request for approval could not be announced", extra={"code": code, "approval": row.id})
        record = {**approval_event("approval_announced", row, None), "outcome": {"code": code}}
        try:
            await self._store.commits.commit(lambda change: self._store.trail.append(change, record))
        except Refusal as refusal:
            logger.error("an announcement is not on record", extra={"code": refusal.code})  # noqa: TRY400 - no traceback

    async def _try(self, url: str, form: str, body: bytes) -> str | None:
        """Send one message; return the code of what kept it from arriving, or None."""
        try:
            async with self._places:
                headers = {"Content-Type": "application/json", SIGNATURE: await self._signature(form, body)}
                response = await self._client(url).send("POST", url, headers, body, Dispatch())
        except Refusal as refusal:
            return refusal.code
        return None if response.status in _OK else "upstream_rejected"

    def _body(self, row: ApprovalRow) -> bytes:
        url = self._documents.current.broker.approvals.url
        link = None if url is None else url.replace("{id}", row.id)
        said = {"format": FORMAT, "id": row.id, "link": link, "log": self._store.trail.log, "time": timestamp()}
        return json.dumps(said, separators=(",", ":"), sort_keys=True).encode()

    async def _signature(self, form: str, body: bytes) -> str:
        note = await self._signing.sign(signed_text(self._store.trail.log, body, form))
        _, name, signature = note.splitlines()[-1].split(" ")
        return f"{name} {signature}"

    def _client(self, url: str) -> Client:
        announcing = self._documents.current.announcing
        reach = announcing.reach(url)
        (host,) = reach.hosts
        if host not in self._clients:
            self._clients[host] = self._egress.client(reach, _LIMITS, announcing.authority)
        return self._clients[host]


def signed_text(log: str, body: bytes, form: str = FORMAT) -> str:
    """Return what is signed of a message."""
    return f"{form}\n{log}\n{hashlib.sha256(body).hexdigest()}\n"
