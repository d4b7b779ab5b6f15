"""A listing comes back from disk as it went there."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rangefs.core.entries import Entry, Kind, Listing
from rangefs.core.listing import kept

entries = st.builds(
    Entry,
    name=st.binary(min_size=1, max_size=20),
    kind=st.sampled_from(Kind),
    key=st.binary(max_size=20),
    size=st.none() | st.integers(0, 1 << 60),
    mtime_ns=st.none() | st.integers(-(1 << 60), 1 << 60),
    mtime_precision_ns=st.sampled_from([0, 10**9, 60 * 10**9]),
    etag=st.text(max_size=10),
)


@given(st.lists(entries, max_size=8), st.integers(0, 9), st.integers(0, 9), st.booleans())
def test_any_listing_survives(rows: list[Entry], escaped: int, refused: int, complete: bool) -> None:
    listing = Listing(tuple(rows), escaped, refused, complete)
    assert kept.decode(kept.encode(listing)) == listing


@given(st.binary(max_size=200))
def test_foreign_bytes_are_no_listing(payload: bytes) -> None:
    assert kept.decode(payload) is None


def test_another_format_is_no_listing() -> None:
    assert kept.decode(b"[1,0,0,[]]") is None
    assert kept.decode(b"[3,true,0,0,[]]") is None
