"""rangefs as its users have it: the public command line in a process of its own, and a mount that can't hang a test.

A FUSE mount whose program is stuck blocks whoever touches it, beyond SIGKILL. So everything here that touches a mount
is `bounded`: when the time is over, the kernel's side of the connection is aborted, every blocked call returns an
error, and the test fails instead of hanging.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

CHECKOUT = Path(__file__).resolve().parent.parent
READY_TIMEOUT_S = 30.0
COMMAND_TIMEOUT_S = 30.0
EXIT_TIMEOUT_S = 15.0
UMOUNT_TIMEOUT_S = 90.0  # an orderly end syncs the cache, which takes what the disk takes
UNEXPECTED = re.compile(r"\b(warning|error|critical|traceback|exception)\b", re.IGNORECASE)
MNT_FORCE, MNT_DETACH = 1, 2

libc = ctypes.CDLL(None, use_errno=True)

Option = str | int | bool | list[str]


def mounted_at(folder: Path) -> bool:
    """Is anything mounted right there? Reads the kernel's table; never touches the mount."""
    wanted = os.fsencode(folder.parent.resolve() / folder.name)
    table = Path("/proc/self/mountinfo").read_bytes().splitlines()
    return any(unescape_octal(line.split(b" ")[4]) == wanted for line in table)


def unescape_octal(field: bytes) -> bytes:
    """mountinfo writes space, tab, newline and backslash as ``\\040`` and so on."""
    return re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), field)


def abort(folder: Path) -> None:
    """Make every call that is blocked in the FUSE mount at `folder` return an error, and take it off the tree."""
    if os.geteuid() == 0:
        libc.umount2(os.fsencode(folder), MNT_FORCE)  # aborts the connection, even if it then says "busy"
        libc.umount2(os.fsencode(folder), MNT_DETACH)
    else:
        subprocess.run(["fusermount3", "-u", "-z", str(folder)], check=False, capture_output=True, timeout=10)


@contextlib.contextmanager
def bounded(folder: Path, seconds: float) -> Iterator[None]:
    """Whatever is done inside comes back within `seconds`, by `abort` if it must; then it fails."""
    fired = threading.Event()

    def give_up() -> None:
        fired.set()
        abort(folder)

    timer = threading.Timer(seconds, give_up)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        assert not fired.is_set(), f"stuck for {seconds} s: the mount at {folder} was aborted"


def threads_of(pid: int) -> str:
    """What each thread of a process that does not end is waiting for in the kernel."""
    lines = [f"WARNING: {pid} takes long to end"]
    for task in sorted(Path(f"/proc/{pid}/task").glob("*")):
        with contextlib.suppress(OSError):  # a thread may end as we look
            lines.append(f"  {(task / 'comm').read_text().strip()}: {(task / 'wchan').read_text()}")
    return "\n".join(lines)


def flags(options: dict[str, Option]) -> list[str]:
    """``metadata_ttl="1s"`` → ``--metadata-ttl 1s``; True is a bare flag, a list repeats it."""
    words: list[str] = []
    for name, value in options.items():
        flag = "-" + name if len(name) == 1 else "--" + name.replace("_", "-")
        if value is True:
            words.append(flag)
        elif isinstance(value, list):
            words.extend(word for one in value for word in (flag, one))
        elif value is not False:
            words.extend((flag, str(value)))
    return words


class RangefsMount:
    """One ``rangefs mount --foreground`` with a cache folder of its own.

    base     a folder of this mount's own: mount point, cache, log, and what a user's home would hold
    source   SOURCE of the command line
    options  of ``mount``, with ``_`` for ``-``; one letter is a short option

    Leaving it unmounts by ``rangefs umount`` and fails on what went wrong behind the test's back: a warning or a
    traceback that `expect_log` did not announce, an exit status that isn't 0, a mount left behind.
    """

    def __init__(self, base: Path, source: str, **options: Option) -> None:
        self.base = base
        self.source = source
        self.options = options
        self.path = base / "mnt"
        self.cache = base / "cache"
        self.stderr = base / "stderr"
        self._process: subprocess.Popen[bytes] | None = None
        self._expected: list[re.Pattern[str]] = []

    # -- the command line ---------------------------------------------------------

    def environment(self) -> dict[str, str]:
        """No settings of the person who runs the tests, and no traces in their home."""
        home = str(self.base)
        kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        places = dict.fromkeys(("HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME"), home)
        return {**kept, **places, "PYTHONPATH": str(CHECKOUT), "PYTHONWARNINGS": "default"}

    def mount_command(self) -> list[str]:
        return [
            *(sys.executable, "-m", "rangefs", "mount", self.source, str(self.path)),
            *("--cache-dir", str(self.cache), "--foreground", *flags(self.options)),
        ]

    def rangefs(self, *words: str, timeout_s: float = COMMAND_TIMEOUT_S) -> subprocess.CompletedProcess[str]:
        """Any rangefs command, run to its end."""
        return self._run([sys.executable, "-m", "rangefs", *words], timeout_s)

    def _run(self, command: list[str], timeout_s: float) -> subprocess.CompletedProcess[str]:
        with bounded(self.path, timeout_s):
            return subprocess.run(
                command,
                env=self.environment(),
                cwd=self.base,
                capture_output=True,
                text=True,
                errors="surrogateescape",
                timeout=timeout_s + 5,
                check=False,
            )

    def helper(self, *words: str, timeout_s: float = COMMAND_TIMEOUT_S) -> subprocess.CompletedProcess[str]:
        """``mount.rangefs``, as mount(8) calls it."""
        call = "import sys; from rangefs.cli.main import mount_helper; sys.exit(mount_helper())"
        return self._run([sys.executable, "-c", call, *words], timeout_s)

    def status(self) -> dict[str, Any]:
        """``rangefs status --json MOUNTPOINT``"""
        ran = self.rangefs("status", "--json", str(self.path))
        assert ran.returncode == 0, ran.stderr
        figures = json.loads(ran.stdout)
        assert isinstance(figures, dict), ran.stdout
        return figures

    # -- life ---------------------------------------------------------------------

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if kind is None:
            self.stop()
            self.check_log()
        else:
            if isinstance(error, Exception):
                error.add_note(f"{self.stderr}:\n{self.log()[-3000:]}")
            self.kill()

    def start(self) -> None:
        """Mount, and return once the root answers. Fails with what rangefs said."""
        self.path.mkdir(parents=True, exist_ok=True)
        with self.stderr.open("ab") as stderr:
            self._process = subprocess.Popen(
                self.mount_command(),
                stdin=subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
                env=self.environment(),
                cwd=self.base,
                start_new_session=True,
            )
        give_up = time.monotonic() + READY_TIMEOUT_S
        while not mounted_at(self.path):
            gone = self._process.poll() is not None
            if gone or time.monotonic() > give_up:
                self.kill()
                raise AssertionError(f"no mount ({'it exited' if gone else 'time is over'}): {self.log()[-3000:]}")
            time.sleep(0.02)
        with bounded(self.path, READY_TIMEOUT_S):
            os.statvfs(self.path)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def wait(self, timeout_s: float = EXIT_TIMEOUT_S) -> int:
        """The exit status, once it has ended by itself."""
        assert self._process is not None
        return self._process.wait(timeout_s)

    def stop(self) -> None:
        """``rangefs umount``, as a user does it. A second call does nothing."""
        if self._process is None:
            return
        slow = threading.Timer(UMOUNT_TIMEOUT_S / 3, lambda: self._add_to_log(threads_of(self.pid)))
        slow.start()
        try:
            ran = self.rangefs("umount", str(self.path), timeout_s=UMOUNT_TIMEOUT_S)
            assert ran.returncode == 0, f"umount: {ran.stderr}"
            status = self.wait()
            assert status == 0, f"rangefs ended with {status}: {self.log()[-3000:]}"
            assert not mounted_at(self.path), "still mounted after umount"
        finally:
            slow.cancel()
            self.kill()

    def crash(self) -> None:
        """SIGKILL and nothing else: the dead mount stays behind, as after an OOM kill."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(EXIT_TIMEOUT_S)
        self._process = None

    def kill(self) -> None:
        """SIGKILL, and take the dead mount away."""
        if self._process is not None:
            self.crash()
        if mounted_at(self.path):
            abort(self.path)

    def remount(self) -> None:
        """Kill it and mount again over the same cache."""
        self.kill()
        self.start()

    # -- what it said ------------------------------------------------------------------

    def log(self) -> str:
        return self.stderr.read_text(errors="replace") if self.stderr.exists() else ""

    def _add_to_log(self, words: str) -> None:
        with self.stderr.open("a") as log:
            log.write(words + "\n")

    def expect_log(self, pattern: str) -> None:
        """A warning that matches is part of the test."""
        self._expected.append(re.compile(pattern))

    def check_log(self) -> None:
        """Fail on a warning, an error or a traceback that nobody expected."""
        for line in self.log().splitlines():
            if UNEXPECTED.search(line) and not any(pattern.search(line) for pattern in self._expected):
                raise AssertionError(f"unexpected in the log: {line}\n{self.log()[-3000:]}")
