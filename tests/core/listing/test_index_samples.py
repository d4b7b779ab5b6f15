"""`parse_index` on pages captured from real servers: every name, and only the sizes that are exact.

All servers but the last four showed one tree, whose folder ``tricky`` holds names that are hard to say in HTML.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from rangefs.core.entries import Entry, Kind, Listing
from rangefs.core.listing.index import parse_index
from rangefs.core.listing.moments import ZONELESS_NS
from rangefs.errors import NotAListing

SAMPLES = Path(__file__).parents[2] / "samples"
DATE_NS = 1_700_000_000_000_000_000  # of data.bin: 2023-11-14 22:13:20.25 UTC
FRACTION_NS = 250_000_000
MINUTE_NS = 1_699_999_980_000_000_000

CONTENT_TYPES = {
    "nginx-json": "application/json",
    "caddy-json": "application/json; charset=utf-8",
    "nginx-xml": "text/xml; charset=utf-8",
    "apache-fancy": "text/html;charset=ISO-8859-1",
    "mini_httpd": "text/html; charset=%s",
}

NFC, NFD = "uni\u00e9-nfc.txt".encode(), "unie\u0301-nfd2.txt".encode()
FOLDERS = {b"dir with space", b"dir#hash%25"}
PLAIN_FILES = {
    b"  lead-and-trail  ", b"%2Fslash", b"%2e%2e", b"&amp;literal.txt", b"<b>bold<", b"?C=N", b"C=N;O=D", b"CaseA.txt",
    b"Parent Directory", b"a" * 120 + b".txt", b"amp&ersand.txt", b"at@at.txt", b"back\\slash.txt", b"back`tick",
    b"bad\xff\xfe.bin", b"b" * 251 + b".bin", b"caret^dollar$bang!.txt", b"casea.txt", b"colon:file.txt",
    b"comma,comma", "emoji😀.txt".encode(), b"eq=eq.txt", b"hash#frag.txt", b"http:", b"javascript:alert(1)",
    b"latin1-\xe9.txt", b"less<than>.txt", b"mailto:x@y", "nbsp\u00a0x.txt".encode(), b"noperm.txt", b"percent%.txt",
    b"percent%20literal.txt", b"pipe|bar", b"plain.txt", b"plus+plus.txt", b"question?mark.txt", b'quote"double.txt',
    b"quote'single.txt", "rtl\u202eabc.txt".encode(), b"semi;colon.txt", b"sparse5g.bin", b"symlink-in",
    b"symlink-out", b"star*glob[1]{a,b}.txt", b"tilde~", b"trail.dot.", "uni\u00e9-nfd.txt".encode(), NFC,
    b"with space.txt", b"x..y", ("\u00e9" * 120).encode() + b".txt", "日本語.txt".encode(),
}  # fmt: skip
CONTROL_FILES = {b"cr\rname.txt", b"ctrl\x01x.txt", b"del\x7fx.txt", b"newline\nname.txt", b"tab\tname.txt"}
HIDDEN = {b".hidden", b"...", b"..twodots", b".hiddendir"}  # nginx never shows what begins with a dot


def sample(server: str, folder: str) -> Listing:
    name = folder.strip("/") or "root"
    body = (SAMPLES / server / f"{name}.body").read_bytes()
    url = f"http://127.0.0.1:19001/{folder}"
    return parse_index(body, CONTENT_TYPES.get(server, "text/html; charset=utf-8"), url, folder.encode())


COMMON = FOLDERS | PLAIN_FILES
DANGLING = b"symlink-dangling"
AS_PICTURES = {
    "cr␍name.txt".encode(),
    "ctrl␁x.txt".encode(),
    "del␡x.txt".encode(),
    "newline␊name.txt".encode(),
    "tab␉name.txt".encode(),
}
EVERYTHING = COMMON | CONTROL_FILES | HIDDEN | {NFD}

TRICKY = {
    # nginx hides what begins with a dot, and shows a dangling link as a file.
    "nginx-html": EVERYTHING - HIDDEN | {DANGLING},
    "nginx-html-inexact-localtime-utf8": EVERYTHING - HIDDEN | {DANGLING},
    "nginx-json": EVERYTHING - HIDDEN,
    "apache-fancy": EVERYTHING,
    "apache-plain": EVERYTHING,
    "apache-htmltable": EVERYTHING,
    "lighttpd": EVERYTHING,
    "python-http.server": EVERYTHING | {DANGLING},
    "caddy-json": EVERYTHING | {DANGLING},
    # rclone shows control characters as pictures and drops a name that is another's decomposed form.
    "rclone-http": COMMON | HIDDEN | AS_PICTURES | {b"index.htm"},
    # These four came later, without the dangling link.
    "caddy-html": EVERYTHING,
    "fancyindex": EVERYTHING - HIDDEN,
    "fancyindex-inexact": EVERYTHING - HIDDEN,
    "mini_httpd": EVERYTHING,
}


@pytest.mark.parametrize("server", TRICKY)
def test_every_name_that_a_server_can_express_is_found(server: str) -> None:
    listing = sample(server, "tricky/")
    assert set(listing.by_name) == TRICKY[server]
    assert listing.escaped == listing.refused == 0


@pytest.mark.parametrize("server", [server for server in TRICKY if server != "mini_httpd"])
def test_folders_are_told_from_files_and_keys_are_verbatim(server: str) -> None:
    listing = sample(server, "tricky/")
    folders = {entry.name for entry in listing.entries if entry.kind is Kind.FOLDER}
    assert folders == (FOLDERS | {b".hiddendir"}) & set(listing.by_name)
    assert listing.by_name[b"dir#hash%25"].key == b"tricky/dir%23hash%2525/"
    assert listing.by_name[b"%2Fslash"].key == b"tricky/%252Fslash"
    assert listing.by_name["日本語.txt".encode()].key.lower() == b"tricky/%e6%97%a5%e6%9c%ac%e8%aa%9e.txt"


VARIANTS = sorted(path.stem for path in (SAMPLES / "apache-fancy").glob("tricky-q-*.body"))


@pytest.mark.parametrize("variant", VARIANTS)
def test_apaches_sort_and_format_queries_change_no_name(variant: str) -> None:
    body = (SAMPLES / "apache-fancy" / f"{variant}.body").read_bytes()
    listing = parse_index(body, "text/html;charset=ISO-8859-1", "http://127.0.0.1:19010/tricky/", b"")
    if variant.endswith("bin"):  # P=*.bin
        assert set(listing.by_name) == {name for name in EVERYTHING if name.endswith(b".bin")}
    else:  # taken when the tree had one file in place of another
        assert set(listing.by_name) - {b"index.htm"} == EVERYTHING - {NFD}


SERVERS = [*TRICKY, "nginx-xml", "webfs", "http-server", "serve"]


@pytest.mark.parametrize("server", SERVERS)
def test_an_empty_folder_is_an_empty_listing(server: str) -> None:
    assert sample(server, "emptydir/") == Listing(())


# What each server's root page knows of data.bin (1,048,593 bytes) and text.txt (112,000 bytes).
EXACT = {"nginx-html", "nginx-json", "nginx-xml", "rclone-http", "caddy-json", "caddy-html", "fancyindex", "mini_httpd"}
TO_THE_SECOND = {"nginx-json", "nginx-xml", "rclone-http", "caddy-json"}
LOCAL_SECONDS = {"lighttpd"}
LOCAL_MINUTES = {"nginx-html", "nginx-html-inexact-localtime-utf8", "apache-fancy", "apache-htmltable"}
LATER = {"caddy-html", "fancyindex", "fancyindex-inexact", "mini_httpd", "webfs", "http-server", "serve"}


@pytest.mark.parametrize("server", SERVERS)
def test_sizes_are_exact_or_unknown(server: str) -> None:
    root = sample(server, "").by_name
    expected = (1_048_593, 112_000) if server in EXACT else (None, None)
    assert (root[b"data.bin"].size, root[b"text.txt"].size) == expected
    empty = server in EXACT | {"nginx-html-inexact-localtime-utf8", "apache-fancy", "apache-htmltable"}
    assert root[b"empty.bin"].size == (0 if empty else None)
    assert {entry.size for entry in root.values() if entry.kind is Kind.FOLDER} <= {None}


@pytest.mark.parametrize("server", SERVERS)
def test_a_server_that_shows_folders_as_files_is_known_for_it(server: str) -> None:
    assert sample(server, "").unmarked is (server == "mini_httpd")


@pytest.mark.parametrize("server", sorted(set(SERVERS) - LATER))
def test_times_carry_how_far_they_can_be_trusted(server: str) -> None:
    data = sample(server, "").by_name[b"data.bin"]
    if server in TO_THE_SECOND:
        fraction_ns = 0 if server.startswith("nginx") else FRACTION_NS
        assert data.mtime_ns == DATE_NS + fraction_ns
        assert data.mtime_precision_ns == (0 if fraction_ns else 1_000_000_000)
    elif server in LOCAL_SECONDS | LOCAL_MINUTES:
        assert data.mtime_ns == (DATE_NS if server in LOCAL_SECONDS else MINUTE_NS)
        assert data.mtime_precision_ns == ZONELESS_NS
    else:
        assert data.mtime_ns is None


def test_caddys_time_of_a_link_is_not_the_files() -> None:
    link = sample("caddy-json", "tricky/").by_name[b"symlink-in"]
    assert (link.size, link.mtime_ns) == (22, None)


def test_webfs_leaves_colons_and_backslashes_bare() -> None:
    names = set(sample("webfs", "tricky/").by_name)
    assert {b"colon:file.txt", b"back\\slash.txt"} <= names
    # What it does not escape either is another link, to a browser too.
    assert EVERYTHING - names == {b"javascript:alert(1)", b"mailto:x@y", b"http:", b"&amp;literal.txt"}


def test_an_nginx_page_in_a_sub_folder() -> None:
    assert sample("nginx-html", "sub/").entries == (
        Entry(b"deeper", Kind.FOLDER, b"sub/deeper/", None, 1_795_463_160_000_000_000, ZONELESS_NS),
        Entry(b"inner.txt", Kind.FILE, b"sub/inner.txt", 6, 1_795_463_160_000_000_000, ZONELESS_NS),
    )


@pytest.mark.parametrize("server", ["nginx-html", "lighttpd"])
def test_a_servers_error_page_is_no_listing(server: str) -> None:
    body = (SAMPLES / server / "responses" / "notfound.body").read_bytes()
    with pytest.raises(NotAListing, match="not a directory listing"):
        parse_index(body, "text/html", "http://127.0.0.1:19001/nope/", b"nope/")


def test_xml_that_is_not_well_formed_is_no_listing() -> None:
    with pytest.raises(NotAListing, match="not well-formed"):
        sample("nginx-xml", "tricky/")
