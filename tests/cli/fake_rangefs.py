"""The real command line over a mount that mounts nothing: what a SOURCE's path says is what happens.

Run as a program. ``http://fake/ok`` gets ready and lives until SIGTERM; the
others go wrong in one way each.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
import types
from collections.abc import Callable

from rangefs.core.settings import MountSettings
from rangefs.errors import CacheLocked, Unreachable, UsageError

logger = logging.getLogger("rangefs.fake")


def serve(settings: MountSettings, on_ready: Callable[[], None]) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    fate = settings.source.rpartition("/")[2]
    if fate == "refused":
        raise Unreachable("http://fake/: connection refused")
    if fate == "badfile":
        raise UsageError("--netrc: others can read it: chmod 600")
    if fate == "bug":
        raise ValueError("a fault of ours")
    if fate == "dies":
        os._exit(3)
    if fate == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if fate == "leaving" and not (settings.cache.folder / "asked").exists():
        (settings.cache.folder / "asked").touch()
        raise CacheLocked("in use by process 1")
    if fate == "slow":
        logger.info("not serving yet as %d", os.getpid())
        time.sleep(60)
    if fate == "locked":
        raise CacheLocked("in use by process 1")
    on_ready()
    logger.info("serving %s as %d in %s", settings.source, os.getpid(), os.getcwd())
    if fate == "short":
        return
    if fate == "late":
        raise Unreachable("gone after all")
    time.sleep(60)


if __name__ == "__main__":
    module = types.ModuleType("rangefs.fs.mount")
    vars(module)["serve"] = serve
    sys.modules["rangefs.fs.mount"] = module
    from rangefs.cli import main, mount

    mount.FUSE_DEVICE = type(mount.FUSE_DEVICE)(os.devnull)
    entry = main.mount_helper if os.environ.get("AS_HELPER") else main.main
    sys.exit(entry())
