"""Rules of `core.listing.catalog`: four forms, one tree, and errors that name the place."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rangefs.core.entries import Kind
from rangefs.core.listing.catalog import Catalog, CatalogFile, parse_catalog
from rangefs.core.listing.moments import SECOND_NS, ZONELESS_NS
from rangefs.errors import NotAListing

SAMPLES = Path(__file__).parents[2] / "samples" / "catalogs"
URL = "https://host/lists/files.jsonl"
SHA = "ab" * 32


def parse(*entries: Any) -> Catalog:
    return parse_catalog("\n".join(json.dumps(entry) for entry in entries).encode(), URL)


def one(**fields: Any) -> CatalogFile:
    (file,) = parse({"path": "x", "url": "x", **fields}).files.values()
    return file


def test_the_samples() -> None:
    document = parse_catalog((SAMPLES / "urls.json").read_bytes(), "https://host/c.json")
    assert document.files[b"a/b.bin"] == CatalogFile(
        b"a/b.bin",
        ("https://example.org/data/b.bin",),
        1_048_593,
        '"6553f100-100011"',
        1_700_000_000 * SECOND_NS,
        SECOND_NS,
    )
    assert document.ignored_hashes == 1  # the sample has "…" for a hash
    table = parse_catalog((SAMPLES / "urls.csv").read_bytes(), "https://host/c.csv")
    assert set(table.files) == {b"a/b.bin", b'comma,"quote".txt'}
    metalink = parse_catalog((SAMPLES / "urls.meta4").read_bytes(), "https://host/c.meta4")
    assert metalink.files[b"dir/example.ext"].urls == (
        "https://mirror1.example/example.ext",
        "http://mirror2.example/example.ext",
    )


def test_a_tree_is_built_from_paths() -> None:
    catalog = parse(*({"path": path, "url": "u"} for path in ("a/b/c", "a/d", "e", "a/b/f")))
    assert {
        key: [(entry.name, entry.kind, entry.key) for entry in listing.entries]
        for key, listing in catalog.folders.items()
    } == {
        b"": [(b"a", Kind.FOLDER, b"a/"), (b"e", Kind.FILE, b"e")],
        b"a/": [(b"b", Kind.FOLDER, b"a/b/"), (b"d", Kind.FILE, b"a/d")],
        b"a/b/": [(b"c", Kind.FILE, b"a/b/c"), (b"f", Kind.FILE, b"a/b/f")],
    }


def test_odd_paths_are_names_that_lead_nowhere() -> None:
    catalog = parse(*({"path": path, "url": "u"} for path in ("../up", "a//b", "/lead", "a")))
    assert catalog.folders[b""].by_name[b"%%%2E%2E"].key == b"../"
    assert catalog.folders[b"a/"].by_name[b"%%"].key == b"a//"
    assert catalog.folders[b""].by_name[b"lead"].key == b"lead"
    assert catalog.folders[b""].by_name[b"%%+a"].key == b"a"


def test_all_fields() -> None:
    file = one(size=5, etag="e", mtime="2023-11-14T22:13:20.5Z", xxh3="AB" * 8, sha256=SHA.upper())
    assert file == CatalogFile(b"x", ("https://host/lists/x",), 5, '"e"', 1_700_000_000_500_000_000, 0, "ab" * 8, SHA)


@pytest.mark.parametrize(
    ("mtime", "ns", "precision_ns"),
    [
        ("2023-11-14T22:13:20Z", 1_700_000_000 * SECOND_NS, SECOND_NS),
        ("2023-11-14T22:13:20", 1_700_000_000 * SECOND_NS, ZONELESS_NS),
        ("Tue, 14 Nov 2023 22:13:20 GMT", 1_700_000_000 * SECOND_NS, SECOND_NS),
        (1_700_000_000, 1_700_000_000 * SECOND_NS, SECOND_NS),
        (1_700_000_000.5, 1_700_000_000_500_000_000, 0),
        ("", None, 0),
        (None, None, 0),
    ],
)
def test_times(mtime: Any, ns: int | None, precision_ns: int) -> None:
    file = one(mtime=mtime)
    assert (file.mtime_ns, file.mtime_precision_ns) == (ns, precision_ns)


def test_urls_are_relative_to_the_catalog_or_its_base() -> None:
    assert one(url="/y").urls == ("https://host/y",)
    assert one(url=["http://a/x", "b"]).urls == ("http://a/x", "https://host/lists/b")
    document = b'{"base": "https://other/d/",\n "entries": [{"path": "x", "url": "y"}]}'
    assert parse_catalog(document, URL).files[b"x"].urls == ("https://other/d/y",)
    assert parse_catalog(b'[{"path": "x", "url": "y"}]', URL).files[b"x"].urls == ("https://host/lists/y",)


@pytest.mark.parametrize(
    "fields",
    [
        {"path": ""},
        {"path": "/"},
        {"path": "dir/"},
        {"path": 5},
        {"path": "a/" * 300 + "b"},
        {"url": ""},
        {"url": []},
        {"url": 7},
        {"url": "ftp://host/x"},
        {"url": "file:///etc/passwd"},
        {"url": "http://[x/"},
        {"url": "https://user:secret@host/x"},
        {"url": "https://host/\udc80"},
        {"path": "\ud800"},
        {"size": -1},
        {"size": 1.5},
        {"size": True},
        {"size": "many"},
        {"size": 2**63},
        {"mtime": "yesterday"},
        {"mtime": float("inf")},
        {"mtime": []},
    ],
)
def test_a_wrong_entry_is_named(fields: dict[str, Any]) -> None:
    with pytest.raises(NotAListing, match="entry 2 of the catalog") as caught:
        parse({"path": "ok", "url": "u"}, {"path": "x", "url": "u", **fields})
    assert "secret" not in str(caught.value)


def test_a_path_given_twice_is_an_error() -> None:
    with pytest.raises(NotAListing, match="entry 2"):
        parse({"path": "x", "url": "u"}, {"path": "x", "url": "v"})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"  \n",
        b"{",
        b'{"path": "x", "url": "u"}\n{',
        b'{"path": "x", "url": "u"}\n[]',
        b'{"entries": [1]}',
        b'{"entries": []} trailing',
        b'{"version": 2, "entries": []}',
        b'[{"path": "x", "url": "u"}]\n[]',
        b"[" * 99_999,
        b"name,link\nx,y\n",
        b'path,url\n"x,y\n',
        b"hello",
        b"<html></html>",
        b"<!DOCTYPE metalink><metalink/>",
    ],
)
def test_what_is_no_catalog_is_refused_in_one_line(body: bytes) -> None:
    with pytest.raises(NotAListing) as caught:
        parse_catalog(body, URL)
    assert "\n" not in str(caught.value)


def test_hashes_of_unknown_form_are_passed_over_and_counted() -> None:
    catalog = parse({"path": "x", "url": "u", "sha256": "…", "xxh3": "12"}, {"path": "y", "url": "u", "sha256": SHA})
    assert catalog.ignored_hashes == 2
    assert catalog.files[b"y"].sha256 == SHA


def test_metalinks_pieces_are_not_its_hash() -> None:
    body = (
        '<metalink xmlns="urn:ietf:params:xml:ns:metalink"><file name="x">'
        f'<pieces length="9" type="sha-256"><hash>{"cd" * 32}</hash></pieces><hash type="sha-256">{SHA}</hash>'
        "<url priority='2'>http://b/</url><url>http://c/</url><url priority='1'>http://a/</url></file></metalink>"
    )
    file = parse_catalog(body.encode(), URL).files[b"x"]
    assert file.sha256 == SHA
    assert file.urls == ("http://a/", "http://b/", "http://c/")


TEXT = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp"), exclude_characters="\ufffe\uffff"),
    max_size=12,
)
PATHS = st.lists(TEXT.map(lambda text: text.replace("/", "") or "n"), min_size=1, max_size=4).map("/".join)


@settings(deadline=None)
@given(sizes=st.dictionaries(PATHS, st.one_of(st.none(), st.integers(0, 2**40)), min_size=1, max_size=8))
def test_the_four_forms_say_the_same(sizes: dict[str, int | None]) -> None:
    entries = [
        {"path": path, "url": "http://h/u"} | ({} if size is None else {"size": size}) for path, size in sizes.items()
    ]
    table = io.StringIO()
    writer = csv.DictWriter(table, ["path", "size", "url"], restval="")
    writer.writeheader()
    writer.writerows(entries)
    metalink = "".join(
        f"<file name={quoteattr(path)}>{'' if size is None else f'<size>{size}</size>'}<url>{escape('http://h/u')}</url></file>"
        for path, size in sizes.items()
    )
    forms = [
        "\n".join(json.dumps(entry) for entry in entries),
        json.dumps({"entries": entries}),
        json.dumps(entries, indent=1),
        table.getvalue(),
        f"<metalink>{metalink}</metalink>",
    ]
    catalogs = [parse_catalog(form.encode(), "http://h/c") for form in forms]
    assert all(catalog == catalogs[0] for catalog in catalogs)
    assert {path.decode(): file.size for path, file in catalogs[0].files.items()} == sizes
    shown = [entry for listing in catalogs[0].folders.values() for entry in listing.entries if entry.kind is Kind.FILE]
    assert {entry.key for entry in shown} == set(catalogs[0].files)


@settings(deadline=None)
@given(st.one_of(st.binary(max_size=60), st.text('{}[]":,path url\n<>', max_size=60).map(str.encode)))
def test_any_bytes_are_a_catalog_or_refused(body: bytes) -> None:
    try:
        parse_catalog(body, URL)
    except NotAListing as refusal:
        said = str(refusal)
    else:
        said = ""
    assert "\n" not in said
