"""Each byte is fetched once: nginx's log is the witness."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.e2e.conftest import MakeMount
from tests.e2e.processes import run_readers
from tests.servers import Nginx
from tests.serving import Request, Server
from tests.trees import BIG_SIZE, MiB

pytestmark = pytest.mark.mount


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def drop_kernel_pages(path: Path) -> None:
    """So that the next read asks rangefs, not the kernel."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def fetches(server: Server, uri: str) -> list[Request]:
    """Requests for the file's bytes."""
    return [seen for seen in server.log() if seen.method == "GET" and seen.uri == uri]


def test_24_processes_over_parts_of_a_cold_file_fetch_it_once(nginx: Server, make_mount: MakeMount) -> None:
    nginx.forget()
    with make_mount(nginx.url) as mount:
        on_mount, truth = mount.path / "big.bin", nginx.root / "big.bin"
        step = BIG_SIZE // 24
        blocks = (4096, 65_536, 100_000, 131_072, 1 * MiB, 777_777)
        parts = [
            (on_mount, truth, number * step, min(BIG_SIZE, (number + 5) * step), blocks[number % len(blocks)])
            for number in range(24)
        ]
        run_readers(mount, "part_reader.py", parts, limit_s=100)
    fetched = nginx.body_bytes("/big.bin")
    assert BIG_SIZE <= fetched <= 1.02 * BIG_SIZE, f"{fetched / BIG_SIZE:.4f} times the file"


def test_24_processes_reading_the_whole_of_a_cold_file_fetch_it_once(nginx: Server, make_mount: MakeMount) -> None:
    nginx.forget()
    with make_mount(nginx.url) as mount:
        whole = (mount.path / "big.bin", nginx.root / "big.bin", 0, BIG_SIZE, MiB)
        run_readers(mount, "part_reader.py", [whole] * 24, limit_s=100)
    fetched = nginx.body_bytes("/big.bin")
    assert BIG_SIZE <= fetched <= 1.02 * BIG_SIZE, f"{fetched / BIG_SIZE:.4f} times the file"


def test_the_second_read_asks_upstream_for_nothing(nginx: Server, make_mount: MakeMount) -> None:
    with make_mount(nginx.url) as mount:
        file = mount.path / "big.bin"
        first = digest(file)
        assert first == digest(nginx.root / "big.bin")
        drop_kernel_pages(file)
        nginx.forget()
        assert digest(file) == first
        assert nginx.log() == []


def test_what_was_read_survives_sigkill_and_is_not_fetched_again(nginx: Server, make_mount: MakeMount) -> None:
    with make_mount(nginx.url) as mount:
        first = digest(mount.path / "big.bin")
        small = [mount.path / "sizes" / name for name in os.listdir(mount.path / "sizes")]
        sums = [digest(path) for path in small]
        time.sleep(1.5)  # the batch interval is 1 s: what is older must be there
        mount.remount()
        nginx.forget()
        assert digest(mount.path / "big.bin") == first
        assert [digest(path) for path in small] == sums
        paths = ["/big.bin", *(f"/sizes/{path.name}" for path in small)]
        assert [seen for path in paths for seen in fetches(nginx, path) if seen.body_bytes > 0] == []


def test_what_was_read_survives_an_orderly_unmount(nginx: Server, make_mount: MakeMount) -> None:
    with make_mount(nginx.url) as mount:
        first = digest(mount.path / "big.bin")
        mount.stop()  # at once: an orderly end writes what is still in memory
        nginx.forget()
        mount.start()
        assert digest(mount.path / "big.bin") == first
        assert fetches(nginx, "/big.bin") == []


def test_random_small_reads_do_not_download_the_world(nginx: Server, make_mount: MakeMount) -> None:
    nginx.forget()
    with make_mount(nginx.url) as mount, (mount.path / "big.bin").open("rb", buffering=0) as file:
        for number in range(64):
            os.pread(file.fileno(), 4096, (number * 7_919 * 4096) % (BIG_SIZE - 4096))
    assert nginx.body_bytes("/big.bin") <= 64 * 1 * MiB


def test_listings_with_exact_sizes_cost_no_request_a_file(nginx: Server, make_mount: MakeMount) -> None:
    nginx.forget()
    with make_mount(nginx.url) as mount:
        for _ in range(3):
            for folder, _, names in os.walk(mount.path / "text"):
                for name in names:
                    os.stat(os.path.join(folder, name))
        folders = 1 + sum(len(names) for _, names, _ in os.walk(nginx.root / "text"))
        asked = [seen for seen in nginx.log() if seen.uri.startswith("/text/")]
    assert {seen.method for seen in asked} == {"GET"}
    assert len(asked) == folders


def test_ls_l_on_a_listing_of_rounded_sizes_shows_exact_ones_for_a_head_each(
    start_server: StartServer, make_mount: MakeMount, www: Path
) -> None:
    for number in range(40):
        (www / f"f{number}.bin").write_bytes(b"x" * (1000 + 37 * number))
    server = start_server(lambda root, scratch: Nginx(root, scratch, exact_size=False), www)
    with make_mount(server.url) as mount:
        assert sorted(os.listdir(mount.path)) == sorted(os.listdir(www))
        assert [seen for seen in server.log() if seen.method == "HEAD" and seen.uri != "/"] == []
        for _ in range(2):
            sizes = {entry.name: entry.stat().st_size for entry in os.scandir(mount.path)}
            assert sizes == {entry.name: entry.stat().st_size for entry in os.scandir(www)}
        asked = [seen for seen in server.log() if seen.uri.startswith("/f")]
    assert len(asked) <= 40, "a HEAD a file at most, and only for who asks"
