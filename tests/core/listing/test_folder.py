"""Rules of `core.listing.folder`: collisions, bounds and counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rangefs.core.entries import Kind
from rangefs.core.listing import folder
from rangefs.core.listing.folder import FolderBuilder
from rangefs.errors import TooLarge


@pytest.mark.parametrize("file_first", [True, False])
def test_a_folder_wins_over_a_file_of_its_name(file_first: bool) -> None:
    builder = FolderBuilder()
    adds = [(Kind.FILE, b"data"), (Kind.FOLDER, b"data/")]
    for kind, key in adds if file_first else reversed(adds):
        builder.add(b"data", kind, key)
    listing = builder.build()
    assert listing.by_name[b"data"].key == b"data/"
    assert listing.by_name[b"%%+data"].key == b"data"
    assert (listing.escaped, listing.refused) == (1, 0)


def test_of_two_files_the_first_wins_and_the_other_is_counted() -> None:
    builder = FolderBuilder()
    builder.add(b"a b", Kind.FILE, b"a%20b", size=1)
    builder.add(b"a b", Kind.FILE, b"a b", size=2)
    listing = builder.build()
    assert [entry.size for entry in listing.entries] == [1]
    assert listing.refused == 1


def test_the_same_key_twice_is_one_entry() -> None:
    builder = FolderBuilder()
    builder.add(b"a", Kind.FILE, b"a")
    builder.add(b"a", Kind.FILE, b"a")
    assert builder.build().refused == 0


def test_impossible_numbers_are_unknown() -> None:
    builder = FolderBuilder()
    builder.add(b"a", Kind.FILE, b"a", size=2**63, mtime_ns=2**63, mtime_precision_ns=5)
    builder.add(b"b", Kind.FILE, b"b", size=-1)
    builder.add(b"c", Kind.FOLDER, b"c/", size=4096)
    assert [(entry.size, entry.mtime_ns, entry.mtime_precision_ns) for entry in builder.build().entries] == [
        (None, None, 0)
    ] * 3


def test_more_entries_than_the_cap_are_refused_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "MAX_ENTRIES", 2)
    builder = FolderBuilder()
    builder.add(b"a", Kind.FILE, b"a")
    builder.add(b"b", Kind.FILE, b"b")
    with pytest.raises(TooLarge):
        builder.add(b"c", Kind.FILE, b"c")


RAW_NAMES = st.sampled_from([b"", b".", b"..", b"a", b"a/b", b"%%+a", b"%%a", b"\0", b"x" * 256])


@given(st.lists(st.tuples(RAW_NAMES, st.sampled_from(Kind), st.integers(0, 3)), max_size=30))
def test_no_entry_is_lost_without_being_counted(adds: list[tuple[bytes, Kind, int]]) -> None:
    builder = FolderBuilder()
    keys = {raw + b"#%d" % spelling + (b"/" if kind is Kind.FOLDER else b"") for raw, kind, spelling in adds}
    for raw, kind, spelling in adds:
        builder.add(raw, kind, raw + b"#%d" % spelling + (b"/" if kind is Kind.FOLDER else b""))
    listing = builder.build()
    assert len(listing.by_name) == len(listing.entries)
    shown = {entry.key for entry in listing.entries}
    assert shown <= keys
    assert {(raw, kind) for raw, kind, _ in adds} == {
        (entry.key.partition(b"#")[0], entry.kind) for entry in listing.entries
    }
    assert len(keys - shown) <= listing.refused
