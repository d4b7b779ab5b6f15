"""What is built and shipped: the wheel, the console scripts, the scripts and units beside the package."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SHIPPED = ["rangefs", "tests", "examples", "systemd", ".ci"]
SCRIPTS = [path for folder in SHIPPED for path in sorted((ROOT / folder).rglob("*.sh"))]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Built by the backend that pyproject.toml names, called as pip calls it (PEP 517), without the network."""
    pytest.importorskip("hatchling", reason="the build backend is not installed: pip install -e '.[test]'")
    folder = tmp_path_factory.mktemp("wheel")
    program = "import sys, hatchling.build; print(hatchling.build.build_wheel(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", program, folder], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return zipfile.ZipFile(folder / done.stdout.split()[-1])


def test_the_wheel_holds_the_whole_package_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    packaged = {name for name in wheel.namelist() if ".dist-info/" not in name}
    here = {str(path.relative_to(ROOT)) for path in (ROOT / "rangefs").rglob("*") if path.suffix in {".py", ".typed"}}
    assert packaged == here
    assert "rangefs/py.typed" in packaged


def test_the_wheel_has_both_console_scripts_and_the_licence(wheel: zipfile.ZipFile) -> None:
    (entry_points,) = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
    parsed = ConfigParser()
    parsed.read_string(wheel.read(entry_points).decode())
    assert dict(parsed["console_scripts"]) == {
        "rangefs": "rangefs.cli.main:main",
        "mount.rangefs": "rangefs.cli.main:mount_helper",
    }
    assert any(name.endswith("/licenses/LICENSE") for name in wheel.namelist())


def test_the_top_of_the_repository_holds_what_it_should_and_nothing_else() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    top = {name.split("/")[0] for name in listed.stdout.splitlines()}
    named = {name for name in top if not name.startswith(".")}
    folders = {"rangefs", "tests", "examples", "systemd"}
    assert named <= folders | {"pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE"}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_shell_script_is_valid_bash(path: Path) -> None:
    subprocess.run(["bash", "-n", path], check=True)


def test_what_is_run_can_be_run() -> None:
    for name in ("tests/run.sh", "examples/quickstart.sh", ".ci/run"):
        assert os.access(ROOT / name, os.X_OK), name


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("unit", ["rangefs@.service", "mnt-example.mount"])
def test_a_unit_passes_systemds_own_check(unit: str, tmp_path: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", ROOT / "systemd" / unit], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_service_asks_for_nothing_that_hides_the_mount() -> None:
    """systemd.exec(5): each of these gives the service a mount namespace of its own."""
    unit = (ROOT / "systemd" / "rangefs@.service").read_text()
    keys = {line.partition("=")[0] for line in unit.splitlines() if "=" in line and not line.startswith("#")}
    hiding = {"PrivateTmp", "PrivateDevices", "PrivateMounts", "ProtectSystem", "ProtectHome", "ProtectKernelTunables"}
    hiding |= {"ProtectKernelModules", "ProtectKernelLogs", "ProtectControlGroups", "ProtectProc", "ReadOnlyPaths"}
    hiding |= {
        "ReadWritePaths",
        "InaccessiblePaths",
        "TemporaryFileSystem",
        "BindPaths",
        "DynamicUser",
        "RootDirectory",
    }
    assert not keys & hiding
