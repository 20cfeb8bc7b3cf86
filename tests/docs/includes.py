"""Keeps what the pages quote true: a block that follows `<!-- path -->` or `<!-- path: function -->` is that text.

`python tests/docs/includes.py` rewrites the blocks; `test_docs.py` fails where one is not what it says it is.
"""

import ast
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
_BLOCK = re.compile(
    r"<!-- (?P<path>[\w./-]+)(?:: (?P<name>\w+))? -->\n```(?P<language>\w+)\n(?P<text>.*?)```", re.DOTALL
)


def pages() -> list[Path]:
    """Every page that may quote something."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def source(path: str, name: str | None) -> str:
    """Return a file's text, or one function's or class's of it."""
    text = (ROOT / path).read_text()
    if name is None:
        return text
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name == name:
            lines = text.splitlines()[node.lineno - 1 : node.end_lineno]
            return textwrap.dedent("\n".join(lines)) + "\n"
    raise LookupError(f"{path} has no {name}")


def quoted(page: Path) -> Iterator[tuple[str, str | None]]:
    """Yield what a page quotes."""
    for block in _BLOCK.finditer(page.read_text()):
        yield block["path"], block["name"]


def rewritten(page: Path) -> str:
    """Return the page with every quotation as it should be."""

    def block(found: re.Match[str]) -> str:
        name = f": {found['name']}" if found["name"] else ""
        text = source(found["path"], found["name"])
        return f"<!-- {found['path']}{name} -->\n```{found['language']}\n{text}```"

    return _BLOCK.sub(block, page.read_text())


if __name__ == "__main__":
    for page in pages():
        page.write_text(rewritten(page))
