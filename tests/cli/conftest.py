"""A home of its own for each test, and ways to run the command line in it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """An environment whose folders are all below `tmp_path`."""
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "HOME": str(tmp_path / "home"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "XDG_STATE_HOME": str(tmp_path / "state"),
    }


def _run(program: list[str], home: dict[str, str], tmp_path: Path) -> Run:
    def run(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *program, *map(str, words)]
        return subprocess.run(
            command, env=home | environment, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False
        )

    return run


@pytest.fixture
def rangefs(home: dict[str, str], tmp_path: Path) -> Run:
    """The real program."""
    return _run(["-m", "rangefs"], home, tmp_path)


@pytest.fixture
def fake(home: dict[str, str], tmp_path: Path) -> Iterator[Run]:
    """The program with a fake mount below it; what it left running is ended, by the pids in the logs."""
    run = _run([str(Path(__file__).parent / "fake_rangefs.py")], home, tmp_path)
    yield run
    for pid in served_pids(tmp_path):
        end_fake(pid)


def served_pids(tmp_path: Path) -> list[int]:
    """The processes that a fake mount's logs in `tmp_path` tell of."""
    lines = [line for log in tmp_path.rglob("*.log") for line in log.read_text().splitlines() if " serving " in line]
    return [int(line.split(" as ")[1].split()[0]) for line in lines]


def end_fake(pid: int) -> None:
    """End a fake mount, if it still runs and the number has not become another's."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        if b"fake_rangefs" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGTERM)


@pytest.fixture
def mountpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "mnt"
    folder.mkdir()
    return folder
