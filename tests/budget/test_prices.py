"""What calls cost, worked by hand; then every price of the list against genai-prices' own arithmetic."""

import contextlib
import datetime
from decimal import Decimal
from typing import Any

import genai_prices
import pytest
from genai_prices.data_snapshot import get_snapshot
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.budget import Ask, Shape, Usage, UsageUnusable, cost_of, input_bound, nanos, rates_of, usage_of, usd
from broker.budget.money import MOST
from tests.budget.conftest import known

NOW = datetime.datetime(2026, 11, 28, 12, tzinfo=datetime.UTC)
CACHED = {
    "prompt_tokens": 10_339,
    "completion_tokens": 60,
    "total_tokens": 10_399,
    "prompt_tokens_details": {"cached_tokens": 10_318},
}
REASONED = {
    "input_tokens": 75,
    "output_tokens": 1_186,
    "total_tokens": 1_261,
    "input_tokens_details": {"cached_tokens": 0},
    "output_tokens_details": {"reasoning_tokens": 1_024},
}
WRITTEN = {
    "input_tokens": 21,
    "cache_read_input_tokens": 10_318,
    "cache_creation_input_tokens": 100,
    "output_tokens": 60,
}
WRITTEN_FOR_AN_HOUR = {
    "input_tokens": 190_000,
    "cache_read_input_tokens": 40_000,
    "cache_creation_input_tokens": 20_000,
    "cache_creation": {"ephemeral_5m_input_tokens": 15_000, "ephemeral_1h_input_tokens": 5_000},
    "output_tokens": 1_000,
}
APART = {
    "prompt_tokens": 32,
    "completion_tokens": 9,
    "total_tokens": 135,
    "completion_tokens_details": {"reasoning_tokens": 94},
}
LONG = {"prompt_tokens": 200_001, "completion_tokens": 500, "total_tokens": 200_501}


@pytest.mark.parametrize(
    ("provider", "model", "shape", "said", "dollars"),
    [
        # OpenAI, cached: 21 x 2.50 + 10,318 x 1.25 + 60 x 10.00 = 52.50 + 12,897.50 + 600.00
        ("openai", "gpt-4o", "openai-chat", CACHED, "0.01355"),
        # OpenAI, reasoning: it is part of the output. 75 x 1.25 + 1,186 x 10.00 = 93.75 + 11,860.00
        ("openai", "gpt-5.1", "openai-responses", REASONED, "0.01195375"),
        # Anthropic, cached: 21 x 3.00 + 10,318 x 0.30 + 100 x 3.75 + 60 x 15.00 = 63 + 3,095.40 + 375 + 900
        ("anthropic", "claude-sonnet-4-5", "anthropic-messages", WRITTEN, "0.0044334"),
        # Anthropic, tiered: 250,000 tokens in, so every rate is that above 200,000, for all of them:
        # 190,000 x 6 + 40,000 x 0.60 + 15,000 x 7.50 + 5,000 x 12 + 1,000 x 22.50
        # = 1,140,000 + 24,000 + 112,500 + 60,000 + 22,500
        ("anthropic", "claude-sonnet-4-5", "anthropic-messages", WRITTEN_FOR_AN_HOUR, "1.359"),
        # xAI says its reasoning beside the completion: (135 - 32) x 15.00 + 32 x 3.00 = 1,545 + 96
        ("x-ai", "grok-4", "openai-chat", APART, "0.001641"),
        # Google, tiered: 200,001 x 2.50 + 500 x 15.00 = 500,002.50 + 7,500
        ("google", "gemini-2.5-pro", "openai-chat", LONG, "0.5075025"),
        # Google, just below: 200,000 x 1.25 + 500 x 10.00
        ("google", "gemini-2.5-pro", "openai-chat", {**LONG, "prompt_tokens": 200_000, "total_tokens": 0}, "0.255"),
        # Embeddings have no output
        (
            "openai",
            "text-embedding-3-small",
            "openai-embeddings",
            {"prompt_tokens": 8, "total_tokens": 8},
            "0.00000016",
        ),
    ],
)
def test_a_call_costs_what_its_provider_bills(
    provider: str, model: str, shape: Shape, said: dict[str, Any], dollars: str
) -> None:
    """Issue 7: accounting equals hand-worked figures for cached, tiered and reasoning tokens of three providers."""
    cost = known(rates_of(provider, model, NOW)).cost(usage_of(shape, said))

    assert usd(cost) == usd(nanos(Decimal(dollars)))


COUNTED = {
    *("input_mtok", "output_mtok", "output_reasoning_mtok", "requests_kcount"),
    *("cache_read_mtok", "cache_write_mtok", "cache_write_1h_mtok"),
}


def priced() -> list[tuple[str, str]]:
    """Every model of the price list that has a price of text and of nothing else that we would have to count."""
    found = []
    for provider in get_snapshot().providers:
        for model in provider.models:
            prices = {name for name, value in model.get_prices(NOW).__dict__.items() if value is not None}
            extra = prices - {"web_searches_kcount", "storage_searches_kcount"}
            if not {"input_mtok", "output_mtok"} <= extra <= COUNTED:
                continue
            if rates_of(provider.id, model.id, NOW) is None:  # a search of the web whose price is not in the list
                continue
            with contextlib.suppress(LookupError):
                if get_snapshot().find_provider_model(model.id, None, provider.id, None)[1] is model:
                    found.append((provider.id, model.id))
    return found


MODELS = priced()
PARTS = st.integers(0, 300_000)


@given(st.sampled_from(MODELS), PARTS, PARTS, PARTS, PARTS, PARTS)
@settings(max_examples=200, deadline=None)
def test_every_price_of_the_list_is_what_the_list_makes_of_it(
    which: tuple[str, str], plain: int, read: int, written: int, output: int, reasoning: int
) -> None:
    """Our arithmetic in integers against genai-prices' own in decimals: never less, and not a nano-dollar more."""
    rates = known(rates_of(*which, NOW))
    usage = Usage(plain + read + written, output + reasoning, read, written, reasoning=reasoning)
    theirs = {
        "input_tokens": usage.input,
        "output_tokens": usage.output,
        "cache_read_tokens": read,
        "cache_write_tokens": written,
    }
    if rates.tiers[0].reasoning != rates.tiers[0].output:
        theirs["output_reasoning_tokens"] = reasoning

    exact = genai_prices.calc_price(
        genai_prices.Usage(**theirs), which[1], provider_id=which[0], genai_request_timestamp=NOW
    ).total_price

    assert 0 <= Decimal(rates.cost(usage)) - exact * 10**9 < 2


@given(
    which=st.sampled_from(MODELS),
    bound=st.tuples(PARTS, PARTS),
    parts=st.tuples(*[st.floats(0, 1)] * 4),
    writes=st.sampled_from([None, "5m", "1h"]),
)
@settings(max_examples=200, deadline=None)
def test_no_usage_within_the_bound_costs_more_than_the_bound(
    which: tuple[str, str], bound: tuple[int, int], parts: tuple[float, ...], writes: Any
) -> None:
    """model-gateway.md §5.2 and §5.3: whatever is cached, written or reasoned, and whichever tier it falls into."""
    rates, ask = known(rates_of(*which, NOW)), Ask(*bound, cache_writes=writes)
    used, made = int(bound[0] * parts[0]), int(bound[1] * parts[1])
    written = int(used * parts[2])  # some providers write to their cache unasked
    hour = written if writes == "1h" else 0

    cost = rates.cost(Usage(used, made, used - written, written, hour, int(made * parts[3])))

    assert cost <= ask.bound(rates)


@pytest.mark.parametrize("tokens", [1, 3_000, 127_999, 200_001, 1_000_000])
def test_a_prompt_that_is_cached_unasked_costs_no_more_than_the_bound(tokens: int) -> None:
    """Some providers write each prompt to their cache and bill that dearer, for every model of the list."""
    for which in MODELS:
        rates = known(rates_of(*which, NOW))
        for output in (0, 1, 8_192):
            usage = Usage(tokens, output, cache_write=tokens)
            assert Ask(tokens, output).bound(rates) >= rates.cost(usage), which


@given(which=st.sampled_from(MODELS), tokens=PARTS, left=st.integers(0, 10**10), answers=st.integers(1, 4))
@settings(max_examples=200, deadline=None)
def test_what_is_affordable_fits_and_one_token_more_does_not(
    which: tuple[str, str], tokens: int, left: int, answers: int
) -> None:
    """model-gateway.md §5.5: affordable output tokens, exactly."""
    rates, ask = known(rates_of(*which, NOW)), Ask(tokens, 10**7, answers)

    fits = ask.affordable(rates, left)

    assert fits < 0 or ask.bound(rates, fits) <= left
    assert fits == 10**7 or ask.bound(rates, fits + 1) > left


def test_the_operators_prices_win_as_a_whole() -> None:
    """model-gateway.md §4: the operator's prices in the route win; nothing is filled in from the list."""
    given_ = {"input": 1.1, "output": 2, "tiers": [{"above_input_tokens": 1_000, "input": 3}], "request": 0.01}

    rates = known(rates_of("openai", "gpt-4o", NOW, given_))

    assert rates.source == "operator"
    assert rates.cost(Usage(1_000, 10, 900)) == 1_000 * 1_100 + 10 * 2_000 + 10**7
    assert rates.cost(Usage(1_001, 10)) == 1_001 * 3_000 + 10 * 2_000 + 10**7


def test_what_nobody_knows_has_no_price() -> None:
    """model-gateway.md §4: an unknown model is a look-up error, never free."""
    assert rates_of("openai", "made-up-model", NOW) is None
    assert rates_of("no-such-provider", "gpt-4o", NOW) is None
    assert not known(rates_of("openai", "text-embedding-3-small", NOW)).makes_output


@pytest.mark.parametrize(
    "model",
    ["gpt-4o-search-preview", "gpt-4o-mini-search-preview-2025-03-11", "gpt-5-search-api", "o3-deep-research"],
)
def test_a_model_that_searches_has_no_price_where_searching_has_none(model: str) -> None:
    """OpenAI bills each search beside the tokens, and the list does not say how much; Perplexity's it does say."""
    assert rates_of("openai", model, NOW) is None
    assert known(rates_of("openai", model, NOW, {"input": 1, "output": 2, "request": 0.03})).request == 30_000_000
    assert known(rates_of("perplexity", "sonar", NOW)).request > 0


def test_a_price_is_that_of_its_moment() -> None:
    """Prices have dates: o3 became cheaper on 2025-06-10."""
    before = datetime.datetime(2025, 6, 9, 23, tzinfo=datetime.UTC)
    ask = Usage(1_000_000, 0)

    assert usd(known(rates_of("openai", "o3", before)).cost(ask)) == "10.00"
    assert usd(known(rates_of("openai", "o3", NOW)).cost(ask)) == "2.00"


def test_openrouters_own_cost_is_the_cost() -> None:
    """model-gateway.md §7: settle from usage.cost; of a key of one's own, with what the provider bills."""
    own = {"cost": 0.00095, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.019}}

    assert cost_of({"cost": 0.0009}) == 900_000
    assert cost_of({"cost": 1e-10}) == 1
    assert cost_of(own) == 950_000
    assert cost_of(own, with_upstream=True) == 19_950_000
    assert cost_of({"prompt_tokens": 3}) is None
    assert cost_of({"cost": 1e300}) == MOST


@pytest.mark.parametrize("cost", [-1, "free", True, float("nan"), float("inf"), [1]])
def test_a_cost_that_is_none_is_not_believed(cost: Any) -> None:
    """An upstream that lies does not make a call cheaper."""
    with pytest.raises(UsageUnusable):
        cost_of({"cost": cost})


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ("openai-chat", None),
        ("openai-chat", {}),
        ("openai-chat", {"prompt_tokens": 10}),
        ("openai-chat", {"prompt_tokens": -10, "completion_tokens": 1}),
        ("openai-chat", {"prompt_tokens": 10, "completion_tokens": True}),
        ("openai-chat", {"prompt_tokens": 10.5, "completion_tokens": 1}),
        ("openai-chat", {**CACHED, "prompt_tokens_details": {"cached_tokens": 10_340}}),
        ("openai-responses", {**REASONED, "output_tokens_details": {"reasoning_tokens": 1_187}}),
        ("anthropic-messages", {**WRITTEN, "cache_creation": {"ephemeral_1h_input_tokens": 101}}),
        ("anthropic-messages", {**WRITTEN, "output_tokens": 10**13}),
    ],
)
def test_usage_that_contradicts_itself_is_not_believed(shape: Shape, said: Any) -> None:
    """Issue 7: upstreams that omit usage or lie; such a call costs its bound."""
    with pytest.raises(UsageUnusable):
        usage_of(shape, said)


@given(st.text())
def test_a_prompt_has_no_more_tokens_than_its_bound(text: str) -> None:
    """model-gateway.md §5.2: never more tokens than UTF-8 bytes."""
    assert input_bound(text, 0, 0) >= len(text.encode())


def test_text_that_a_tokenizer_writes_out_is_bounded_as_written_out() -> None:
    """One sign of three bytes may be eighteen letters to a tokenizer that normalises: an agent could choose it."""
    assert input_bound("\ufdfa" * 100, 0, 0) >= 100 * 33
    assert input_bound("\\ufdfa" * 100, 0, 0) >= 100 * 33


def test_money_is_exact_and_rounded_against_the_spender() -> None:
    """Issue 7: integers of nano-dollars; ceil at reserve."""
    assert (nanos(Decimal("0.0000000001")), nanos(Decimal("1.5"))) == (1, 1_500_000_000)
    assert (usd(1_500_000_000), usd(1), usd(0), usd(-2_500_000)) == ("1.50", "0.000000001", "0.00", "-0.0025")
