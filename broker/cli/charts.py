"""Bars of characters, for people: as wide as they are told, and plain where a terminal has no blocks."""

from collections.abc import Sequence

from broker.cli.output import console

_BLOCKS, _PLAIN = "█▒░", "#+."
_WIDEST = 40


def bar(*parts: tuple[float, int], width: int = 20) -> str:
    """Return a bar of parts of a whole, each a share of it and which kind of block; what remains is the third kind."""
    blocks = _blocks()
    drawn = ""
    for share, kind in parts:
        # What is there at all is seen, and what is not whole is not shown as whole
        wanted = round(max(share, 0) * width)
        wanted = max(wanted, 1) if share > 0 else 0
        drawn += blocks[kind] * wanted
    return drawn[:width].ljust(width, blocks[2])


def column(values: Sequence[float]) -> list[str]:
    """Return a bar for each value, the largest as wide as a bar is."""
    most = max(values, default=0)
    full = _blocks()[0]
    return [full * (max(round(value / most * _WIDEST), 1) if value > 0 and most > 0 else 0) for value in values]


def _blocks() -> str:
    encoding = console.encoding or "ascii"
    try:
        _BLOCKS.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return _PLAIN
    return _BLOCKS
