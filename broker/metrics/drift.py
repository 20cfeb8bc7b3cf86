"""Which tools of upstream servers are refused because their server describes them otherwise than was approved."""

from broker.catalog import Catalog, CatalogTool
from broker.errors import DefinitionDrifted
from broker.pipeline import Ended


class Drift:
    """What the last calls have found. A tool has drifted until a call of it goes through, or it is approved anew."""

    def __init__(self) -> None:
        self._found: dict[str, CatalogTool] = {}

    def ended(self, ended: Ended) -> None:
        """Look at one call."""
        tool = ended.called
        if ended.code == DefinitionDrifted.code and isinstance(tool, CatalogTool):
            self._found[tool.name] = tool
        elif self._found and ended.status == "released" and isinstance(tool, CatalogTool):
            self._found.pop(tool.name, None)

    def now(self, catalog: Catalog) -> list[CatalogTool]:
        """Return the tools that have drifted and are still served as they were approved then."""
        for name, tool in list(self._found.items()):
            current = catalog.find(name)
            if current is None or current.tool.definition != tool.tool.definition:
                del self._found[name]
        return [self._found[name] for name in sorted(self._found)]
