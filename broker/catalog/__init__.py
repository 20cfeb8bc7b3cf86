"""Tool names to tools, what an agent may know of, and finding the right one among many."""

from broker.catalog.search import found
from broker.catalog.tools import RESERVED, Catalog, CatalogTool, catalog_tool

__all__ = ["RESERVED", "Catalog", "CatalogTool", "catalog_tool", "found"]
