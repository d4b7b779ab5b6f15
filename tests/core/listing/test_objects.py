"""Rules of `core.listing.objects`: whatever keys a store holds, all of them are reachable as files in folders."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rangefs.core.entries import Kind, Listing
from rangefs.core.listing.objects import Page, StoredObject, listing_of, quoted_etag, size_of

PIECES = st.sampled_from([b"a", b"b", b"/", b"/", b".", b"..", b"%%", b"%%+a", b"\0", b"\xff", b"x" * 300])
KEYS = st.lists(PIECES, min_size=1, max_size=7).map(b"".join)
STORES = st.dictionaries(KEYS, st.integers(0, 2), max_size=12)


def pages_of(store: dict[bytes, int], prefix: bytes, delimiter: bool, page_size: int) -> list[Page]:
    """What S3 answers, by its own description: keys under a prefix, rolled up at the delimiter, a few a page."""
    rows: list[StoredObject | bytes] = []
    for key, size in sorted(store.items()):
        if not key.startswith(prefix):
            continue
        rest = key[len(prefix) :]
        if delimiter and b"/" in rest:
            rolled = prefix + rest.partition(b"/")[0] + b"/"
            if rolled not in rows:
                rows.append(rolled)
        else:
            rows.append(StoredObject(key, size))
    return [
        Page(
            tuple(row for row in rows[start : start + page_size] if isinstance(row, StoredObject)),
            tuple(row for row in rows[start : start + page_size] if isinstance(row, bytes)),
        )
        for start in range(0, len(rows), page_size)
    ]


@given(store=STORES, delimiter=st.booleans(), page_size=st.integers(1, 5))
def test_every_object_is_reachable_by_walking(store: dict[bytes, int], delimiter: bool, page_size: int) -> None:
    reached: Counter[bytes] = Counter()
    folders = [b""]
    while folders:
        folder = folders.pop()
        listing = listing_of(pages_of(store, folder, delimiter, page_size), folder, folder)
        assert listing.refused == 0
        assert len(listing.by_name) == len(listing.entries)
        for entry in listing.entries:
            if entry.kind is Kind.FOLDER:
                assert entry.key.startswith(folder)
                assert entry.key != folder
                folders.append(entry.key)
            else:
                assert entry.size == store[entry.key]
                reached[entry.key] += 1
    markers = {key for key, size in store.items() if key.endswith(b"/") and not size}
    assert reached == Counter(store.keys() - markers)


def names(*keys: bytes, prefix: bytes = b"") -> dict[bytes, bytes]:
    listing = listing_of([Page(tuple(StoredObject(key, 1) for key in keys))], prefix, prefix)
    return {entry.name + (b"/" if entry.kind is Kind.FOLDER else b""): entry.key for entry in listing.entries}


def test_a_key_that_is_file_and_folder_is_shown_as_both() -> None:
    assert names(b"conf", b"conf/x") == {b"conf/": b"conf/", b"%%+conf": b"conf"}


def test_empty_components_and_dots_have_escaped_names() -> None:
    assert names(b"/lead", b"./x", b"..") == {b"%%/": b"/", b"%%%2E/": b"./", b"%%%2E%2E": b".."}
    assert names(b"dir//double", b"dir/..", prefix=b"dir/") == {b"%%/": b"dir//", b"%%%2E%2E": b"dir/.."}


def test_a_marker_is_hidden_unless_it_has_content() -> None:
    empty = listing_of([Page((StoredObject(b"d/", 0),))], b"d/", b"d/")
    assert empty == Listing(())
    assert names(b"d/", prefix=b"d/") == {b"%%": b"d/"}


def test_long_keys_have_a_hashed_name_and_their_own_key() -> None:
    key = b"k" * 1024
    (name,) = names(key)
    assert len(name) == 255
    assert names(key)[name] == key


def test_prefixes_repeated_on_every_page_are_one_folder() -> None:
    pages = [Page((), (b"a/", b"b/")), Page((), (b"a/", b"b/"))]
    assert len(listing_of(pages, b"", b"").entries) == 2


def test_keys_outside_the_prefix_are_refused_and_counted() -> None:
    page = Page((StoredObject(b"other", 1),), (b"else/", b"d/no-delimiter"))
    assert listing_of([page], b"d/", b"d/") == Listing((), refused=3)


def test_a_folders_key_is_what_stands_before_the_rest() -> None:
    listing = listing_of([Page((StoredObject(b"bucket/prefix/d/x", 1),))], b"bucket/prefix/d/", b"d/")
    assert listing.entries[0].key == b"d/x"


@pytest.mark.parametrize(
    ("listed", "answered"),
    [('"x"', '"x"'), ("x", '"x"'), ('W/"x"', 'W/"x"'), ("", ""), (" x ", '"x"'), ('x"y', "")],
)
def test_etags_get_the_form_of_answers(listed: str, answered: str) -> None:
    assert quoted_etag(listed) == answered


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("12", 12), ("-1", None), ("1e3", None), ("9" * 20, None), ("١", None)]
)
def test_sizes_are_decimal_digits(text: str, size: int | None) -> None:
    assert size_of(text) == size
