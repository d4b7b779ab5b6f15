"""The demo's server does what RFC 9110 says, seen by a client that isn't ours."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rangefs.cli import demo, demo_server
from rangefs.core.entries import Kind
from rangefs.core.listing.index import parse_index

TEXT = b"0123456789"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("www")
    (folder / "ten").write_bytes(TEXT)
    (folder / "empty").touch()
    (folder / "sub").mkdir()
    (folder / "sub" / "ü #?%&+ '\"<b>.txt").write_bytes(b"odd")
    (folder / "outside").symlink_to("/etc/passwd")
    return folder


@pytest.fixture(scope="module")
def client(root: Path) -> Iterator[http.client.HTTPConnection]:
    with demo_server.serving(root) as url:
        connection = http.client.HTTPConnection(url.split("/")[2], timeout=10)
        yield connection
        connection.close()


def ask(
    client: http.client.HTTPConnection, path: str, method: str = "GET", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    client.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    answer = client.getresponse()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


@given(st.integers(0, 12), st.integers(0, 12))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_range_is_that_slice(client: http.client.HTTPConnection, first: int, last: int) -> None:
    status, headers, body = ask(client, "/ten", Range=f"bytes={first}-{last}")
    if last < first:
        assert (status, body) == (200, TEXT)
    elif first >= len(TEXT):
        assert (status, headers["content-range"]) == (416, "bytes */10")
    else:
        assert body == TEXT[first : last + 1]
        whole = body == TEXT
        assert status == (200 if whole else 206)
        assert whole or headers["content-range"] == f"bytes {first}-{min(last, 9)}/10"
    assert int(headers["content-length"]) == len(body)


@pytest.mark.parametrize(
    ("asked", "status", "body"),
    [
        ("bytes=7-", 206, b"789"),
        ("bytes=-3", 206, b"789"),
        ("bytes=-0", 416, None),
        ("bytes=0-1,3-4", 200, TEXT),
        ("lines=1-2", 200, TEXT),
        ("bytes=x-", 200, TEXT),
    ],
)
def test_other_forms_of_range(client: http.client.HTTPConnection, asked: str, status: int, body: bytes | None) -> None:
    answer = ask(client, "/ten", Range=asked)
    assert answer[0] == status
    assert body is None or answer[2] == body


def test_head_is_get_without_the_body(client: http.client.HTTPConnection) -> None:
    got, head = ask(client, "/ten"), ask(client, "/ten", "HEAD")
    assert head[2] == b""
    assert {**head[1], "date": ""} == {**got[1], "date": ""}


def test_preconditions_hold(client: http.client.HTTPConnection) -> None:
    etag = ask(client, "/ten")[1]["etag"]
    assert ask(client, "/ten", If_Match=etag, Range="bytes=0-0")[0] == 206
    assert ask(client, "/ten", If_Match='"other"', Range="bytes=0-0")[0] == 412
    assert ask(client, "/ten", If_Match="*")[0] == 200
    assert ask(client, "/ten", If_None_Match=f'"x", {etag}')[0] == 304
    assert ask(client, "/ten", If_Range=etag, Range="bytes=1-1")[::2] == (206, b"1")
    assert ask(client, "/ten", If_Range='"other"', Range="bytes=1-1")[::2] == (200, TEXT)


def test_an_empty_file_is_answered_whole(client: http.client.HTTPConnection) -> None:
    assert ask(client, "/empty")[::2] == (200, b"")
    assert ask(client, "/empty", Range="bytes=0-5")[0] == 416


@pytest.mark.parametrize("path", ["/../etc/passwd", "/%2e%2e/x", "/sub/../ten", "/a%00b", "/outside", "/none", "/ten/"])
def test_nothing_outside_the_folder_is_served(client: http.client.HTTPConnection, path: str) -> None:
    assert ask(client, path)[0] in (400, 404)


def test_a_folder_without_its_slash_redirects(client: http.client.HTTPConnection) -> None:
    status, headers, _ = ask(client, "/sub")
    assert (status, headers["location"]) == (301, "/sub/")


def test_its_index_is_read_by_our_own_parser(client: http.client.HTTPConnection) -> None:
    _, headers, page = ask(client, "/sub/")
    listing = parse_index(page, headers["content-type"], "http://h/sub/", b"sub/")
    (entry,) = listing.entries
    assert (entry.name, entry.kind, entry.size) == ("ü #?%&+ '\"<b>.txt".encode(), Kind.FILE, 3)
    assert ask(client, "/" + entry.key.decode())[2] == b"odd"


def test_the_sample_is_the_same_each_time(tmp_path: Path) -> None:
    for name in ("a", "b"):
        demo.make_sample(tmp_path / name)
    sums = [(tmp_path / name / "SHA256SUMS").read_text() for name in ("a", "b")]
    assert sums[0] == sums[1]
    assert sums[0].count("\n") == sum(path.is_file() for path in (tmp_path / "a").rglob("*")) - 1
