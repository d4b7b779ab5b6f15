"""Mounting, unmounting, and all the ways a mount point or a cache folder can be in use."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.conftest import MakeMount
from tests.mounts import RangefsMount, mounted_at
from tests.serving import Server

pytestmark = pytest.mark.mount


def refused(mount: RangefsMount, *words: str, status: int = 1) -> str:
    """Run a command that must fail with `status` and one line; the line."""
    ran = mount.rangefs(*words)
    assert ran.returncode == status, (ran.stdout, ran.stderr)
    lines = ran.stderr.strip().splitlines()
    assert len(lines) == 1, ran.stderr
    return lines[0]


def test_mount_goes_to_the_background_once_it_answers(nginx: Server, make_mount: MakeMount) -> None:
    mount = make_mount(nginx.url)
    mount.path.mkdir()
    ran = mount.rangefs("mount", nginx.url, str(mount.path), "--cache-dir", str(mount.cache))
    assert ran.returncode == 0, ran.stderr
    assert sorted(os.listdir(mount.path)) == sorted(os.listdir(nginx.root))
    pid = mount.status()["pid"]
    ended = mount.rangefs("umount", str(mount.path))
    assert ended.returncode == 0, ended.stderr
    assert not mounted_at(mount.path)
    give_up = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < give_up, "the program outlives its mount"
        time.sleep(0.05)


def test_options_may_be_given_as_o_with_underscores(nginx: Server, make_mount: MakeMount) -> None:
    with make_mount(nginx.url, o="metadata_ttl=5s,cache_size=1GiB") as mount:
        assert mount.status()["cache"]["limit_bytes"] == 1 << 30


def test_sigterm_unmounts_and_exits_with_0(nginx: Server, make_mount: MakeMount) -> None:
    mount = make_mount(nginx.url)
    mount.start()
    os.listdir(mount.path)
    os.kill(mount.pid, signal.SIGTERM)
    assert mount.wait() == 0
    assert not mounted_at(mount.path)
    mount.check_log()


def test_an_unmount_by_other_means_ends_the_program(nginx: Server, make_mount: MakeMount) -> None:
    mount = make_mount(nginx.url)
    mount.start()
    subprocess.run(["fusermount3", "-u", str(mount.path)], check=True, timeout=10)
    assert mount.wait() == 0
    mount.check_log()


def test_a_missing_mount_point_is_one_line(nginx: Server, make_mount: MakeMount) -> None:
    mount = make_mount(nginx.url)
    nowhere = str(mount.base / "nowhere")
    assert "nowhere" in refused(mount, "mount", nginx.url, nowhere, "--cache-dir", str(mount.cache))
    assert not os.path.exists(nowhere)


def test_a_file_as_mount_point_is_one_line(nginx: Server, make_mount: MakeMount) -> None:
    mount = make_mount(nginx.url)
    (mount.base / "file").write_text("")
    refused(mount, "mount", nginx.url, str(mount.base / "file"), "--cache-dir", str(mount.cache))


def test_a_busy_mount_point_is_refused_and_its_mount_lives_on(nginx: Server, make_mount: MakeMount) -> None:
    with make_mount(nginx.url) as mount:
        words = ("mount", nginx.url, str(mount.path), "--cache-dir", str(mount.base / "other-cache"))
        assert str(mount.path) in refused(mount, *words)
        assert (mount.path / "text" / "d0" / "e0" / "f00.txt").read_text().startswith("record 0")


def test_a_second_mount_of_one_cache_is_refused_with_the_owners_pid(nginx: Server, make_mount: MakeMount) -> None:
    with make_mount(nginx.url) as mount:
        other = mount.base / "other"
        other.mkdir()
        line = refused(mount, "mount", nginx.url, str(other), "--cache-dir", str(mount.cache))
        assert str(mount.pid) in line
        assert not mounted_at(other)


def test_the_mount_point_of_a_dead_rangefs_is_taken_over(nginx: Server, make_mount: MakeMount) -> None:
    with make_mount(nginx.url) as mount:
        os.listdir(mount.path)
        mount.crash()
        with pytest.raises(OSError, match="not connected"):
            os.listdir(mount.path)
        assert mounted_at(mount.path)
        ran = mount.rangefs("mount", nginx.url, str(mount.path), "--cache-dir", str(mount.cache))
        assert ran.returncode == 0, ran.stderr
        assert sorted(os.listdir(mount.path)) == sorted(os.listdir(nginx.root))
        ended = mount.rangefs("umount", str(mount.path))
        assert ended.returncode == 0, ended.stderr
        assert not mounted_at(mount.path)
        mount.start()


def test_umount_of_what_is_no_mount_is_one_line(nginx: Server, make_mount: MakeMount) -> None:
    mount = make_mount(nginx.url)
    mount.path.mkdir()
    assert str(mount.path) in refused(mount, "umount", str(mount.path))


@pytest.mark.parametrize(
    "words",
    [
        ("mount",),
        ("mount", "http://127.0.0.1:1/"),
        ("mount", "http://127.0.0.1:1/", "{mnt}", "--no-such-option"),
        ("mount", "http://127.0.0.1:1/", "{mnt}", "--cache-size", "much"),
        ("mount", "http://127.0.0.1:1/", "{mnt}", "--metadata-ttl", "soon"),
        ("mount", "gopher://127.0.0.1/", "{mnt}"),
        ("mount", "http://127.0.0.1:1/", "{mnt}", "--header", "Authorization: Bearer x"),
        ("no-such-command",),
    ],
    ids=" ".join,
)
def test_bad_usage_exits_with_2(words: tuple[str, ...], make_mount: MakeMount) -> None:
    mount = make_mount("http://127.0.0.1:1/")
    mount.path.mkdir()
    ran = mount.rangefs(*(word.format(mnt=mount.path) for word in words))
    assert ran.returncode == 2, (ran.stdout, ran.stderr)
    assert "Traceback" not in ran.stderr


def test_version_and_help_need_nothing(make_mount: MakeMount) -> None:
    mount = make_mount("")
    assert mount.rangefs("--version").stdout.strip()
    for command in ("mount", "umount", "status", "doctor", "demo"):
        ran = mount.rangefs(command, "--help")
        assert ran.returncode == 0
        assert command in ran.stdout


def test_the_mount_helper_mounts_as_mount_8_calls_it(nginx: Server, make_mount: MakeMount) -> None:
    mount = make_mount(nginx.url)
    mount.path.mkdir()
    helper = "import sys; from rangefs.cli.main import mount_helper; sys.exit(mount_helper())"
    options = f"ro,nosuid,_netdev,cache_dir={mount.cache},metadata_ttl=30s"
    ran = subprocess.run(
        [sys.executable, "-c", helper, nginx.url, str(mount.path), "-o", options],
        env=mount.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert sorted(os.listdir(mount.path)) == sorted(os.listdir(nginx.root))
    ended = mount.rangefs("umount", str(mount.path))
    assert ended.returncode == 0, ended.stderr
