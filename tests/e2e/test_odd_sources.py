"""Sources that are no folder with ranges: one file, a server that ignores ranges, a body of unknown length."""

from __future__ import annotations

import http.server
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.e2e.conftest import MakeMount
from tests.e2e.processes import run_readers
from tests.servers import PythonHttp
from tests.serving import Server
from tests.trees import MiB, age, content, first_difference

pytestmark = pytest.mark.mount


def test_a_single_files_url_mounts_just_that_file(nginx: Server, make_mount: MakeMount) -> None:
    with make_mount(f"{nginx.url}sizes/size-150000.bin") as mount:
        assert os.listdir(mount.path) == ["size-150000.bin"]
        seen = (mount.path / "size-150000.bin").read_bytes()
        assert seen == (nginx.root / "sizes" / "size-150000.bin").read_bytes()
        with pytest.raises(FileNotFoundError):
            (mount.path / "size-1.bin").stat()


def test_a_single_file_of_awkward_name_mounts_too(nginx: Server, make_mount: MakeMount) -> None:
    with make_mount(f"{nginx.url}names/C%23.txt") as mount:
        assert os.listdir(mount.path) == ["C#.txt"]
        assert (mount.path / "C#.txt").read_bytes() == b"content of C#.txt\n"


def test_a_folder_without_its_slash_is_mounted_as_a_folder(nginx: Server, make_mount: MakeMount) -> None:
    with make_mount(f"{nginx.url}text") as mount:
        assert sorted(os.listdir(mount.path)) == sorted(os.listdir(nginx.root / "text"))
        assert (mount.path / "d0" / "e0" / "f00.txt").read_text().startswith("record 0")


def test_a_server_without_ranges_gives_each_file_once_to_all_readers(
    start_server: StartServer, make_mount: MakeMount, www: Path
) -> None:
    size = 24 * MiB + 11
    for name in ("a.bin", "b.bin"):
        (www / name).write_bytes(content(name, size))
    age(www)
    server = start_server(PythonHttp, www)
    with make_mount(server.url) as mount:
        mount.expect_log("range")  # worth a word to the operator
        for name in ("a.bin", "b.bin"):
            step = size // 8
            parts = [(mount.path / name, www / name, n * step, size, 100_000 + n) for n in range(8)]
            run_readers(mount, "part_reader.py", parts, limit_s=60)
            assert first_difference((mount.path / name).read_bytes(), (www / name).read_bytes()) is None
            gets = [seen for seen in server.log() if seen.method == "GET" and seen.uri == f"/{name}"]
            assert len([seen for seen in gets if not seen.range]) <= 1, "the whole of it was sent more than once"


class LikeMiniHttpd(http.server.SimpleHTTPRequestHandler):
    """Python's server with the index pages of mini_httpd: folders without a slash, and with a size."""

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""

    def list_directory(self, path: str | os.PathLike[str]) -> None:
        rows = []
        for entry in [(".", os.stat(path)), ("..", os.stat(path)), *((e.name, e.stat()) for e in os.scandir(path))]:
            name, seen = entry
            when = time.strftime("%d%b%Y %H:%M", time.gmtime(seen.st_mtime))
            rows.append(f'<a href="{name}">{name:<32}</a>    {when:>15} {seen.st_size:>14}\n')
        page = f"<title>Index of ./</title><h4>Index of ./</h4><pre>\n{''.join(rows)}</pre>".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=%s")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)


@pytest.fixture
def like_mini_httpd(www: Path) -> Iterator[str]:
    def handler(*given: object) -> LikeMiniHttpd:
        return LikeMiniHttpd(*given, directory=str(www))  # type: ignore[arg-type]  # as socketserver calls it

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


def test_a_server_that_shows_folders_as_files_can_be_walked(
    like_mini_httpd: str, make_mount: MakeMount, www: Path
) -> None:
    (www / "sub" / "deep").mkdir(parents=True)
    (www / "page").mkdir()
    for name in ("top.txt", "sub/middle.txt", "sub/deep/low.txt", "page/x.txt"):
        (www / name).write_text(f"text of {name}\n")
    age(www)
    with make_mount(like_mini_httpd) as mount:
        mount.expect_log("range")
        for walk in (os.walk(mount.path), os.walk(mount.path)):
            seen = {os.path.relpath(place, mount.path): (sorted(folders), files) for place, folders, files in walk}
            assert seen == {
                ".": (["page", "sub"], ["top.txt"]),
                "page": ([], ["x.txt"]),
                "sub": (["deep"], ["middle.txt"]),
                "sub/deep": ([], ["low.txt"]),
            }
        low = mount.path / "sub" / "deep" / "low.txt"
        assert (low.stat().st_size, low.read_text()) == (25, "text of sub/deep/low.txt\n")
