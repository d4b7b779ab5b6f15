"""Several reader processes at once, and what they said."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.mounts import RangefsMount, bounded

HERE = Path(__file__).parent


def run_readers(mount: RangefsMount, script: str, argument_lists: Sequence[Sequence[object]], limit_s: float) -> None:
    """Start one `script` process a list of arguments, all before waiting for any; fail with what the first said."""
    with bounded(mount.path, limit_s):
        readers = [
            subprocess.Popen(
                [sys.executable, str(HERE / script), *map(str, arguments)], stderr=subprocess.PIPE, text=True
            )
            for arguments in argument_lists
        ]
        said = [reader.communicate()[1] for reader in readers]
    failed = [words for reader, words in zip(readers, said, strict=True) if reader.returncode != 0]
    assert not failed, f"{len(failed)} of {len(readers)} readers failed: {failed[0][-1000:]}"


def tool(
    mount: RangefsMount, *words: str | bytes, limit_s: float = 60, check: bool = True, cwd: Path | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run a program against the mount, to its end; with `check`, it must succeed and say nothing on stderr."""
    environment = {**mount.environment(), "LC_ALL": "C.UTF-8"}
    with bounded(mount.path, limit_s):
        ran = subprocess.run(
            words,
            capture_output=True,
            cwd=cwd or mount.base,
            env=environment,
            timeout=limit_s + 5,
            check=False,
        )
    if check:
        assert (ran.returncode, ran.stderr) == (0, b""), f"{words!r} → {ran.returncode}: {ran.stderr[-2000:]!r}"
    return ran
