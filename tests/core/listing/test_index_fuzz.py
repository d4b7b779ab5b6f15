"""Whatever a server sends, the answer is a `Listing` that holds its promises, or one of two errors in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rangefs.core.entries import Kind, Listing
from rangefs.core.listing.index import parse_index
from rangefs.core.names import legal
from rangefs.errors import NotAListing, TooLarge

SAMPLES = sorted((Path(__file__).parents[2] / "samples").glob("*/*.body"))
TYPES = ["text/html", "application/json", "text/xml", ""]
PIECES = [
    b"<a href='",
    b"'>",
    b"x/",
    b"../",
    b"//",
    b"%2F",
    b"%00",
    b"<base href=",
    b"<!--",
    b"<title>Index of /</title>",
    b"&#",
]


def test_entries_of_json_that_lead_elsewhere_are_refused_and_counted() -> None:
    caddy = b'[{"url":"../x","is_dir":false},{"url":"./a/b","is_dir":true},{"url":"./ok","is_dir":false}]'
    nginx = b'[{"name":"\\ud800","type":"file"},{"name":"ok","type":"file"},{"name":"x","type":"other"}]'
    for body, refused in ((caddy, 2), (nginx, 1)):
        listing = listed(body, "application/json")
        assert listing is not None
        assert (list(listing.by_name), listing.refused) == ([b"ok"], refused)
    for body in (b'{"a":1}', b"[1]", b'[{"name":"x"}]'):
        assert listed(body, "application/json") is None


def listed(body: bytes, content_type: str) -> Listing | None:
    try:
        return parse_index(body, content_type, "http://host/tricky/", b"tricky/")
    except (NotAListing, TooLarge) as refusal:
        said = str(refusal)
    assert "\n" not in said
    return None


def check(body: bytes, content_type: str) -> None:
    listing = listed(body, content_type)
    if listing is None:
        return
    assert len(listing.by_name) == len(listing.entries)
    for entry in listing.entries:
        assert legal(entry.name)
        assert entry.key.startswith(b"tricky/")
        last = entry.key[len(b"tricky/") :]
        assert last
        assert b"/" not in last.removesuffix(b"/")
        assert entry.key.endswith(b"/") == (entry.kind is Kind.FOLDER)
        assert entry.size is None or (entry.kind is Kind.FILE and 0 <= entry.size < 2**63)


@settings(deadline=None)
@given(body=st.binary(max_size=200), content_type=st.sampled_from(TYPES))
def test_any_bytes(body: bytes, content_type: str) -> None:
    check(body, content_type)


@settings(deadline=None)
@given(pieces=st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=4)), max_size=30))
def test_any_run_of_hostile_pieces(pieces: list[bytes]) -> None:
    check(b"<title>Index of /tricky/</title>" + b"".join(pieces), "text/html")


@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_a_damaged_page(data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(SAMPLES))
    body = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, max(0, len(body) - 1)))
        end = start + data.draw(st.integers(0, 40))
        body[start:end] = data.draw(st.one_of(st.binary(max_size=6), st.sampled_from(PIECES)))
    content_type = "application/json" if "json" in path.parent.name else "text/xml" if "xml" in path.parent.name else ""
    check(bytes(body), content_type)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"[" * 100_000, "application/json"),
        (b'[{"name":"x","type":"file","size":' + b"9" * 5000 + b"}]", "application/json"),
        (b'[{"name":"\\ud800","type":"file"}]', "application/json"),
        (b'[{"url":"\\ud800","is_dir":false}]', "application/json"),
        (b'[{"name":"x","type":"file","size":NaN}]', "application/json"),
        (b"<list>" + b"<d>" * 100_000, "text/xml"),
        (b'<!DOCTYPE l [<!ENTITY a "b"><!ENTITY c "&a;&a;">]><list><file>&c;</file></list>', "text/xml"),
        (b'<!DOCTYPE list SYSTEM "file:///etc/passwd"><list></list>', "text/xml"),
        (b'<?xml version="1.0" encoding="x-nope"?><list></list>', "text/xml"),
    ],
    ids=["deep", "digits", "surrogate-name", "surrogate-url", "nan", "deep-xml", "entities", "doctype", "encoding"],
)
def test_traps_of_json_and_xml(body: bytes, content_type: str) -> None:
    check(body, content_type)
    if content_type == "text/xml":
        assert listed(body, content_type) is None
