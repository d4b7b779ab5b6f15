"""The folders are the layers: an import that the house's table does not allow fails here."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "rangefs"

# room -> what it may import: rooms of ours, and third-party packages that are at home there.
ALLOWED: dict[str, set[str]] = {
    "errors": {"core"},  # for a type only
    "core": {"errors", "xxhash"},
    "store": {"errors", "core", "trio", "xxhash"},
    "sources": {"errors", "core", "trio", "httpx", "h11", "botocore", "google", "azure"},
    "read": {"errors", "core", "store", "sources", "trio"},
    "fs": {"errors", "core", "store", "sources", "read", "ops", "trio", "pyfuse3"},
    "ops": {"errors", "core", "trio"},
    "cli": {"errors", "core", "store", "sources", "read", "fs", "ops", "trio", "httpx", "pyfuse3"},
}
IMPURE = {"os", "socket", "time", "threading", "asyncio", "subprocess", "random", "pathlib", "io", "select", "ssl"}
PURE_EXCEPTIONS = {"core/settings.py": {"pathlib"}}  # names a path, touches none
ROOMS = set(ALLOWED) | {"__init__", "__main__"}


def imports_of(path: Path) -> set[str]:
    """Top-level packages a file imports; ``rangefs.x…`` is reported as the room ``x``."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = (
                [f"{node.module}.{alias.name}" for alias in node.names]
                if node.module == "rangefs"
                else [str(node.module)]
            )
        for name in names:
            parts = name.split(".")
            found.add(parts[1] if parts[0] == "rangefs" and len(parts) > 1 else parts[0])
    return found


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_follow_the_layers(path: Path) -> None:
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if room in {"__init__", "__main__"}:
        return
    assert room in ALLOWED, f"{path} is in no known room"
    import sys

    imported = imports_of(path) - {room, "__version__"}
    foreign = {name for name in imported if name not in sys.stdlib_module_names}
    assert foreign <= ALLOWED[room], f"{room} may not import {sorted(foreign - ALLOWED[room])}"
    if room == "core":
        impure = (imported & IMPURE) - PURE_EXCEPTIONS.get(str(path.relative_to(PACKAGE)), set())
        assert not impure, f"core is pure, but imports {sorted(impure)}"


def test_the_check_sees_a_forbidden_arrow(tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text("from rangefs.fs import mount\nimport httpx.x\nfrom rangefs import cli\n")
    assert imports_of(bad) == {"fs", "httpx", "cli"}
