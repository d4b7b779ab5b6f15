"""The commands on real mounts of the demo's server: background, status, unmount, takeover, mount(8), demo, doctor."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rangefs.cli import demo, demo_server, mountpoints

from .conftest import ROOT, Run

pytestmark = [
    pytest.mark.mount,
    pytest.mark.skipif(not os.access("/dev/fuse", os.R_OK | os.W_OK), reason="/dev/fuse can't be opened"),
]
TEXT = "A web server's folder, mounted by rangefs.\nWhat you read is fetched once, and kept.\n"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("www")
    demo.make_sample(folder)
    with demo_server.serving(folder) as url:
        yield url


@pytest.fixture
def mnt(mountpoint: Path) -> Iterator[Path]:
    """A mount point that is free again in the end, whatever the test did."""
    yield mountpoint
    while mountpoints.mount_at(mountpoint) is not None:
        mountpoints.detach(mountpoint, lazy=True)


def read(path: Path) -> str:
    """A file's text, read by another process: a mount must not be touched by the process that may serve it."""
    return subprocess.run(["cat", path], capture_output=True, text=True, timeout=30, check=True).stdout


def status(rangefs: Run, mnt: Path) -> dict[str, Any]:
    done = rangefs("status", mnt, "--json")
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def runs(pid: int) -> bool:
    """Is it there, and more than an entry that its parent has not asked for yet?"""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_mount_read_status_unmount_and_mount_again(rangefs: Run, url: str, mnt: Path, tmp_path: Path) -> None:
    cache = tmp_path / "made" / "by the way" / "c"
    done = rangefs("mount", url, mnt, "--cache-dir", cache)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert read(mnt / "README.txt") == TEXT
    shown = status(rangefs, mnt)
    assert (shown["mountpoint"], shown["source"]) == (str(mnt), url)
    assert shown["reads"]["bytes"] == len(TEXT)
    assert not [reason for reason in shown["reasons"] if "cache" in reason]
    assert f"{mnt}  " in rangefs("status", mnt).stdout

    done = rangefs("umount", mnt)
    assert (done.returncode, done.stderr) == (0, "")
    assert mountpoints.mount_at(mnt) is None
    assert not runs(shown["pid"])

    assert rangefs("mount", url, mnt, "--cache-dir", cache).returncode == 0
    assert read(mnt / "README.txt") == TEXT
    assert status(rangefs, mnt)["reads"]["missed_bytes"] == 0


def test_the_list_of_statuses_holds_each_mount_of_ours(rangefs: Run, url: str, mnt: Path) -> None:
    assert rangefs("mount", url, mnt).returncode == 0
    listed = json.loads(rangefs("status", "--json").stdout)
    assert str(mnt) in [one["mountpoint"] for one in listed]


def test_mounting_twice_is_refused_with_the_pid(rangefs: Run, url: str, mnt: Path) -> None:
    assert rangefs("mount", url, mnt).returncode == 0
    done = rangefs("mount", url, mnt)
    pid = status(rangefs, mnt)["pid"]
    assert done.returncode == 1
    assert done.stderr == f"rangefs: {mnt} is already a rangefs mount (pid {pid}): rangefs umount it first\n"


def test_a_busy_mount_says_who_holds_it_and_lazy_helps(rangefs: Run, url: str, mnt: Path) -> None:
    assert rangefs("mount", url, mnt).returncode == 0
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], cwd=mnt) as holder:
        done = rangefs("umount", mnt)
        assert done.returncode == 1
        assert done.stderr.startswith(f"rangefs: {mnt} is busy: held by ")
        assert f"(pid {holder.pid})" in done.stderr
        assert rangefs("umount", mnt, "--lazy").returncode == 0
        assert mountpoints.mount_at(mnt) is None
        holder.kill()


def killed(rangefs: Run, mnt: Path) -> None:
    os.kill(status(rangefs, mnt)["pid"], signal.SIGKILL)
    deadline = time.monotonic() + 10
    while not mountpoints.is_dead(mnt):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_mount_point_of_a_killed_rangefs_is_taken_over(rangefs: Run, url: str, mnt: Path) -> None:
    assert rangefs("mount", url, mnt).returncode == 0
    assert read(mnt / "README.txt") == TEXT
    killed(rangefs, mnt)
    done = rangefs("status", mnt)
    assert done.returncode == 1
    assert done.stderr == f"rangefs: {mnt} is dead, its process is gone: rangefs umount it\n"
    assert f"{mnt} is dead" in rangefs("status").stderr
    done = rangefs("mount", url, mnt)
    assert (done.returncode, done.stderr) == (0, "")
    assert read(mnt / "README.txt") == TEXT
    assert [entry.mountpoint for entry in mountpoints.mounts()].count(mnt) == 1


def test_a_dead_mount_can_be_unmounted(rangefs: Run, url: str, mnt: Path) -> None:
    assert rangefs("mount", url, mnt).returncode == 0
    killed(rangefs, mnt)
    assert rangefs("umount", mnt).returncode == 0
    assert mountpoints.mount_at(mnt) is None


def test_a_stopped_mount_is_not_taken_for_a_dead_one(rangefs: Run, url: str, mnt: Path) -> None:
    assert rangefs("mount", url, mnt).returncode == 0
    handle = os.pidfd_open(status(rangefs, mnt)["pid"])
    signal.pidfd_send_signal(handle, signal.SIGSTOP)
    try:
        done = rangefs("status", mnt)
        assert done.returncode == 1
        assert f"{mnt} does not answer" in done.stderr
        done = rangefs("mount", url, mnt)
        assert done.returncode == 1
        assert "is already a rangefs mount" in done.stderr
    finally:
        signal.pidfd_send_signal(handle, signal.SIGCONT)
        os.close(handle)
    assert read(mnt / "README.txt") == TEXT


def test_sigterm_unmounts(rangefs: Run, url: str, mnt: Path) -> None:
    assert rangefs("mount", url, mnt).returncode == 0
    handle = os.pidfd_open(status(rangefs, mnt)["pid"])
    signal.pidfd_send_signal(handle, signal.SIGTERM)
    deadline = time.monotonic() + 20
    while mountpoints.mount_at(mnt) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.close(handle)


@pytest.mark.parametrize("source", ["http://127.0.0.1:1/", "{url}README.txt/", "{url}nothing/here/"])
def test_a_source_that_cannot_be_mounted_is_one_line_and_leaves_no_mount(
    rangefs: Run, url: str, mnt: Path, source: str
) -> None:
    done = rangefs("mount", source.format(url=url), mnt)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert mountpoints.mount_at(mnt) is None


def test_a_single_file_is_shown_alone(rangefs: Run, url: str, mnt: Path) -> None:
    assert rangefs("mount", f"{url}README.txt", mnt).returncode == 0
    assert read(mnt / "README.txt") == TEXT
    listed = subprocess.run(["ls", "-A", mnt], capture_output=True, text=True, timeout=30, check=True)
    assert listed.stdout == "README.txt\n"


def test_systemd_hears_ready_when_the_mount_answers_then_life_signs_then_stopping(
    home: dict[str, str], url: str, mnt: Path, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(30)
        told = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"}
        command = [sys.executable, "-m", "rangefs", "mount", url, mnt, "--foreground"]
        with subprocess.Popen(command, env=home | told, stderr=subprocess.PIPE) as process:
            while (message := manager.recv(4096)) == b"WATCHDOG=1":
                pass
            assert message == f"READY=1\nSTATUS=Mounted on {mnt}".encode()
            assert read(mnt / "README.txt") == TEXT
            assert manager.recv(4096) == manager.recv(4096) == b"WATCHDOG=1"
            process.terminate()
            while (message := manager.recv(4096)) == b"WATCHDOG=1":
                pass
            assert message.startswith(b"STOPPING=1\n")
            process.communicate(timeout=30)
        assert process.returncode == 0


# -- mount(8) -------------------------------------------------------------------------


@pytest.fixture
def mount8(tmp_path: Path, home: dict[str, str]) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Run a script in a mount namespace of its own, where /sbin has our helper: nothing of this machine is changed."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("mount namespaces need root and unshare(1)")
    helper = tmp_path / "sbin" / "mount.rangefs"
    helper.parent.mkdir()
    program = "import sys; from rangefs.cli.main import mount_helper; sys.exit(mount_helper())"
    environment = " ".join(f"{name}='{value}'" for name, value in home.items())
    helper.write_text(f"#!/bin/sh\n{environment} exec {sys.executable} -c '{program}' \"$@\"\n")
    helper.chmod(0o755)

    def run(script: str) -> subprocess.CompletedProcess[str]:
        overlay = f"mount -t overlay none -o lowerdir={helper.parent}:/usr/sbin /usr/sbin || exit 99\n"
        done = subprocess.run(
            ["unshare", "-m", "sh", "-c", overlay + script], capture_output=True, text=True, timeout=60, check=False
        )
        if done.returncode == 99 or done.stderr.startswith("unshare: "):
            pytest.skip("no mount namespaces or overlay mounts here")
        return done

    return run


def test_mount_t_rangefs_works(mount8: Callable[[str], subprocess.CompletedProcess[str]], url: str, mnt: Path) -> None:
    done = mount8(f"mount -t rangefs -o nodev,metadata_ttl=5m {url} {mnt} && cat {mnt}/README.txt && umount {mnt}")
    assert (done.returncode, done.stdout, done.stderr) == (0, TEXT, "")


def test_a_line_of_fstab_works(
    mount8: Callable[[str], subprocess.CompletedProcess[str]], url: str, mnt: Path, tmp_path: Path
) -> None:
    table = tmp_path / "fstab"
    (sample,) = [
        line
        for line in (ROOT / "systemd" / "fstab.example").read_text().splitlines()
        if "noauto" in line and line[0] != "#"
    ]
    _, _, *rest = sample.split()
    table.write_text(" ".join([url, str(mnt), *rest]) + "\n")
    done = mount8(
        f"mount -T {table} {mnt} && cat {mnt}/README.txt && umount {mnt} && mount -T {table} {mnt} && umount {mnt}"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, TEXT, "")


def test_a_failure_is_mount8s_status_32(mount8: Callable[[str], subprocess.CompletedProcess[str]], mnt: Path) -> None:
    done = mount8(f"mount -t rangefs http://127.0.0.1:1/ {mnt}")
    assert done.returncode == 32
    assert done.stderr.startswith("mount.rangefs: ")


# -- demo and doctor ---------------------------------------------------------------------


def test_the_demo_mounts_says_so_and_cleans_up_on_ctrl_c(home: dict[str, str], tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    command = [sys.executable, "-m", "rangefs", "demo"]
    environment = home | {"TMPDIR": str(temporary)}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        mnt = Path(process.stdout.readline().split(" is mounted on ")[1].split(".")[0])
        assert read(mnt / "README.txt") == TEXT
        checked = subprocess.run(
            ["sha256sum", "--quiet", "-c", "SHA256SUMS"],
            cwd=mnt,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, "")
    assert list(temporary.iterdir()) == []


def test_the_doctor_likes_the_demos_server(rangefs: Run, url: str) -> None:
    done = rangefs("doctor", url)
    assert done.returncode == 0, done.stdout
    for words in ("ranges work", "strong ETags", "exact sizes", "/dev/fuse can be opened"):
        assert words in done.stdout


def test_the_doctor_says_what_is_wrong_with_a_server(rangefs: Run) -> None:
    done = rangefs("doctor", "http://127.0.0.1:1/")
    assert done.returncode == 1
    assert "\n  BAD   http://127.0.0.1:1" in done.stdout
    assert done.stderr == ""
