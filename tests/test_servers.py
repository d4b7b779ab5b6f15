"""The servers and trees of the tests themselves: what the other tests build on holds."""

from __future__ import annotations

import os
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from tests.conftest import FLAVOURS, StartServer
from tests.servers import Nginx
from tests.serving import Server


def get(url: str, span: str = "") -> tuple[int, bytes]:
    request = urllib.request.Request(url, headers={"Range": f"bytes={span}"} if span else {})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.status, answer.read()


def test_every_server_serves_its_folder(any_server: Server) -> None:
    path = any_server.root / "sizes" / "size-150000.bin"
    status, body = get(f"{any_server.url}sizes/{path.name}", "1000-1999")
    if any_server.has_ranges:
        assert (status, body) == (206, path.read_bytes()[1000:2000])
    else:
        assert (status, body) == (200, path.read_bytes())
    status, page = get(f"{any_server.url}sizes/")
    assert status == 200
    assert path.name.encode() in page


def test_log_shows_a_request_as_soon_as_its_answer_has_been_read(start_server: StartServer, www: Path) -> None:
    (www / "two words.txt").write_bytes(b"x" * 100_000)
    for flavour in sorted(set(FLAVOURS) - {"rclone"}):
        server = start_server(FLAVOURS[flavour], www)
        server.forget()
        for _ in range(5):
            get(f"{server.url}two%20words.txt", "10-50009")
        seen = server.log()
        assert [(one.method, one.range) for one in seen] == [("GET", "bytes=10-50009")] * 5, flavour
        if server.has_ranges:
            assert server.body_bytes() == 250_000
            assert {one.status for one in seen} == {206}
        server.forget()
        assert server.log() == []


def test_a_server_stops_pauses_and_comes_back_on_its_port(start_server: StartServer, www: Path) -> None:
    (www / "file").write_bytes(b"here")
    server = start_server(Nginx, www)
    before = server.url
    server.stop()
    with pytest.raises(urllib.error.URLError):
        get(f"{server.url}file")
    server.start()
    assert server.url == before
    assert get(f"{server.url}file") == (200, b"here")
    server.pause()
    with pytest.raises(TimeoutError):
        urllib.request.urlopen(f"{server.url}file", timeout=0.2)
    server.resume()
    assert get(f"{server.url}file") == (200, b"here")


def test_sample_files_are_old_and_their_names_are_on_disk_as_asked(sample: Path) -> None:
    from tests.trees import AWKWARD_NAMES

    assert set(os.listdir(os.fsencode(sample / "names"))) == {*AWKWARD_NAMES, b"folders"}
    newest = max(path.stat().st_mtime for path in sample.rglob("*"))
    assert newest < 1_600_000_000
