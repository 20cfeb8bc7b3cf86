"""Checks evidence on a stranger's machine: `python -m broker.audit verify FILE --key KEY`.

Needs the file and the log's public key, and neither a broker nor a network. Exit status: 0 it holds, 1 it does not,
2 the command was used wrongly.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import TextIO

from broker.audit.check import UncheckableError, check, read_head, read_keys
from broker.audit.verify import Report


def main() -> int:
    """Check one piece of evidence."""
    arguments = _arguments()
    try:
        trusted = [key for given in arguments.key for key in read_keys(given)]
        held = [read_head(path, trusted) for path in arguments.head]
        path: Path = arguments.file
        if not path.exists():
            raise ValueError(f"there is no {path}")
    except (OSError, ValueError) as error:
        _print([str(error)], sys.stderr)
        return 2
    try:
        report = check(path, trusted, held)
    except (UncheckableError, OSError) as error:
        _print([str(error)], sys.stderr)
        return 2
    except ValueError as error:
        report = Report().fail(None, str(error))
    _print(_as_json(report) if arguments.json else _as_text(report), sys.stdout)
    return 0 if report.holds else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m broker.audit",
        description="Check evidence that an Agent Access Manager has given out.",
        epilog="Example: python -m broker.audit verify bundle.zip --key access.example.com/log+1f2e3d4c+AekyeRrm56hA…",
    )
    commands = parser.add_subparsers(required=True, metavar="verify")
    verify = commands.add_parser("verify", help="check a bundle, an export, or a proof of one record")
    verify.add_argument("file", type=Path, help="a bundle (zip or directory), an export (JSON Lines), or a .tlog-proof")
    verify.add_argument(
        "--key", action="append", default=[], help="the log's public key (vkey), or a file of them; from elsewhere"
    )
    verify.add_argument(
        "--head", action="append", type=Path, default=[], help="a signed head that you kept: it must be on the way"
    )
    verify.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args()


def _as_text(report: Report) -> list[str]:
    lines = [f"proved      {sentence}" for sentence in report.proved]
    if not report.holds:
        where = "" if report.first_bad is None else f"record {report.first_bad}: "
        lines = [f"does not hold  {where}{report.problem}"]
    return lines + [f"not proved  {sentence}" for sentence in report.open]


def _as_json(report: Report) -> list[str]:
    return json.dumps(report.facts(), indent=2).splitlines()


def _print(lines: list[str], to: TextIO) -> None:
    """Print lines, nothing of which does more to a terminal than text does."""
    encoding = to.encoding or "utf-8"
    for line in lines:
        printable = "".join(one if one.isprintable() else "?" for one in line)
        to.write(printable.encode(encoding, "replace").decode(encoding) + "\n")


if __name__ == "__main__":
    sys.exit(main())
