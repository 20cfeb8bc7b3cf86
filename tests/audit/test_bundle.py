import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.audit import Report
from broker.audit.check import check
from tests.support.evidence import Log, contents, flipped, packed, re_signed, unpacked

Files = dict[str, bytes]
Check = Callable[[Files], Report]


def made(place: Path) -> tuple[Log, Files]:
    """Write a bundle that has everything: a rotation, pruned records, a filter, proofs, and one before it."""
    log = Log().grown(20)
    before = log.checkpoint()
    log.rotate()
    log.prune(3, 9)
    log.grown(30)
    file = log.bundle(place / "made.zip", {1, 4, 20, 25}, previous=(before, "ab" * 32), agent="one")
    return log, contents(file)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lend a directory."""
    return tmp_path_factory.mktemp("bundles")


@pytest.fixture(scope="module")
def bundle(place: Path) -> tuple[Log, Files]:
    """Lend a log, and the files of a bundle of it."""
    return made(place)


@pytest.fixture(scope="module")
def log(bundle: tuple[Log, Files]) -> Log:
    """Lend the log."""
    return bundle[0]


@pytest.fixture
def files(bundle: tuple[Log, Files]) -> Files:
    """Lend the files, to be changed."""
    return dict(bundle[1])


@pytest.fixture(scope="module")
def checked(place: Path, log: Log) -> Check:
    """Check files as a zip, with the log's first key."""

    def checked(files: Files) -> Report:
        try:
            return check(packed(files, place / "checked.zip"), [log.keys[0].key])
        except ValueError as error:
            return Report().fail(None, str(error))

    return checked


NAMES = {
    "records.jsonl",
    "checkpoint",
    "log.vkey",
    "previous-checkpoint",
    "consistency",
    *(f"proofs/{seq}.tlog-proof" for seq in (1, 20, 25)),
    "HOW-TO-CHECK.md",
    "manifest.json",
    "manifest.note",
}


def test_a_bundle_holds_as_a_zip_and_as_a_directory(log: Log, files: Files, tmp_path: Path) -> None:
    """Issue 3: records, proofs, checkpoints, consistency with the bundle before, keys, manifest, and how to check."""
    file = packed(files, tmp_path / "bundle.zip")

    as_zip = check(file, [log.keys[0].key])
    as_directory = check(unpacked(file, tmp_path / "unpacked"), [log.keys[0].key])

    assert set(files) == NAMES
    assert as_zip.holds
    assert as_zip == as_directory
    assert any("grew out of the head of 20 records" in sentence for sentence in as_zip.proved)
    assert any("3 records have a proof of their own" in sentence for sentence in as_zip.proved)
    assert any("filter is the one that the signed manifest names" in sentence for sentence in as_zip.proved)


def test_the_newest_key_alone_is_enough_and_what_it_leaves_open_is_said(log: Log, files: Files, tmp_path: Path) -> None:
    """Issue 3: rotating keeps old records verifiable; an older key signed the head of the bundle before."""
    report = check(packed(files, tmp_path / "bundle.zip"), [log.key])

    assert report.holds
    assert any(f"Whose key {log.keys[0].key.key_id.hex()} is" in sentence for sentence in report.open)


@given(st.data())
@settings(max_examples=200)
def test_a_changed_byte_in_any_file_is_found(checked: Check, bundle: tuple[Log, Files], data: st.DataObject) -> None:
    """Issue 3: nothing in a bundle can be changed unnoticed."""
    files = bundle[1]
    name = data.draw(st.sampled_from(sorted(files)))
    position = data.draw(st.integers(0, len(files[name]) - 1))

    assert not checked(files | {name: flipped(files[name], position, data.draw(st.integers(1, 255)))}).holds


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(NAMES))
def test_no_file_can_be_changed_unnoticed(checked: Check, files: Files, name: str) -> None:
    """Issue 3, without chance: every seventh byte of every file, each with another bit."""
    for position in range(0, len(files[name]), 7):
        assert not checked(files | {name: flipped(files[name], position, 1 << position % 8)}).holds


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_file_that_is_missing_emptied_cut_or_renamed_is_found(checked: Check, files: Files, name: str) -> None:
    """bundle.py: every file is one of the manifest's, and every one of the manifest's is there."""
    content = files.pop(name)

    for wrong in ({}, {name: b""}, {name: content[:-1]}, {name: content + b"\n"}, {f"{name}.bak": content}):
        assert not checked(files | wrong).holds


@pytest.mark.parametrize("name", ["more", "records.jsonl~", "proofs/2.tlog-proof", "../more", "/more", "proofs/a/b"])
def test_a_file_that_the_manifest_does_not_name_is_found(checked: Check, files: Files, name: str) -> None:
    """bundle.py: nothing may be added."""
    report = checked(files | {name: b"more"})

    assert not report.holds
    assert name in str(report.problem)


@pytest.mark.parametrize(
    "name", ["../more", "/more", "..", "proofs/../more", "a\\b", "a//b", ".more", "a\x1bb", "a/b/c"]
)
def test_a_manifest_may_not_name_a_path_that_climbs(checked: Check, log: Log, files: Files, name: str) -> None:
    """bundle.py: signed or not, whoever unpacks a bundle that holds finds its files below one directory."""
    report = checked(re_signed(log, files | {name: b"more"}))

    assert not report.holds
    assert "not a name for a file" in str(report.problem)


def test_a_name_that_stands_in_the_archive_twice_is_found(log: Log, files: Files, tmp_path: Path) -> None:
    """files.py: another program might read the other one."""
    file = packed(files, tmp_path / "bundle.zip")
    with zipfile.ZipFile(file, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("records.jsonl", b"other records")

    with pytest.raises(ValueError, match="twice"):
        check(file, [log.key])


def test_an_archive_that_was_cut_anywhere_is_found(log: Log, files: Files, tmp_path: Path) -> None:
    """files.py: a bundle that was not received whole is none."""
    whole = packed(files, tmp_path / "bundle.zip").read_bytes()

    for length in range(0, len(whole), 211):
        (tmp_path / "cut.zip").write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"."):
            check(tmp_path / "cut.zip", [log.key])


@given(st.data())
@settings(max_examples=150)
def test_a_damaged_archive_is_refused_and_never_crashes_the_verifier(
    place: Path, bundle: tuple[Log, Files], data: st.DataObject
) -> None:
    """files.py: it holds, if what was damaged is no file's content, or is refused; nothing else happens."""
    log, files = bundle
    whole = packed(files, place / "whole.zip").read_bytes()
    position = data.draw(st.integers(0, len(whole) - 1) | st.integers(len(whole) - 1500, len(whole) - 1))
    (place / "damaged.zip").write_bytes(flipped(whole, position, data.draw(st.integers(1, 255))))

    try:
        report = check(place / "damaged.zip", [log.key])
    except ValueError:
        return
    assert not report.holds or contents(place / "damaged.zip") == files


def test_an_archive_whose_files_would_begin_before_it_is_refused(log: Log, files: Files, tmp_path: Path) -> None:
    """files.py: the offset of the central directory is a claim like any other (APPNOTE §4.3.16)."""
    raw = bytearray(packed(files, tmp_path / "bundle.zip").read_bytes())
    at = raw.rindex(b"PK\x05\x06") + 16
    raw[at : at + 4] = (int.from_bytes(raw[at : at + 4], "little") + 1_000_000).to_bytes(4, "little")
    (tmp_path / "early.zip").write_bytes(raw)

    with pytest.raises(ValueError, match="damaged"):
        check(tmp_path / "early.zip", [log.key])


def test_an_encrypted_archive_is_refused(log: Log, files: Files, tmp_path: Path) -> None:
    """files.py: the flag says so, in both headers of the first file."""
    raw = bytearray(packed(files, tmp_path / "bundle.zip").read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = -1
        while (at := raw.find(signature, at + 1)) >= 0:
            raw[at + offset] |= 1
    (tmp_path / "encrypted.zip").write_bytes(raw)

    with pytest.raises(ValueError, match="cannot be read"):
        check(tmp_path / "encrypted.zip", [log.key])


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_way_to_compress_that_bundles_do_not_use_is_refused(
    log: Log, files: Files, tmp_path: Path, method: int
) -> None:
    """files.py: fewer ways for an archive to surprise."""
    with zipfile.ZipFile(tmp_path / "bundle.zip", "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)

    with pytest.raises(ValueError, match="compressed in a way"):
        check(tmp_path / "bundle.zip", [log.key])


def test_a_zip64_archive_and_folders_in_it_are_read(log: Log, files: Files, tmp_path: Path) -> None:
    """files.py: large bundles are zip64; other programs add entries for folders."""
    with zipfile.ZipFile(tmp_path / "bundle.zip", "w") as archive:
        archive.writestr("proofs/", b"")
        for name, content in files.items():
            with archive.open(name, "w", force_zip64=True) as file:
                file.write(content)

    assert check(tmp_path / "bundle.zip", [log.key]).holds


def test_a_zip_behind_something_else_is_no_bundle(log: Log, files: Files, tmp_path: Path) -> None:
    """check.py: what a reader sees first is what is checked."""
    whole = packed(files, tmp_path / "bundle.zip").read_bytes()
    (tmp_path / "both").write_bytes(log.export() + whole)

    report = check(tmp_path / "both", [log.key])

    assert not report.holds


def test_a_file_that_is_too_large_is_not_read(checked: Check, log: Log, files: Files) -> None:
    """files.py: a few kilobytes that unpack into gigabytes do not fill the verifier's memory."""
    huge = b" " * (1 << 24) + b"\n"
    signed = re_signed(log, files | {"previous-checkpoint": huge})

    for name, wrong in (("manifest.json", files | {"manifest.json": huge}), ("previous-checkpoint", signed)):
        assert f"{name} is larger than" in str(checked(wrong).problem)


def test_a_link_in_a_directory_is_not_followed(log: Log, files: Files, tmp_path: Path) -> None:
    """files.py: the same bytes behind a link are not the bundle's; they could be others tomorrow."""
    directory = unpacked(packed(files, tmp_path / "bundle.zip"), tmp_path / "unpacked")
    (directory / "checkpoint").rename(tmp_path / "elsewhere")
    (directory / "checkpoint").symlink_to(tmp_path / "elsewhere")

    assert not check(directory, [log.key]).holds


def test_a_linked_folder_in_a_directory_is_found(log: Log, files: Files, tmp_path: Path) -> None:
    """files.py: as a file that the manifest does not name."""
    directory = unpacked(packed(files, tmp_path / "bundle.zip"), tmp_path / "unpacked")
    (tmp_path / "elsewhere").mkdir()
    (directory / "more").symlink_to(tmp_path / "elsewhere")

    assert not check(directory, [log.key]).holds


def test_a_bundle_of_nothing_is_none(log: Log, tmp_path: Path) -> None:
    """check.py: an archive or directory without a manifest is no evidence."""
    packed({}, tmp_path / "empty.zip")
    (tmp_path / "empty").mkdir()

    for name in ("empty.zip", "empty"):
        with pytest.raises(ValueError, match=r"no manifest\.json|without a manifest\.json"):
            check(tmp_path / name, [log.key])


def test_a_first_bundle_says_that_it_names_none_before(tmp_path: Path) -> None:
    """bundle.py: an absence proves nothing."""
    log = Log().grown(9)

    report = check(log.bundle(tmp_path / "first.zip"), [log.key])

    assert report.holds
    assert any("this one names none" in sentence for sentence in report.open)


@given(st.binary(max_size=300))
def test_any_bytes_in_a_zips_clothes_are_refused(place: Path, content: bytes) -> None:
    """check.py: `ValueError` and nothing else."""
    (place / "any.zip").write_bytes(b"PK" + content)

    with pytest.raises(ValueError, match=r"."):
        check(place / "any.zip")
