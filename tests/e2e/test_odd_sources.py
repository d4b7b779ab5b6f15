"""Sources that are no folder with ranges: one file, a server that ignores ranges, a body of unknown length."""

from __future__ import annotations

import os
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
