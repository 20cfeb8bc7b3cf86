"""Groups of commands whose modules are loaded when a command is used: what one command needs burdens no other."""

import importlib
from collections.abc import Mapping
from typing import Any, ClassVar

import typer.main
from typer.core import TyperCommand, TyperGroup


class ByName(TyperGroup):
    """A group with commands from a table beside those that are registered; the list of commands loads none."""

    table: ClassVar[Mapping[str, tuple[str, str]]]
    """Name -> (the module that has the command's `app`, what it does), in the order in which they are listed."""
    elsewhere: ClassVar[frozenset[str]] = frozenset()
    """Commands that are only listed here."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        listed = {name: TyperCommand(name, help=summary) for name, (_, summary) in self.table.items()}
        self.commands = {**listed, **self.commands}
        self._listing = False

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - typer's own signature
        """Return the names, in the order of the table."""
        return list(self.commands)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - typer's own signature
        """Return a command, or None."""
        if self._listing or cmd_name not in self.table or cmd_name in self.elsewhere:
            return self.commands.get(cmd_name)
        command = typer.main.get_command(importlib.import_module(self.table[cmd_name][0]).app)
        command.name = cmd_name
        # typer offers to install shell completion for each of them, as if it were a program of its own
        command.params = [one for one in command.params if one.name not in {"install_completion", "show_completion"}]
        return command

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the list of commands from the table."""
        self._listing = True
        super().format_help(ctx, formatter)
