"""A served broker reads its documents now, and not when it next looks."""

from typing import Any

from tests.support.broker import ServedBroker


def reload(broker: ServedBroker) -> None:
    """Have what lies in the directory come into force; it must be without mistakes."""
    broker.await_(_reloaded, broker)


async def _reloaded(broker: ServedBroker) -> None:
    async def loaded(_snapshot: Any, _restart: bool) -> None:  # noqa: FBT001 - the watcher's own signature
        return

    async def refused(invalid: Any) -> None:
        raise AssertionError(invalid.problems)

    async def in_force(_snapshot: Any) -> None:
        return

    await broker.parts.documents.reload(loaded, refused, in_force)
