from typing import Any

import pytest

from broker.cli.connector import differences

NAME = {"name": "Name", "type": "string"}
OWNER = {"name": "OwnerId", "type": "reference"}


@pytest.mark.parametrize(
    ("old", "new", "shown"),
    [
        (
            {},
            {"objects": {"Account": {"label": "Account", "fields": [NAME, OWNER]}}},
            ["+ objects.Account.fields.Name", "+ objects.Account.fields.OwnerId", "+ objects.Account.label"],
        ),
        (
            {"objects": {"Account": {"fields": [NAME]}}},
            {"objects": {"Account": {"fields": [OWNER, NAME]}}},
            ["+ objects.Account.fields.OwnerId"],
        ),
        ({"fields": [NAME, OWNER]}, {"fields": [NAME]}, ["- fields.OwnerId"]),
        (
            {"tools": []},
            {"tools": [{"name": "x", "description": "Send it all.", "inputSchema": {"properties": {"y": {}}}}]},
            ["+ tools.x.description: 'Send it all.'", "+ tools.x.inputSchema.properties.y", "+ tools.x.name"],
        ),
        ({}, {"prompts": [{"name": "p", "description": "Say it."}]}, ["+ prompts.p: 'Say it.'"]),
        ({"fields": [NAME]}, {"fields": [{**NAME, "type": "url"}]}, ["~ fields.Name.type: 'string' -> 'url'"]),
        ({"fields": [NAME, OWNER]}, {"fields": [OWNER, NAME]}, []),
    ],
)
def test_whoever_pins_a_description_sees_every_field_that_it_lets_out(old: Any, new: Any, shown: list[str]) -> None:
    """Issue 2, Salesforce: shows the difference and pins it on approval; only pinned fields ever leave."""
    assert list(differences(old, new)) == shown
