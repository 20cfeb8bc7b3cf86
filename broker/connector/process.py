"""A service that is a program on the broker's own machine, as a Connector document names it."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from broker.egress import Command

Word = Annotated[str, Field(min_length=1, max_length=4096, pattern=r"^[^\x00]+$", examples=["/usr/bin/node"])]
Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$", examples=["GITHUB_TOKEN"])]
AbsolutePath = Annotated[str, Field(pattern=r"^/[^\x00]*$", examples=["/srv/files"])]
Value = Annotated[str, Field(max_length=8192, pattern=r"^[^\x00]*$", examples=["/usr/bin:/bin"])]


class ProcessDocument(BaseModel):
    """A program to run, and everything that it is given. Only documents name programs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    command: Annotated[list[Word], Field(min_length=1, max_length=256)] = Field(
        description="The program and its arguments, each a word of its own; no shell reads them."
    )
    environment: dict[Variable, Value] = Field(
        default_factory=dict, description="Its whole environment: nothing of the broker's own reaches it."
    )
    credential: Variable | None = Field(
        default=None, description="The variable in which the grant's token is put when the program is started."
    )
    directory: AbsolutePath = Field(default="/", description="Where it runs.")

    @model_validator(mode="after")
    def _found(self) -> "ProcessDocument":
        if not self.command[0].startswith("/") and "PATH" not in self.environment:
            raise ValueError("begin 'command' with the program's whole path, or name PATH under 'environment'")
        if self.credential is not None and self.credential in self.environment:
            raise ValueError(f"{self.credential} is the credential's variable; take it out of 'environment'")
        return self

    def as_command(self, longest: int) -> Command:
        """Return it as egress takes it; `longest` is the most bytes of one line."""
        environment = tuple(sorted(self.environment.items()))
        return Command(tuple(self.command), environment, self.directory, self.credential, longest)
