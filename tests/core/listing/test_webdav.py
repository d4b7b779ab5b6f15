"""Rules of `core.listing.webdav`, on captures of four servers and on what RFC 4918 allows beyond them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rangefs.core.entries import Entry, Kind, Listing
from rangefs.core.listing.moments import SECOND_NS
from rangefs.core.listing.webdav import parse_multistatus
from rangefs.errors import NotADirectory, NotAListing

SAMPLES = Path(__file__).parents[2] / "samples"
SERVERS = ["nginx-dav", "apache-dav", "rclone-dav", "wsgidav-dav"]


def sample(server: str, name: str, path: str) -> Listing:
    body = (SAMPLES / server / f"propfind1-{name}.body").read_bytes()
    return parse_multistatus(body, f"http://127.0.0.1:19001/{path}", path.encode())


@pytest.mark.parametrize("server", SERVERS)
def test_a_root_folder(server: str) -> None:
    root = sample(server, "root", "")
    assert {(entry.name, entry.kind, entry.size) for entry in root.entries if entry.name != b"changing.bin"} == {
        (b"emptydir", Kind.FOLDER, None),
        (b"sub", Kind.FOLDER, None),
        (b"tricky", Kind.FOLDER, None),
        (b"data.bin", Kind.FILE, 1_048_593),
        (b"empty.bin", Kind.FILE, 0),
        (b"page.html", Kind.FILE, 72_026),
        (b"text.txt", Kind.FILE, 112_000),
    }
    data = root.by_name[b"data.bin"]
    assert (data.mtime_ns, data.mtime_precision_ns) == (1_700_000_000 * SECOND_NS, SECOND_NS)
    assert (
        data.etag
        == {
            "nginx-dav": "",
            "apache-dav": '"100011-60a2418221090"',
            "rclone-dav": '"17979cfe4510b280100011"',
            "wsgidav-dav": '"2393880-1700000000-1048593"',
        }[server]
    )


@pytest.mark.parametrize("server", SERVERS)
def test_an_empty_folder(server: str) -> None:
    assert sample(server, "emptydir", "emptydir/") == Listing(())


@pytest.mark.parametrize("server", SERVERS)
def test_the_folder_itself_is_dropped_by_its_path(server: str) -> None:
    listing = sample(server, "sub", "sub/")
    assert [(entry.key, entry.kind) for entry in sorted(listing.entries, key=lambda entry: entry.key)] == [
        (b"sub/deeper/", Kind.FOLDER),
        (b"sub/inner.txt", Kind.FILE),
    ]


@pytest.mark.parametrize("server", ["apache-dav", "rclone-dav"])
def test_tricky_names(server: str) -> None:
    names = set(sample(server, "tricky", "tricky/").by_name)
    assert names >= {
        b"%2e%2e",
        b"hash#frag.txt",
        b"question?mark.txt",
        b"http:",
        b"bad\xff\xfe.bin",
        "日本語.txt".encode(),
    }


@pytest.mark.parametrize("server", SERVERS)
def test_an_error_page_is_no_listing(server: str) -> None:
    with pytest.raises(NotAListing):
        sample(server, "missing", "missing/")


@pytest.mark.parametrize("server", SERVERS)
def test_a_file_is_no_folder(server: str) -> None:
    body = (SAMPLES / server / "propfind0-file.body").read_bytes()
    with pytest.raises(NotADirectory):
        parse_multistatus(body, "http://127.0.0.1/data.bin/", b"data.bin/")


def response(href: str, prop: str = "", status: str = "HTTP/1.1 200 OK") -> str:
    propstat = f"<r:propstat><r:prop>{prop}</r:prop><r:status>{status}</r:status></r:propstat>"
    return f"<r:response><r:href>{href}</r:href>{propstat}</r:response>"


FOLDER = "<r:resourcetype><r:collection/></r:resourcetype>"
SELF = response("/dav/a%20b/", FOLDER)


def parse(*responses: str) -> Listing:
    page = '<r:multistatus xmlns:r="DAV:">' + "".join(responses) + "</r:multistatus>"
    return parse_multistatus(page.encode(), "https://host/dav/a%20b/", b"k/")


@pytest.mark.parametrize(
    "href",
    [
        "/dav/a%20b/x",
        "/dav/a b/x",
        "https://host/dav/a%20b/x",
        "http://internal:8080/dav/a%20b/x",
        "x",
        "\n /dav/a%20b/x \n",
    ],
)
def test_hrefs_may_be_whole_and_name_another_host(href: str) -> None:
    assert parse(SELF, response(href)).entries == (Entry(b"x", Kind.FILE, b"k/x"),)


@pytest.mark.parametrize("self_href", ["/dav/a%20b/", "/dav/a%20b", "/dav/a b/", "http://other/dav/a%20b/"])
def test_the_folder_itself_in_any_spelling(self_href: str) -> None:
    assert parse(response(self_href, FOLDER)) == Listing(())


def test_the_resource_type_decides_what_is_a_folder() -> None:
    listing = parse(SELF, response("/dav/a%20b/d", FOLDER), response("/dav/a%20b/f/"))
    assert [(entry.key, entry.kind) for entry in listing.entries] == [(b"k/d/", Kind.FOLDER), (b"k/f", Kind.FILE)]


def test_only_properties_with_200_count() -> None:
    listing = parse(
        SELF,
        "<r:response><r:href>/dav/a%20b/x</r:href>"
        "<r:propstat><r:prop><r:getcontentlength>7</r:getcontentlength></r:prop>"
        "<r:status>HTTP/1.1 404 Not Found</r:status></r:propstat>"
        "<r:propstat><r:prop><r:getetag>e</r:getetag></r:prop><r:status>HTTP/1.1 200 OK</r:status></r:propstat>"
        "</r:response>",
    )
    assert (listing.entries[0].size, listing.entries[0].etag) == (None, '"e"')


def test_a_member_that_is_gone_is_not_shown() -> None:
    gone = "<r:response><r:href>/dav/a%20b/x</r:href><r:status>HTTP/1.1 404 Not Found</r:status></r:response>"
    assert parse(SELF, gone) == Listing(())


def test_deeper_members_and_other_paths_are_left_out() -> None:
    assert parse(SELF, response("/dav/a%20b/d/deep"), response("/dav/other"), response("/dav/a%20b/../x")) == Listing(
        ()
    )


def test_a_member_that_would_lead_off_the_folder_is_counted() -> None:
    assert parse(SELF, response("/dav/a%20b/..%2F..%2Fetc")) == Listing((), refused=1)


def test_an_answer_about_other_paths_is_no_empty_folder() -> None:
    with pytest.raises(NotAListing, match="other paths"):
        parse(response("/a%20b/", FOLDER), response("/a%20b/x"))
    with pytest.raises(NotAListing, match="other paths"):
        parse()


def test_control_characters_do_not_make_a_folder_unreadable() -> None:
    listing = parse(SELF, response("/dav/a%20b/x%01", "<r:displayname>x\x01&#1;&#x1F;</r:displayname>"))
    assert listing.entries[0].name == b"x\x01"


def test_a_name_whose_bytes_are_lost_is_refused_and_counted() -> None:
    page = b'<r:multistatus xmlns:r="DAV:">' + SELF.encode() + response("/dav/a%20b/x@").encode().replace(b"@", b"\xff")
    listing = parse_multistatus(page + b"</r:multistatus>", "https://host/dav/a%20b/", b"")
    assert listing == Listing((), refused=1)


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_damaged_answers_are_listings_or_no_listings(data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(sorted(SAMPLES.glob("*-dav/propfind1-*.body"))))
    body = bytearray(path.read_bytes())
    start = data.draw(st.integers(0, len(body) - 1))
    body[start : start + data.draw(st.integers(0, 30))] = data.draw(st.binary(max_size=5))
    try:
        said = repr(parse_multistatus(bytes(body), "http://127.0.0.1/tricky/", b"").refused)
    except (NotAListing, NotADirectory) as refusal:
        said = str(refusal)
    assert "\n" not in said
