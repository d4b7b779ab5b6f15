"""The figures and attributes that INTERFACE promises: there, of the right type, and adding up."""

from __future__ import annotations

import json
import os
import time

import pytest

from tests.e2e.conftest import MakeMount
from tests.serving import Server
from tests.trees import BIG_SIZE, MiB

pytestmark = pytest.mark.mount

FIGURES: dict[str, dict[str, type]] = {
    "reads": dict.fromkeys(("count", "bytes", "hit_bytes", "joined_bytes", "missed_bytes", "errors"), int)
    | dict.fromkeys(("p50_ms", "p99_ms"), float),
    "upstream": dict.fromkeys(("requests", "bytes", "retries", "errors", "in_flight", "version_changes"), int),
    "cache": dict.fromkeys(
        (
            *("bytes", "limit_bytes", "chunks", "objects", "evicted_bytes", "written_bytes"),
            *("corrupt_chunks", "recovered_chunks", "dropped_chunks", "pinned_bytes"),
        ),
        int,
    )
    | {"recovery_s": float},
    "memory": {"buffers_bytes": int, "limit_bytes": int},
}


def test_status_has_every_promised_figure(nginx: Server, make_mount: MakeMount) -> None:
    with make_mount(nginx.url) as mount:
        status = mount.status()
        assert status["mountpoint"] == str(mount.path)
        assert status["source"] == nginx.url
        assert status["pid"] == mount.pid
        assert status["uptime_s"] > 0
        assert status["state"] == "ok"
        assert status["reasons"] == []
        for group, figures in FIGURES.items():
            for name, kind in figures.items():
                value = status[group][name]
                assert isinstance(value, (int, float) if kind is float else int), (group, name, value)
        assert status["cache"]["limit_bytes"] == 20 << 30
        assert status["memory"]["limit_bytes"] == 128 << 20


def test_reads_are_counted_by_where_their_bytes_came_from(nginx: Server, make_mount: MakeMount) -> None:
    nginx.forget()
    with make_mount(nginx.url) as mount:
        big = mount.path / "big.bin"
        with big.open("rb", buffering=0) as file:
            while file.read(MiB):
                pass
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        first = mount.status()
        reads = first["reads"]
        assert reads["bytes"] == BIG_SIZE
        assert reads["hit_bytes"] + reads["joined_bytes"] + reads["missed_bytes"] == BIG_SIZE
        assert reads["missed_bytes"] > 0
        assert reads["errors"] == 0
        assert BIG_SIZE <= first["upstream"]["bytes"] <= 1.02 * BIG_SIZE
        big.read_bytes()
        second = mount.status()
        assert second["reads"]["bytes"] == 2 * BIG_SIZE
        assert second["reads"]["hit_bytes"] - reads["hit_bytes"] == BIG_SIZE
        assert second["upstream"]["requests"] == first["upstream"]["requests"]
        assert second["upstream"]["in_flight"] == 0
        give_up = time.monotonic() + 10
        while mount.status()["cache"]["bytes"] < BIG_SIZE or mount.status()["memory"]["buffers_bytes"] > 0:
            assert time.monotonic() < give_up, mount.status()
            time.sleep(0.1)
        cache = mount.status()["cache"]
        assert cache["objects"] == 1
        assert cache["chunks"] >= 1
        on_disk = sum(path.stat().st_size for path in mount.cache.rglob("*") if path.is_file())
        assert abs(on_disk - cache["bytes"]) <= 0.02 * on_disk
        assert BIG_SIZE <= cache["written_bytes"] <= 2 * BIG_SIZE
    assert nginx.body_bytes("/big.bin") <= 1.02 * BIG_SIZE


def test_status_without_a_mount_point_lists_all_of_this_users_mounts(nginx: Server, make_mount: MakeMount) -> None:
    with make_mount(nginx.url) as mount:
        ran = mount.rangefs("status", "--json")
        assert ran.returncode == 0, ran.stderr
        assert str(mount.path) in [one["mountpoint"] for one in json.loads(ran.stdout)]
        for words in (("status",), ("status", str(mount.path))):
            ran = mount.rangefs(*words)
            assert ran.returncode == 0, ran.stderr
            assert str(mount.path) in ran.stdout


def test_extended_attributes_say_where_the_bytes_come_from(nginx: Server, make_mount: MakeMount) -> None:
    with make_mount(nginx.url) as mount:
        file = mount.path / "sizes" / "size-150000.bin"
        file.read_bytes()
        assert {
            *("user.rangefs.url", "user.rangefs.validator", "user.rangefs.cached_bytes", "user.rangefs.state")
        } <= set(os.listxattr(file))
        assert os.getxattr(file, "user.rangefs.url").decode() == f"{nginx.url}sizes/size-150000.bin"
        assert os.getxattr(file, "user.rangefs.state") == b"fresh"
        assert os.getxattr(file, "user.rangefs.validator").startswith(b'"')
        give_up = time.monotonic() + 5
        while int(os.getxattr(file, "user.rangefs.cached_bytes")) != 150_000:
            assert time.monotonic() < give_up
            time.sleep(0.05)
        with pytest.raises(OSError, match="No data"):
            os.getxattr(file, "user.rangefs.nonsense")


def test_cache_folder_is_private(nginx: Server, make_mount: MakeMount) -> None:
    with make_mount(nginx.url) as mount:
        (mount.path / "sizes" / "size-150000.bin").read_bytes()
        mount.stop()
        assert mount.cache.stat().st_mode & 0o777 == 0o700
        files = [path for path in mount.cache.rglob("*") if path.is_file()]
        assert files
        assert {path.stat().st_mode & 0o777 for path in files} == {0o600}


def test_statfs_is_never_zero(nginx: Server, make_mount: MakeMount) -> None:
    with make_mount(nginx.url) as mount:
        made_up = os.statvfs(mount.path)
        assert min(made_up.f_blocks, made_up.f_bsize, made_up.f_files, made_up.f_namemax) > 0
        assert made_up.f_flag & os.ST_RDONLY


def test_owner_and_modes_are_as_asked(nginx: Server, make_mount: MakeMount) -> None:
    with make_mount(nginx.url, uid=1234, gid=4321, umask="027", file_mode="0555") as mount:
        seen = (mount.path / "sizes" / "size-1.bin").stat()
        assert (seen.st_uid, seen.st_gid, seen.st_mode & 0o7777) == (1234, 4321, 0o550)
        folder = (mount.path / "sizes").stat()
        assert (folder.st_uid, folder.st_gid, folder.st_mode & 0o7777) == (1234, 4321, 0o550)
