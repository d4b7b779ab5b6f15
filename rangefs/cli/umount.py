"""``rangefs umount``."""

from __future__ import annotations

import argparse
import os
import select
from pathlib import Path

from rangefs.cli import mountpoints, quantities
from rangefs.cli.parsing import Parser
from rangefs.errors import MountError, UsageError

DESCRIPTION = "Unmount, and wait until the process behind it has put its cache away and is gone."
MOST_USERS_SHOWN = 5


def parser() -> Parser:
    """The arguments of ``rangefs umount``."""
    arguments = Parser("rangefs umount", DESCRIPTION)
    arguments.add_argument("mountpoint", metavar="MOUNTPOINT")
    arguments.add_argument(
        "--lazy", action="store_true", help="also while it is in use: gone when its last user leaves"
    )
    arguments.add_argument("--timeout", metavar="TIME", default="60s", help="how long to wait for the process (60s)")
    return arguments


def run(arguments: argparse.Namespace) -> int:
    """Unmount."""
    try:
        timeout_s = quantities.duration_s(arguments.timeout)
    except UsageError as error:
        raise UsageError(f"--timeout: {error}") from error
    unmount(Path(os.path.realpath(arguments.mountpoint)), lazy=arguments.lazy, timeout_s=timeout_s)
    return 0


def unmount(mountpoint: Path, *, lazy: bool = False, timeout_s: float = 60.0) -> None:
    """Unmount `mountpoint` and wait for its process, so that a mount after this one finds the cache free.

    Raises `MountError`, `Busy`.
    """
    entry = mountpoints.mount_at(mountpoint)
    if entry is None:
        raise MountError(f"{mountpoint} is not mounted")
    if not entry.ours:
        raise MountError(f"{mountpoint} is a mount of {entry.fstype}, not of rangefs: use umount")
    server = mountpoints.server_of(entry)
    handle = _process_handle(server.pid) if server else None
    try:
        try:
            mountpoints.detach(mountpoint, lazy=lazy or mountpoints.is_dead(mountpoint))
        except mountpoints.Busy as error:
            raise mountpoints.Busy(_busy(mountpoint)) from error
        # After a lazy one the process lives on for as long as somebody has a file open.
        if handle is not None and server is not None and not lazy and not _ends(handle, timeout_s):
            raise MountError(f"{mountpoint} is unmounted, but its process {server.pid} still runs: see its log")
    finally:
        if handle is not None:
            os.close(handle)


def _process_handle(pid: int) -> int | None:
    """A descriptor that means this very process, even when its number is given to another; None if it is gone."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


def _ends(handle: int, timeout_s: float) -> bool:
    readable, _, _ = select.select([handle], [], [], timeout_s)
    return bool(readable)


def _busy(mountpoint: Path) -> str:
    users = mountpoints.users_of(mountpoint)
    more = f" and {len(users) - MOST_USERS_SHOWN} more" if len(users) > MOST_USERS_SHOWN else ""
    held = f": held by {', '.join(users[:MOST_USERS_SHOWN])}{more}" if users else ""
    return f"{mountpoint} is busy{held}; close it there, or use --lazy"
