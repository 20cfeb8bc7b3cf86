import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.testing.salesforce.ids import ALPHABET, full_id, parse_id, record_id

SHORT_IDS = st.text(alphabet=ALPHABET, min_size=15, max_size=15)


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ("001D000000IqhSL", "001D000000IqhSLIAZ"),  # REST API Developer Guide, Create a Record
        ("00300000003T2PG", "00300000003T2PGAA0"),  # Salesforce Help, article 000387915
        ("000000000000000", "000000000000000AAA"),
        ("ZZZZZZZZZZZZZZZ", "ZZZZZZZZZZZZZZZ555"),
    ],
)
def test_the_suffix_is_the_one_that_salesforce_computes(short: str, full: str) -> None:
    """Salesforce's own examples of short and full Ids agree."""
    assert full_id(short) == full


@settings(deadline=None)
@given(short=SHORT_IDS)
def test_short_and_full_forms_name_the_same_record(short: str) -> None:
    """Both forms of any Id are read as one."""
    assert parse_id(short) == parse_id(full_id(short)) == full_id(short)


@settings(deadline=None)
@given(short=SHORT_IDS, place=st.integers(0, 14))
def test_a_full_id_with_a_letter_of_the_wrong_case_is_none(short: str, place: int) -> None:
    """The suffix guards the case, which is what it is for."""
    swapped = short[:place] + short[place].swapcase() + short[place + 1 :]

    parsed = parse_id(swapped + full_id(short)[15:])

    assert (parsed is None) == (swapped != short)


@pytest.mark.parametrize(
    "text", ["", "foo", "-1", "001XXXXXXXXXXXXXXX", "001D000000IqhS", "001D000000IqhS/", "001" * 7]
)
def test_what_has_not_the_shape_of_an_id_is_none(text: str) -> None:
    """Length, characters and suffix all count."""
    assert parse_id(text) is None


def test_ids_of_later_records_sort_after_those_of_earlier_ones() -> None:
    """Walking by Id, as connectors do, is walking in order of creation."""
    identifiers = [record_id("001", number) for number in range(0, 10_000_000, 99_991)]

    assert identifiers == sorted(identifiers)
