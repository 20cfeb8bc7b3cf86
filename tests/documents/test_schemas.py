"""The JSON Schemas for editors and the examples of policies/: true, because these tests hold them to the code."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from ruamel.yaml import YAML

from broker.documents import KINDS, load, schema
from broker.documents.__main__ import write_schemas

ROOT = Path(__file__).parents[2]
POLICIES = ROOT / "policies"
EXAMPLES = sorted(path for path in POLICIES.rglob("*.yaml"))


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_schema_in_policies_is_the_one_that_documents_are_checked_by(kind: str) -> None:
    """Issue 2, Documents: generated into policies/. Renew them: python -m broker.documents policies/schemas."""
    assert json.loads((POLICIES / f"schemas/{kind}.json").read_text()) == schema(kind)


def test_no_schema_is_left_of_a_kind_that_is_gone() -> None:
    """An editor would go on accepting it."""
    assert {path.stem for path in (POLICIES / "schemas").iterdir()} == set(KINDS)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_schema_is_one(kind: str) -> None:
    """Editors refuse to work with what is no JSON Schema, without a word."""
    assert jsonschema_rs.meta.is_valid(schema(kind))
    assert schema(kind)["title"] == kind


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_pattern_has_examples_that_match_it(kind: str) -> None:
    """A mistake is told by an example of what is right: a pattern is nothing to show to people."""
    patterns = [node for node in _nodes(schema(kind)) if isinstance(node.get("pattern"), str)]

    assert patterns
    for node in patterns:
        assert node.get("examples"), node
        assert all(re.search(node["pattern"], example) for example in node["examples"]), node


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for below in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _nodes(below)


def test_the_examples_are_a_whole_set_without_mistakes() -> None:
    """architecture.md, The rooms: policies/ holds example documents; what they warn of is meant."""
    snapshot = load(POLICIES)

    assert {warning.key for warning in snapshot.warnings} == {"metadata.name"}
    assert {path.name for path in EXAMPLES} == {Path(name).name for name in snapshot.files if name.endswith(".yaml")}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_editor_finds_the_schema_of_an_example_and_the_example_right(example: Path) -> None:
    """The first line names the schema, relative to the file, as the YAML language server reads it."""
    first, _ = example.read_text().split("\n", 1)
    place = example.parent / first.removeprefix("# yaml-language-server: $schema=")
    found = json.loads(place.read_text())

    for document in YAML(typ="safe", pure=True).load_all(example):
        plain = json.loads(json.dumps(document, default=str))
        assert document["kind"] == found["title"]
        assert jsonschema_rs.is_valid(found, plain)


def test_the_command_writes_every_schema(tmp_path: Path) -> None:
    """`python -m broker.documents DIR`, as broker/documents/__main__.py says."""
    ran = subprocess.run(
        [sys.executable, "-m", "broker.documents", str(tmp_path / "new")], capture_output=True, text=True, check=True
    )

    assert len(ran.stdout.splitlines()) == len(KINDS)
    assert [path.name for path in write_schemas(tmp_path / "new")] == [f"{kind}.json" for kind in KINDS]


def test_the_command_says_how_it_is_used() -> None:
    """Without a directory it writes nowhere."""
    ran = subprocess.run([sys.executable, "-m", "broker.documents"], capture_output=True, text=True, check=False)

    assert ran.returncode != 0
    assert "usage" in ran.stderr
