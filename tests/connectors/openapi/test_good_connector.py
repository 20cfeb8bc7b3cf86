"""The connector against everything that a service may answer, as any author's is judged."""

import pytest

from broker.connector import ConnectorDocument
from broker.testing import Example, check_connector
from connectors.openapi import CONNECTOR
from tests.support.library import DESCRIPTION


@pytest.mark.slow
def test_it_is_a_good_connector() -> None:
    """Issue 6, a stranger's connector: `check_connector` judges ours too."""
    document = {"resources": {"books": "/books", "loans": "tag:loans", "events": "/events"}, "snapshot": "l.json"}
    settings = {"description": "/openapi.json", "probe": "/books"}
    written = {"body": {"title": "New"}}
    examples = {
        "describe": Example(DESCRIPTION),
        "loans_search": Example([{"id": 1}], {"id": "b1"}),
        "books_create": Example({"id": "b1"}, written),
        **{f"books_{action}": Example({"id": "b1"}, {"id": "b1", **written}) for action in ("update", "replace")},
    }

    check_connector(CONNECTOR, {**document, "settings": settings}, DESCRIPTION, examples=examples)


def test_a_document_that_maps_nothing_is_a_mistake() -> None:
    """Absent means less: no resources and nothing else said is no tool, and the document is told."""
    document = ConnectorDocument.model_validate({"type": "openapi", "url": "https://a.example", "snapshot": "l.json"})

    with pytest.raises(ValueError, match="nothing is mapped"):
        CONNECTOR.tools(document, DESCRIPTION)
