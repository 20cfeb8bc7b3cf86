"""`aam import`: what another gateway was configured with becomes documents, and a list of what does not fit."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from broker.documents import KINDS

AAM = Path(sys.executable).with_name("aam")
REQUEST = {
    "model": "anthropic/claude-sonnet-4.5:nitro",
    "models": ["openai/gpt-5.1", "~vendor/latest"],
    "provider": {"only": ["azure"], "data_collection": "deny", "max_price": {"prompt": 3}, "preferred_max_latency": 2},
    "plugins": [{"id": "web"}],
    "tools": [{"type": "openrouter:web_search"}],
    "max_tokens": 2000,
    "messages": [{"role": "user", "content": "the secret plan"}],
}
CONFIG = """
model_list:
  - {model_name: Fast/Model, litellm_params: {model: openai/gpt-5.1-mini, api_key: sk-secret, weight: 3, top_k: 1}}
  - model_name: Fast/Model
    litellm_params: {model: azure/mine, api_base: "https://x.openai.azure.com", weight: 1, rpm: 60}
    model_info: {input_cost_per_token: 0.00000125, output_cost_per_token: 0.00001}
  - {model_name: home, litellm_params: {model: ollama/llama3, api_base: "http://127.0.0.1:11434"}}
  - {model_name: cloud, litellm_params: {model: bedrock/claude}}
  - {model_name: "*", litellm_params: {model: "*"}}
router_settings: {fallbacks: [{home: [Fast/Model]}], cooldown_time: 60, allowed_fails: 2, redis_host: x}
general_settings: {master_key: sk-1234}
"""
KEYS = {
    "keys": [
        {"key_alias": "Finance Bot", "token": "abc", "models": ["Fast/Model"], "max_budget": 20,
         "budget_duration": "1d", "rpm_limit": 60, "team_alias": "finance", "user_id": "jane@example.com"},
        {"key_alias": "odd", "models": ["home"], "max_budget": 5, "budget_duration": "3h"},
    ]
}  # fmt: skip


def imported(tmp_path: Path, kind: str, **files: str) -> Any:
    """Run an import, hold every document to its kind, and return what was printed."""
    paths = []
    for name, text in files.items():
        path = tmp_path / name.replace("_", ".")
        path.write_text(text)
        paths.append(path)
    ran = subprocess.run(
        [AAM, "import", kind, *paths, "--json"], capture_output=True, text=True, timeout=60, check=True
    )
    found = json.loads(ran.stdout)
    for document in found["documents"]:
        KINDS[document["kind"]].model_validate_json(json.dumps(document))
    assert "sk-secret" not in ran.stdout
    assert "secret plan" not in ran.stdout
    return found


def specs(found: Any, kind: str) -> dict[str, Any]:
    """Return the specs of one kind, by name."""
    return {one["metadata"]["name"]: one["spec"] for one in found["documents"] if one["kind"] == kind}


def test_a_request_to_openrouter_becomes_a_route_with_its_rules(tmp_path: Path) -> None:
    """Issue 7: reads OpenRouter request JSON, and says what it could not map."""
    found = imported(tmp_path, "openrouter", request_json=json.dumps(REQUEST))

    route = specs(found, "ModelRoute")["claude-sonnet-4.5"]
    assert [target["model"] for target in route["targets"]] == ["anthropic/claude-sonnet-4.5", "openai/gpt-5.1"]
    assert route["targets"][0]["provider"]["sort"] == "throughput"
    assert route["targets"][1]["provider"] == {
        "only": ["azure"], "data_collection": "deny", "max_price": {"prompt": 3.0}
    }  # fmt: skip
    assert route["max_output_tokens"] == 2000
    said = {place.partition(": ")[2] for place, _ in found["not_mapped"]}
    assert {"plugins", "tools", "provider.preferred_max_latency", "~vendor/latest"} <= said
    (policy,) = specs(found, "AgentPolicy").values()
    assert (policy["enforcement"], policy["models"]) == ("observe", {"allow": ["claude-sonnet-4.5"]})


def test_litellms_models_become_routes_and_its_keys_agents(tmp_path: Path) -> None:
    """Issue 7: reads LiteLLM configuration: groups, weights, fallbacks, cooldowns, prices; keys with budgets."""
    found = imported(tmp_path, "litellm", config_yaml=CONFIG, keys_json=json.dumps(KEYS))

    routes = specs(found, "ModelRoute")
    assert routes["fast-model"]["order"] == "weighted"
    assert routes["fast-model"]["targets"][1]["prices"] == {"input": 1.25, "output": 10.0}
    assert routes["fast-model"]["cooldown"] == {"failures": 2, "seconds": 60.0}
    assert [target["model"] for target in routes["home"]["targets"]] == ["llama3", "gpt-5.1-mini", "mine"]
    policy = specs(found, "AgentPolicy")["finance-bot-models"]
    assert policy["models"] == {
        "allow": ["fast-model"], "budget": {"daily_usd": 20}, "limits": {"requests_per_minute": 60}
    }  # fmt: skip
    assert specs(found, "Agent")["finance-bot"]["team"] == "finance"
    places = " ".join(place for place, _ in found["not_mapped"])
    for word in ("model_list[3]", "model_list[4]", "rpm", "top_k", "master_key", "redis_host", "odd.max_budget"):
        assert word in places, word


def test_litellms_prices_are_taken_over_whole_or_said_to_be_missing(tmp_path: Path) -> None:
    """Half a price is an overrun: cache writes, tiers, reasoning and requests are prices, too."""
    dear = {
        "input_cost_per_token": 0.000003, "output_cost_per_token": 0.000015, "output_cost_per_reasoning_token": 2e-5,
        "cache_read_input_token_cost": 3e-7, "cache_creation_input_token_cost": 0.00000375,
        "cache_creation_input_token_cost_above_1hr": 0.000006, "input_cost_per_request": 0.01,
        "input_cost_per_token_above_200k_tokens": 0.000006, "output_cost_per_token_above_200k_tokens": 0.0000225,
        "input_cost_per_audio_token": 0.0001, "output_cost_per_token_batches": 0.000007, "input_cost_per_second": 0,
    }  # fmt: skip
    entries = [
        {"model_name": name, "litellm_params": {"model": model, "api_base": "https://x.example"}, "model_info": dear}
        for name, model in (("own", "hosted_vllm/mine"), ("listed", "anthropic/claude-sonnet-4-5"))
    ]

    found = imported(tmp_path, "litellm", config_json=json.dumps({"model_list": entries}))

    routes, noted = specs(found, "ModelRoute"), dict(found["not_mapped"])
    assert routes["own"]["targets"][0]["prices"] == {
        "input": 3.0, "output": 15.0, "reasoning": 20.0, "cache_read": 0.3, "cache_write": 3.75, "cache_write_1h": 6.0,
        "request": 0.01, "tiers": [{"above_input_tokens": 200_000, "input": 6.0, "output": 22.5}],
    }  # fmt: skip
    assert "prices" not in routes["listed"]["targets"][0]
    assert any("built-in list has claude-sonnet-4-5" in why for why in noted.values())
    unsaid = {place.rpartition(".")[2] for place, why in noted.items() if "no document has a word for this" in why}
    assert unsaid == {"input_cost_per_audio_token", "output_cost_per_token_batches"}


def test_how_much_litellms_models_think_becomes_their_targets(tmp_path: Path) -> None:
    """Reference, row 32: an alias carries it; what is no effort is said to be missing."""
    entries = [
        {"model_name": name, "litellm_params": {"model": "openai/gpt-5.1", "reasoning_effort": effort}}
        for name, effort in (("deep", "high"), ("odd", {"effort": "high"}))
    ]

    routes = specs(imported(tmp_path, "litellm", config_json=json.dumps({"model_list": entries})), "ModelRoute")

    assert routes["deep"]["targets"][0]["reasoning"] == {"effort": "high"}
    assert "reasoning" not in routes["odd"]["targets"][0]


def test_documents_are_written_where_none_is_in_the_way(tmp_path: Path) -> None:
    """Nothing is replaced without --force."""
    (tmp_path / "r.json").write_text(json.dumps(REQUEST))
    command = [str(AAM), "import", "openrouter", str(tmp_path / "r.json"), "--to", str(tmp_path / "drafts")]

    first = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    again = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert first.returncode == 0
    assert "not mapped" in first.stderr
    assert sorted(path.name for path in (tmp_path / "drafts").iterdir()) == [
        "agents.yaml", "connectors.yaml", "policies.yaml", "routes.yaml"
    ]  # fmt: skip
    assert again.returncode == 2


@pytest.mark.parametrize("text", ["{", "[1]", "a: [", "\x00"])
def test_a_file_that_is_none_is_told_so(tmp_path: Path, text: str) -> None:
    """Exit status 2: the command was used wrongly."""
    (tmp_path / "x.yaml").write_text(text)

    ran = subprocess.run([AAM, "import", "litellm", tmp_path / "x.yaml"], capture_output=True, timeout=60, check=False)

    assert ran.returncode == 2
