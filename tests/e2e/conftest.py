"""Mounts by name, and a watchdog: no test of a mount can hang."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.mounts import Option, RangefsMount, abort, mounted_at

TEST_TIMEOUT_S = 120.0

MakeMount = Callable[..., RangefsMount]


@contextmanager
def mounts_in(scratch: Path, limit_s: float, kind: type[RangefsMount] = RangefsMount) -> Iterator[MakeMount]:
    """``make(url, **options)``: a mount, not started yet, a context manager. Whatever is left of it is taken away.

    After `limit_s` the mounts are aborted, so that every blocked call fails, and so does who holds this open.
    """
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        if os.environ.get("RANGEFS_ALLOW_SKIP") == "1":
            pytest.skip("no access to /dev/fuse")
        pytest.fail("no access to /dev/fuse: run as root, in a container with --device /dev/fuse", pytrace=False)
    base = Path(tempfile.mkdtemp(prefix="m-", dir=scratch))
    made: list[RangefsMount] = []
    over = threading.Event()

    def make(source: str, **options: Option) -> RangefsMount:
        mount = kind(base / str(len(made)), source, **options)
        mount.base.mkdir()
        made.append(mount)
        return mount

    def bark() -> None:
        over.set()
        for mount in made:
            abort(mount.path)

    watchdog = threading.Timer(limit_s, bark)
    watchdog.start()
    try:
        yield make
    finally:
        watchdog.cancel()
        watchdog.join()
        with ExitStack() as stack:
            for mount in made:
                stack.callback(mount.kill)
        assert not any(mounted_at(mount.path) for mount in made)
        shutil.rmtree(os.fsencode(base))
        assert not over.is_set(), f"the test was stuck: its mounts were aborted after {limit_s} s"


@pytest.fixture
def make_mount(scratch: Path) -> Iterator[MakeMount]:
    """Mounts of this test's own."""
    with mounts_in(scratch, TEST_TIMEOUT_S) as make:
        yield make
