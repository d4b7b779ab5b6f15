"""Every benchmark runs: its small form, so that the scripts can't rot. What they print is not looked at closely."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mounts import CHECKOUT

HERE = Path(__file__).parent
PURE = ["index", "log", "window", "store_start"]
MOUNTED = ["reply", "where", "readers", "open_files", "inodes", "latency_under_load", "dead_origin"]
SHARED = {"__init__", "measure", "stage", "bare_fuse", "load", "test_benches", "versus"}


def run_quickly(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    importlib.import_module(f"tests.bench.{name}").main(["--quick"])
    printed = capsys.readouterr().out
    assert len(printed.splitlines()) > 1, printed


@pytest.mark.parametrize("name", PURE)
def test_a_benchmark_of_a_part_runs(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    run_quickly(name, capsys)


@pytest.mark.mount
@pytest.mark.parametrize("name", MOUNTED)
def test_a_benchmark_of_a_mount_runs(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    if not os.access("/dev/fuse", os.R_OK | os.W_OK) and os.environ.get("RANGEFS_ALLOW_SKIP") == "1":
        pytest.skip("no access to /dev/fuse")
    run_quickly(name, capsys)


def test_the_comparison_says_how_to_run_it() -> None:
    command = [sys.executable, str(HERE / "versus.py"), "--help"]
    said = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    assert "cold-seq" in said
    assert "apt-get install" in said


def test_every_benchmark_is_here_and_in_the_readme() -> None:
    scripts = {path.stem for path in HERE.glob("*.py")} - SHARED
    assert scripts == {*PURE, *MOUNTED}
    index = (HERE / "README.md").read_text()
    assert [name for name in {*scripts, "versus"} if name not in index] == []
