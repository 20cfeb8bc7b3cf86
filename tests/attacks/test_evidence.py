"""Whoever can write everything but the signing key: nothing false is said to be proved."""

import base64
import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from broker.audit import Checkpoint, LogKey, RecordProof, Report, Statement, VerifierKey, leaf_hash, verify
from broker.audit.check import check
from broker.audit.checkpoint import endorsement_text
from broker.audit.verify import OWN_FILTER, OWN_KEY, UNSIGNED
from broker.audit.verify_proof import verify_proof
from tests.support.evidence import LOG, Log, contents, packed, re_signed, unpacked, written

Check = Callable[[bytes], Report]


@dataclasses.dataclass
class Forger(Log):
    """Writes another history under the same name, with keys of its own."""

    def _private(self, number: int) -> Any:
        return super()._private(number + 100)


@pytest.fixture(scope="module")
def log() -> Log:
    """Make the log that is attacked: twelve records, then a rotation, then twelve more."""
    log = Log().grown(12)
    log.rotate()
    return log.grown(24)


@pytest.fixture
def forged() -> Log:
    """Make a history that never was."""
    forged = Forger()
    forged.add(note="a better history")
    return forged.grown(24)


@pytest.fixture
def first(log: Log) -> VerifierKey:
    """Lend the key that the auditor has: the first."""
    return log.keys[0].key


def says(report: Report) -> str:
    """Return what a report says is proved."""
    return " ".join(report.proved)


def test_another_history_under_the_same_name_is_refused_by_the_key(forged: Log, first: VerifierKey) -> None:
    """With --key, a head must be signed by it, or by one that it endorses."""
    report = verify(forged.lines(), forged.statement(), [first])

    assert not report.holds
    assert first.name == forged.key.name
    assert "none of the keys that are trusted has signed it" in str(report.problem)


def test_without_a_key_another_history_holds_and_the_report_says_why_that_is_little(forged: Log) -> None:
    """Without --key, nobody can know: the report says that the export named its own key, or none."""
    unsigned = dataclasses.replace(forged.statement(), checkpoint="", keys=())

    assert OWN_KEY in verify(forged.lines(), forged.statement()).open
    assert UNSIGNED in verify(forged.lines(), unsigned).open


def test_a_signature_cannot_be_dropped_to_have_none_checked(log: Log, first: VerifierKey) -> None:
    """A head that names keys, or is held against one, is signed."""
    stated = log.statement()

    assert not verify(log.lines(), dataclasses.replace(stated, checkpoint="")).holds
    assert not verify(log.lines(), dataclasses.replace(stated, checkpoint="", keys=()), [first]).holds
    assert not verify(log.lines(), dataclasses.replace(stated, keys=())).holds


def forged_keys(log: Log, forged: Log) -> Iterator[tuple[LogKey, ...]]:
    """Yield chains of keys that end in the forger's."""
    first, second = log.keys
    endorsed = endorsement_text(LOG, forged.key)
    yield (first, second, forged.keys[0])
    yield (first, LogKey(forged.key, second.endorsement))
    yield (first, LogKey(forged.key, log.checkpoint(12, 0)))
    yield (first, LogKey(forged.key, forged.sign(endorsed)))
    yield (first, LogKey(forged.key, f"{endorsed}\n{(second.endorsement or '').partition(chr(10) * 2)[2]}"))
    yield (forged.keys[0], LogKey(first.key, forged.sign(endorsement_text(LOG, first.key))))
    yield (first, second, first, forged.keys[0])
    yield (forged.keys[0],)


@pytest.mark.parametrize("which", range(8))
def test_a_forgers_key_is_not_endorsed_by_a_real_one(log: Log, forged: Log, first: VerifierKey, which: int) -> None:
    """An endorsement cannot be moved, made of another signature, or turned round."""
    chain = list(forged_keys(log, forged))[which]

    for trusted in (first, log.key):
        assert not verify(forged.lines(), dataclasses.replace(forged.statement(), keys=chain), [trusted]).holds


def test_a_key_that_was_replaced_vouches_for_nothing_once_the_newest_is_the_one_given(log: Log, forged: Log) -> None:
    """A stolen old key can endorse and sign; the auditor who gives the newest key does not believe it."""
    stolen = Log().grown(3)
    endorsement = stolen.sign(endorsement_text(LOG, forged.key), 0)
    chain = (log.keys[0], LogKey(forged.key, endorsement))
    fork = dataclasses.replace(forged.statement(), keys=chain)

    assert verify(forged.lines(), fork, [log.keys[0].key]).holds  # docs/threat-model.md: a signing key that is stolen
    assert not verify(forged.lines(), fork, [log.key]).holds
    assert not verify(
        log.lines(), dataclasses.replace(log.statement(), checkpoint=log.checkpoint(24, 0)), [log.key]
    ).holds


def test_a_head_of_another_log_with_the_same_key_pair_is_of_that_log(first: VerifierKey) -> None:
    """One key pair for two logs: the signature line may say either name, and the head says which log it is."""
    other = Log("access.example.com/log/staging").grown(24)
    note, line = other.checkpoint().partition("\n\n")[::2]
    as_first = f"— {first.name} {base64.b64encode(first.key_id + base64.b64decode(line.split()[2])[4:]).decode()}\n"
    stated = dataclasses.replace(other.statement(), checkpoint=f"{note}\n\n{as_first}")

    assert first.public == other.key.public
    assert not verify(other.lines(), stated, [first]).holds
    assert not verify(other.lines(), dataclasses.replace(stated, keys=(LogKey(first),))).holds
    assert not verify_proof(other.proof(3).text(), [first]).holds


def test_what_was_signed_for_one_purpose_is_nothing_else(log: Log, tmp_path: Path) -> None:
    """Checkpoints, endorsements and manifests are signed by one key, and none reads as another."""
    manifest = contents(log.bundle(tmp_path / "bundle.zip"))["manifest.note"].decode()
    notes = {"checkpoint": log.checkpoint(), "endorsement": log.keys[1].endorsement or "", "manifest": manifest}

    for name, note in notes.items():
        stated = dataclasses.replace(log.statement(), checkpoint=note)
        assert verify(log.lines(), stated, [log.keys[0].key]).holds is (name == "checkpoint")


@pytest.mark.parametrize("member", ["log", "size", "root"])
def test_a_statement_may_not_differ_from_the_signed_head(log: Log, first: VerifierKey, member: str) -> None:
    """The checkpoint is what counts: the same records under another name, size or root are refused."""
    other: dict[str, Any] = {"log": "access.example.com/log/other", "size": 23, "root": "f" * 64}

    for trusted in ([first], []):
        stated = dataclasses.replace(log.statement(), **{member: other[member]})
        assert not verify(log.lines()[: stated.size], stated, trusted).holds


def test_an_older_head_hides_the_tail_from_nobody_who_holds_a_newer_one(log: Log, first: VerifierKey) -> None:
    """A head of the past is true, and says how far it reaches; a newer one that is held is said not to be compared."""
    old = Log().grown(12)

    report = verify(old.lines(), old.statement(), [first], [kept(log)])

    assert report.holds
    assert "12 records" in says(report)
    assert any("The head of 24 records that you hold was not compared" in sentence for sentence in report.open)


def kept(log: Log) -> Checkpoint:
    """Return the head of a log as somebody keeps it."""
    return Checkpoint(log.name, len(log.bodies), log.head.root())


def test_a_record_cannot_be_hidden_behind_a_filter(log: Log, first: VerifierKey) -> None:
    """A plain export's filter is nobody's word: it is said, and never that the export is complete."""
    hidden = written(log.statement(agent="nobody"), log.lines(set(range(24)) - {7}))
    stated = Statement.parse(hidden.splitlines()[0])

    report = verify(hidden.splitlines()[1:], stated, [first])

    assert report.holds
    assert "complete" not in says(report)
    assert OWN_FILTER in report.open
    assert any("1 other records" in sentence and "agent=nobody" in sentence for sentence in report.open)


def test_a_record_cannot_be_hidden_as_pruned(log: Log, first: VerifierKey) -> None:
    """A gap that says "pruned" needs a record of it; behind a filter, the report does not claim that there is one."""
    lines = [*log.lines()[:7], log.gap(7, 8, "pruned"), *log.lines()[8:]]

    assert verify(lines, log.statement(), [first]).first_bad == 7
    report = verify(lines, log.statement(agent="nobody"), [first])
    assert report.holds
    assert not any("the pruning is on record" in sentence for sentence in report.open)


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        (b'"seq":7', b'"seq":7,"seq":7'),
        (b'"seq":7', b'"seq":7.0'),
        (b'"seq":7', b'"seq":07'),
        (b'"seq":7', b'"seq":7e0'),
        (b'"seq":7', b'"seq":-0'),
        (b'"seq":7', b'"seq": 7'),
        (b"number 7", b"number \\u0037"),
        (b'{"kind"', b'{"gap":1,"kind"'),
        (b'{"kind"', b'{"kind":"other","kind"'),
    ],
)
def test_a_record_that_another_reader_would_read_otherwise_is_refused(
    was: bytes, becomes: bytes, first: VerifierKey
) -> None:
    """Even sealed and signed: duplicate keys, other numbers and escapes are not how records are written."""
    log = Log().grown(8)
    log.bodies[7] = log.bodies[7].replace(was, becomes)
    head = Log().grown(7).head.append(leaf_hash(log.bodies[7]))
    log.head = head

    report = verify(log.bodies, log.statement(), [first])

    assert becomes in log.bodies[7]
    assert (report.holds, report.first_bad) == (False, 7)


def test_a_log_of_no_records_proves_no_records(first: VerifierKey) -> None:
    """A signed head of size 0 says nothing about any record."""
    empty = Log()

    assert "0 records" in says(verify([], empty.statement(), [first]))
    assert not verify([Log().grown(1).bodies[0]], empty.statement(), [first]).holds


def bundles(log: Log, tmp_path: Path) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Return a bundle of everything, and one of a selection, of one head."""
    whole = contents(log.bundle(tmp_path / "whole.zip"))
    return whole, contents(log.bundle(tmp_path / "few.zip", {3, 9}, agent="one"))


def test_files_of_one_bundle_do_not_fit_another(log: Log, first: VerifierKey, tmp_path: Path) -> None:
    """Each is signed whole: a file of another, though true, is refused."""
    whole, few = bundles(log, tmp_path)

    for name in sorted(set(whole) | set(few)):
        mixed = {one: content for one, content in whole.items() if one != name}
        mixed |= {name: few[name]} if name in few else {}
        if mixed == whole:
            continue
        assert not check(packed(mixed, tmp_path / "mixed.zip"), [first]).holds


def insiders(log: Log, whole: dict[str, bytes], few: dict[str, bytes]) -> dict[str, dict[str, bytes]]:
    """Return bundles whose manifests were signed, though they are wrong: by an operator who asked the broker to."""
    other = Log().grown(24)
    swapped = few | {"proofs/3.tlog-proof": few["proofs/9.tlog-proof"]}
    foreign = RecordProof.parse(few["proofs/3.tlog-proof"].decode())
    elsewhere = dataclasses.replace(foreign, record=log.bodies[9])
    return {
        "counts": re_signed(log, whole, records=23),
        "gaps": re_signed(log, whole, gaps=1),
        "filter": re_signed(log, whole, filter={"agent": "one"}),
        "size": re_signed(log, whole, root="f" * 64),
        "log": re_signed(log, whole, log="other") | {"manifest.note": whole["manifest.note"]},
        "keys": re_signed(log, whole | {"log.vkey": f"{Forger().key}\n".encode()}),
        "checkpoint": re_signed(log, whole | {"checkpoint": log.checkpoint(12).encode()}),
        "proofs swapped": re_signed(log, swapped),
        "a record elsewhere": re_signed(log, few | {"proofs/3.tlog-proof": elsewhere.text().encode()}),
        "a proof without a record": re_signed(
            log, few | {"proofs/3.tlog-proof": dataclasses.replace(foreign, record=None).text().encode()}
        ),
        "another head's proof": re_signed(log, few | {"proofs/3.tlog-proof": other.proof(3, 20).text().encode()}),
        "a bundle before that is not there": re_signed(log, whole, previous_manifest_sha256="ab" * 32),
        "another history before": re_signed(
            log,
            whole | {"previous-checkpoint": forked(12).checkpoint().encode(), "consistency": b""},
            previous_manifest_sha256="ab" * 32,
        ),
    }


def forked(size: int) -> Log:
    """Make another history with the real key."""
    log = Log()
    log.add(note="another beginning")
    return log.grown(size)


def test_a_manifest_that_says_other_than_the_records_is_refused_though_it_is_signed(
    log: Log, first: VerifierKey, tmp_path: Path
) -> None:
    """The broker signs the manifest that an operator's command has made; what it says is checked all the same."""
    whole, few = bundles(log, tmp_path)

    assert check(packed(re_signed(log, whole), tmp_path / "same.zip"), [first]).holds
    for name, files in insiders(log, whole, few).items():
        report = check(packed(files, tmp_path / "inside.zip"), [first])
        assert not report.holds, name
        assert not report.proved


def test_a_bundle_of_another_history_than_the_head_that_is_held_is_refused(first: VerifierKey, tmp_path: Path) -> None:
    """The log's own key has signed two histories: whoever kept a head of one is not shown the other."""
    fork = forked(12)
    before = fork.checkpoint()
    later = fork.grown(30)
    file = later.bundle(tmp_path / "fork.zip", {20}, previous=(before, "ab" * 32), agent="one")

    assert check(file, [first]).holds
    held = kept(Log().grown(12))
    assert "that you hold" in str(check(file, [first], [held]).problem)


def test_a_manifest_with_a_name_in_it_twice_is_refused(log: Log, first: VerifierKey, tmp_path: Path) -> None:
    """Another reader of JSON might take the other one; so there is one way of writing it."""
    whole, _ = bundles(log, tmp_path)
    doubled = whole["manifest.json"].replace(b'"files": {', b'"files": {},\n  "files": {')
    signed = re_signed(log, whole)
    note = log.sign(signed["manifest.note"].decode().partition("\n\n")[0].rsplit("\n", 1)[0] + f"\n{sha256(doubled)}\n")

    report = check(packed(whole | {"manifest.json": doubled, "manifest.note": note.encode()}, tmp_path / "d"), [first])

    assert "is not the manifest of a bundle" in str(report.problem)


def sha256(content: bytes) -> str:
    """Return a digest."""
    return hashlib.sha256(content).hexdigest()


def test_a_proof_moved_to_another_place_or_record_is_refused(log: Log, first: VerifierKey) -> None:
    """A tlog-proof binds the record, its number and the head."""
    proof, newest = log.proof(3), [log.key]
    wrong = [
        dataclasses.replace(proof, index=4),
        dataclasses.replace(proof, record=log.bodies[4]),
        dataclasses.replace(proof, record=json.dumps(json.loads(log.bodies[3])).encode()),
        dataclasses.replace(proof, record=b"[" * 60_000),
        dataclasses.replace(proof, record=None),
        dataclasses.replace(proof, path=proof.path[::-1]),
        dataclasses.replace(proof, path=()),
        dataclasses.replace(proof, checkpoint=log.checkpoint(12, 0)),
        dataclasses.replace(proof, checkpoint=forked(24).checkpoint()),
        dataclasses.replace(proof, checkpoint=Forger().grown(24).checkpoint()),
    ]

    assert verify_proof(proof.text(), newest).holds
    for one in wrong:
        assert not verify_proof(one.text(), newest).holds
    assert not verify_proof(proof.text(), [first]).holds  # a proof names no keys, so it endorses none


def test_a_proof_is_held_against_the_head_that_the_auditor_holds(log: Log) -> None:
    """`--head` with a proof is never passed over in silence."""
    proof = log.proof(3).text()
    same, other, older = kept(log), kept(forked(24)), kept(Log().grown(12))

    assert "It is the head of 24 records that you hold." in verify_proof(proof, [log.key], [same]).proved
    assert not verify_proof(proof, [log.key], [other]).holds
    assert any("12 records that you hold" in said for said in verify_proof(proof, [log.key], [older]).open)
    assert not verify_proof(proof, [log.key], [dataclasses.replace(same, origin="example.com/other")]).holds


def test_an_unpacked_bundle_is_checked_as_it_lies_there(log: Log, first: VerifierKey, tmp_path: Path) -> None:
    """A directory that somebody else can write is no better than a zip: each file counts."""
    directory = unpacked(log.bundle(tmp_path / "bundle.zip"), tmp_path / "unpacked")
    records = directory / "records.jsonl"
    records.write_bytes(records.read_bytes().replace(b"number 5", b"number 6"))

    report = check(directory, [first])

    assert (report.holds, report.first_bad) == (False, 5)
