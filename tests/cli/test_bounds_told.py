"""What bound a call is told in words, from its record."""

from broker.cli.bounds import bound_words
from broker.pipeline.records import decided
from tests.support.policies import decide, policy

READ = {"resource": "crm.accounts", "actions": ["read"]}


def test_everything_that_binds_a_call_is_told() -> None:
    """Issue 4: the decided record carries scope, obligations and limits; `aam trail show` says them."""
    rule = {
        **READ, "fields": ["Name"], "max_records": 5, "filter": "Owner.Email = :on_behalf_of.email", "mask": ["Phone"],
        "redact": ["Notes"], "max_bytes": 1000, "limits": {"calls_per_day": 9, "concurrent": 2}, "approval": {},
    }  # fmt: skip

    told = list(bound_words(dict(decided("a", decide(policy(rule)), "f" * 64)["policy"])))

    assert told == [
        "only the fields Name",
        "5 records at most",
        "only where Owner.Email = … (the values are not recorded)",
        "masked: Phone",
        "taken off: Notes",
        "1000 bytes at most",
        "9 calls a day, by p0",
        "2 calls at once, by p0",
        "approved by approver",
    ]


def test_nothing_is_told_of_a_call_that_nothing_bound() -> None:
    """A story of one line stays one line."""
    assert list(bound_words(dict(decided("a", decide(policy(READ)))["policy"]))) == []
