"""What the shell sees: exit statuses, and one line on standard error that says what and what to do."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from rangefs import __version__
from rangefs.cli.main import COMMANDS

from .conftest import Run, served_pids

USAGE = [
    ("nosuch",),
    ("mount",),
    ("mount", "http://h/"),
    ("mount", "notaurl", "/mnt"),
    ("mount", "http://h/", "/mnt", "--memory", "lots"),
    ("mount", "http://h/", "/mnt", "more"),
    ("mount", "http://h/", "/mnt", "--mirror", "http://h"),
    ("umount",),
    ("umount", "/mnt", "--timeout", "x"),
    ("status", "a", "b"),
]


@pytest.mark.parametrize("words", USAGE, ids=" ".join)
def test_bad_usage_is_status_2_and_one_line(rangefs: Run, words: tuple[str, ...]) -> None:
    done = rangefs(*words)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_no_command_shows_the_usage(rangefs: Run) -> None:
    done = rangefs()
    assert done.returncode == 2
    assert "usage: rangefs COMMAND" in done.stderr


def test_version_and_help_are_status_0(rangefs: Run) -> None:
    assert rangefs("--version").stdout == f"rangefs {__version__}\n"
    listed = rangefs("--help").stdout
    for command in COMMANDS:
        assert f"  {command} " in listed
        done = rangefs(command, "--help")
        assert done.returncode == 0
        assert done.stdout.startswith(f"usage: rangefs {command}")


def test_a_missing_mount_point_says_what_to_do(fake: Run, tmp_path: Path) -> None:
    done = fake("mount", "http://fake/ok", tmp_path / "none")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "does not exist: mkdir -p" in done.stderr


def test_a_file_as_mount_point_is_refused(fake: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = fake("mount", "http://fake/ok", tmp_path / "file")
    assert done.returncode == 1
    assert "is not a directory" in done.stderr


def test_a_place_where_something_is_mounted_is_refused(fake: Run) -> None:
    done = fake("mount", "http://fake/ok", "/proc", "--cache-dir", "/var/tmp/never-made")
    assert done.returncode == 1
    assert "/proc is already a mount point (proc)" in done.stderr


@pytest.mark.parametrize("command", ["umount", "status"])
def test_what_is_not_mounted_is_status_1(rangefs: Run, mountpoint: Path, command: str) -> None:
    done = rangefs(command, mountpoint)
    assert done.returncode == 1
    assert done.stderr == f"rangefs: {mountpoint} is not mounted\n"


@pytest.mark.parametrize("command", ["umount", "status"])
def test_a_mount_of_another_kind_is_left_alone(rangefs: Run, command: str) -> None:
    done = rangefs(command, "/proc")
    assert done.returncode == 1
    assert "/proc is a mount of proc, not of rangefs" in done.stderr


# -- background -------------------------------------------------------------------


def test_a_background_mount_returns_when_it_answers_and_goes_on(fake: Run, mountpoint: Path, tmp_path: Path) -> None:
    done = fake("mount", "http://fake/ok", mountpoint, "--log-file", tmp_path / "mount.log")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    (pid,) = served_pids(tmp_path)
    assert Path(f"/proc/{pid}").exists()
    assert Path(f"/proc/{pid}/cwd").readlink() == Path("/")
    session = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[3])
    assert session == pid
    for fd, target in ((0, "/dev/null"), (1, "/dev/null"), (2, str(tmp_path / "mount.log"))):
        assert str(Path(f"/proc/{pid}/fd/{fd}").readlink()) == target


@pytest.mark.parametrize(
    ("fate", "status", "words"),
    [
        ("refused", 1, "rangefs: http://fake/: connection refused; is the server up, and the address right?"),
        ("badfile", 2, "rangefs: --netrc: others can read it: chmod 600"),
        ("bug", 1, "rangefs: internal error (ValueError): see "),
        ("dies", 1, "rangefs: rangefs ended before the mount answered (exit status 3): see "),
        ("killed", 1, "rangefs: rangefs ended before the mount answered (signal 9): see "),
    ],
)
def test_a_mount_that_does_not_come_up_is_one_line(
    fake: Run, mountpoint: Path, tmp_path: Path, fate: str, status: int, words: str
) -> None:
    done = fake("mount", f"http://fake/{fate}", mountpoint, "--log-file", tmp_path / "mount.log")
    assert done.returncode == status
    assert done.stderr.startswith(words)
    assert done.stderr.count("\n") == 1


def test_a_cache_whose_owner_is_just_leaving_is_waited_for(fake: Run, mountpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    done = fake("mount", "http://fake/leaving", mountpoint, "--cache-dir", tmp_path / "c")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_cache_that_stays_locked_is_refused(fake: Run, mountpoint: Path) -> None:
    done = fake("mount", "http://fake/locked", mountpoint)
    assert (done.returncode, done.stderr) == (1, "rangefs: in use by process 1\n")


def test_a_bug_leaves_its_traceback_in_the_log(fake: Run, mountpoint: Path, tmp_path: Path) -> None:
    fake("mount", "http://fake/bug", mountpoint, "--log-file", tmp_path / "mount.log")
    assert "ValueError: a fault of ours" in (tmp_path / "mount.log").read_text()


def test_a_failure_after_the_mount_answered_is_in_the_log(fake: Run, mountpoint: Path, tmp_path: Path) -> None:
    done = fake("mount", "http://fake/late", mountpoint, "--log-file", tmp_path / "mount.log")
    assert done.returncode == 0
    deadline = time.monotonic() + 10
    while "gone after all" not in (tmp_path / "mount.log").read_text() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert "ERROR" in (tmp_path / "mount.log").read_text()


def test_in_the_foreground_the_log_is_standard_error(fake: Run, mountpoint: Path) -> None:
    done = fake("mount", "http://fake/short", mountpoint, "--foreground", "--log-format", "json")
    assert done.returncode == 0
    assert '"logger": "rangefs.fake"' in done.stderr
    done = fake("mount", "http://fake/refused", mountpoint, "--foreground")
    assert (done.returncode, done.stderr) == (
        1,
        "rangefs: http://fake/: connection refused; is the server up, and the address right?\n",
    )


def test_a_log_file_that_cannot_be_made_is_one_line(fake: Run, mountpoint: Path, tmp_path: Path) -> None:
    for more in ((), ("--foreground",)):
        done = fake("mount", "http://fake/short", mountpoint, "--log-file", tmp_path / "no" / "log", *more)
        assert done.returncode == 1
        assert "log file" in done.stderr
        assert done.stderr.count("\n") == 1


def test_nothing_that_was_inherited_is_kept_open(
    fake: Run, home: dict[str, str], mountpoint: Path, tmp_path: Path
) -> None:
    """A shell that waits for the end of a pipe, or holds a lock by flock(1), must not wait for the mount."""
    reading, writing = os.pipe()
    command = [sys.executable, Path(__file__).parent / "fake_rangefs.py", "mount", "http://fake/ok", mountpoint]
    more = ["--log-file", tmp_path / "mount.log"]
    done = subprocess.run([*command, *more], env=home, pass_fds=[writing], timeout=30, check=False)
    os.close(writing)
    assert done.returncode == 0
    assert select.select([reading], [], [], 10)[0]
    assert os.read(reading, 1) == b""
    os.close(reading)


def test_ctrl_c_while_waiting_ends_the_background_process_too(
    home: dict[str, str], mountpoint: Path, tmp_path: Path
) -> None:
    log = tmp_path / "mount.log"
    command = [sys.executable, Path(__file__).parent / "fake_rangefs.py", "mount", "http://fake/slow", mountpoint]
    # What is started in the background of a script without job control, these tests for one, ignores SIGINT.
    listens = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen([*command, "--log-file", log], env=home, preexec_fn=listens) as process:
        deadline = time.monotonic() + 20
        while not (log.exists() and "not serving yet" in log.read_text()):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        child = int(log.read_text().split()[-1])
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 130
    assert not Path(f"/proc/{child}").exists()


def test_closed_standard_files_are_no_trouble(home: dict[str, str], mountpoint: Path, tmp_path: Path) -> None:
    program = Path(__file__).parent / "fake_rangefs.py"
    command = (
        f"exec {sys.executable} {program} mount http://fake/short {mountpoint} --log-file {tmp_path}/l <&- >&- 2>&-"
    )
    assert subprocess.run(["sh", "-c", command], env=home, timeout=30, check=False).returncode == 0
    assert "serving" in (tmp_path / "l").read_text()


def test_a_name_that_is_no_utf8_leaves_as_it_came(home: dict[str, str], tmp_path: Path) -> None:
    command = [sys.executable.encode(), b"-m", b"rangefs", b"umount", os.fsencode(tmp_path) + b"/\xff"]
    done = subprocess.run(command, env=home, capture_output=True, timeout=30, check=False)
    assert done.returncode == 1
    assert done.stderr == b"rangefs: " + os.fsencode(tmp_path) + b"/\xff is not mounted\n"


# -- mount.rangefs ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("http://fake/refused", "MNT", "-o", "rw"), 32),
        (("http://fake/ok", "/nowhere"), 32),
        (("http://fake/ok", "MNT", "-o", "nosuch"), 2),
        (("http://fake/ok",), 2),
        (("http://fake/ok", "MNT", "-s", "-f", "-o", "nosuch"), 0),
        (("http://fake/short", "MNT", "-n", "-v", "-o", "ro,nosuid,_netdev", "-t", "rangefs"), 0),
    ],
)
def test_the_mount_helper_speaks_mount8(fake: Run, mountpoint: Path, words: tuple[str, ...], status: int) -> None:
    done = fake(*(str(mountpoint) if word == "MNT" else word for word in words), AS_HELPER="1")
    assert done.returncode == status, done.stderr
    assert done.stderr.count("\n") == (1 if status else 0)
