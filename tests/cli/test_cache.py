"""``rangefs cache`` on the folder that a real mount left."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from rangefs.cli import demo_server

from .conftest import Run

pytestmark = [
    pytest.mark.mount,
    pytest.mark.skipif(not os.access("/dev/fuse", os.R_OK | os.W_OK), reason="/dev/fuse can't be opened"),
]
BYTES = bytes(range(256)) * 4096


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "www"
    folder.mkdir()
    (folder / "a.bin").write_bytes(BYTES)
    os.utime(folder / "a.bin", (1_700_000_000, 1_700_000_000))
    with demo_server.serving(folder) as url:
        yield url


@pytest.fixture
def cache(rangefs: Run, url: str, mountpoint: Path, tmp_path: Path) -> Path:
    """A cache that holds the whole of a.bin."""
    folder = tmp_path / "c"
    assert rangefs("mount", url, mountpoint, "--cache-dir", folder).returncode == 0
    try:
        subprocess.run(["cat", mountpoint / "a.bin"], stdout=subprocess.DEVNULL, timeout=30, check=True)
        refused = rangefs("cache", "ls", "--cache-dir", folder)
    finally:
        assert rangefs("umount", mountpoint).returncode == 0
    assert refused.returncode == 1
    assert "is in use by process" in refused.stderr
    return folder


def chunk(cache: Path) -> Path:
    return max((path for path in (cache / "chunks").rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def test_ls_names_what_is_kept(rangefs: Run, cache: Path, url: str) -> None:
    (one,) = json.loads(rangefs("cache", "ls", "--cache-dir", cache, "--json").stdout)
    assert (one["key"], one["size"], one["cached_bytes"], one["level"]) == ("a.bin", len(BYTES), len(BYTES), "strong")
    text = rangefs("cache", "ls", "--cache-dir", cache).stdout
    assert url in text
    assert "100 % of 1 MiB" in text
    assert text.endswith("1 files, 1 MiB\n")


def test_verify_is_0_for_a_clean_cache_and_1_for_a_damaged_one(rangefs: Run, cache: Path) -> None:
    done = rangefs("cache", "verify", "--cache-dir", cache)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "clean")
    path = chunk(cache)
    data = bytearray(path.read_bytes())
    data[-5000] ^= 1
    path.write_bytes(data)
    done = rangefs("cache", "verify", "--cache-dir", cache)
    assert done.returncode == 1
    assert path.name in done.stdout
    assert rangefs("cache", "verify", "--cache-dir", cache, "--repair").returncode == 0
    assert rangefs("cache", "verify", "--cache-dir", cache, "--json").returncode == 0


def test_a_lost_manifest_is_rebuilt(rangefs: Run, cache: Path) -> None:
    (cache / "CURRENT").unlink()
    assert rangefs("cache", "verify", "--cache-dir", cache, "--rebuild").returncode == 0
    (one,) = json.loads(rangefs("cache", "ls", "--cache-dir", cache, "--json").stdout)
    assert one["cached_bytes"] == len(BYTES)


def test_gc_removes_what_is_not_of_the_cache(rangefs: Run, cache: Path) -> None:
    path = chunk(cache)
    stray = path.with_name("not-a-chunk")
    shutil.copy(path, stray)
    done = rangefs("cache", "gc", "--cache-dir", cache, "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["files"] == 1
    assert not stray.exists()
    assert path.exists()


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("ls",), 2),
        (("ls", "--cache-dir", "/nowhere/at/all"), 1),
        (("frob", "--cache-dir", "/tmp"), 2),
        (("ls", "--repair", "--cache-dir", "/tmp"), 2),
        (("verify", "--repair", "--rebuild", "--cache-dir", "/tmp"), 2),
    ],
)
def test_what_is_off_is_one_line(rangefs: Run, words: tuple[str, ...], status: int) -> None:
    done = rangefs("cache", *words)
    assert done.returncode == status
    assert done.stderr.count("\n") == 1
