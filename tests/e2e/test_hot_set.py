"""One long sequential read through a small cache: it is fetched once, and costs what is used often nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.e2e.conftest import MakeMount
from tests.servers import Nginx
from tests.trees import MiB, age, content

pytestmark = pytest.mark.mount

HOT = 8
HOT_SIZE = 2 * MiB
SCAN_SIZE = 320 * MiB  # ten times the cache
CAP = "32MiB"


def read_all(path: Path) -> int:
    """Read to the end in pieces, and let the kernel forget it: the next read asks rangefs."""
    length = 0
    with path.open("rb", buffering=0) as file:
        while piece := file.read(MiB):
            length += len(piece)
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return length


def test_a_scan_of_ten_times_the_cache_is_fetched_once_and_leaves_the_hot_set(
    start_server: StartServer, make_mount: MakeMount, www: Path
) -> None:
    for number in range(HOT):
        (www / f"hot{number}").write_bytes(content(f"hot{number}", HOT_SIZE))
    with (www / "scan").open("wb") as file:
        for _ in range(SCAN_SIZE // (32 * MiB)):
            file.write(content("scan", 32 * MiB))
    age(www)
    server = start_server(Nginx, www)
    with make_mount(server.url, cache_size=CAP) as mount:
        for _ in range(2):
            assert sum(read_all(mount.path / f"hot{number}") for number in range(HOT)) == HOT * HOT_SIZE
        assert read_all(mount.path / "scan") == SCAN_SIZE
        assert server.body_bytes("/scan") <= 1.02 * SCAN_SIZE
        server.forget()
        assert sum(read_all(mount.path / f"hot{number}") for number in range(HOT)) == HOT * HOT_SIZE
        assert server.body_bytes() <= 0.2 * HOT * HOT_SIZE
