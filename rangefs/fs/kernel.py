"""What the kernel lets us set for ourselves: background slots, read-ahead, descriptors. Linux, sysfs and fusectl."""

from __future__ import annotations

import contextlib
import os
import resource
import select
import subprocess
from pathlib import Path

# Buffered reads are background requests, 12 at a time by default: 20 readers stuck on one file made a 4 KiB read of
# another take 24 s. Far above what readers of one machine have under way; pyfuse3 needs a task for each.
MAX_BACKGROUND = 512
CONGESTION_THRESHOLD = 384
# Requests grow with the read-ahead: 256 KiB halves the cost of a byte against the default 128 KiB, and one touch of a
# mapped page still pulls in no more than 64 pages.
READ_AHEAD_KIB = 256

DESCRIPTORS = 65536

FUSE_DEVICE = "/dev/fuse"
FUSECTL = Path("/sys/fs/fuse/connections")
BDI = Path("/sys/class/bdi")


def raise_descriptor_limit() -> None:
    """Take what the hard limit allows: the cache keeps chunks open, and 1,024 descriptors are a shell's measure."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def tune(mountpoint: Path) -> tuple[str, ...]:
    """Raise the limits of a mount that answers already. Blocks: call it in a thread.

    Returns why not, where something that matters could not be set (read-ahead is only a matter of speed).
    """
    device = os.stat(mountpoint).st_dev
    reasons = []
    connection = FUSECTL / str(device)
    if not connection.exists() and os.geteuid() == 0:
        _mount_fusectl()
    try:
        (connection / "max_background").write_text(str(MAX_BACKGROUND))
        (connection / "congestion_threshold").write_text(str(CONGESTION_THRESHOLD))
    except OSError as exc:
        why = "fusectl is not mounted" if isinstance(exc, FileNotFoundError) else exc.strerror
        reasons.append(f"{why}: readers of a dead server may slow down others ({connection})")
    with contextlib.suppress(OSError):  # only root may, and the mount is right without it
        (BDI / f"{os.major(device)}:{os.minor(device)}" / "read_ahead_kb").write_text(str(READ_AHEAD_KIB))
    return tuple(reasons)


def connections() -> frozenset[int]:
    """The descriptors of this process that lead to FUSE."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the one that listed them is gone
            if os.readlink(f"/proc/self/fd/{name}") == FUSE_DEVICE:
                found.add(int(name))
    return frozenset(found)


def is_over(connection: int) -> bool:
    """Has the kernel let go of the mount: unmounted, or aborted? Never blocks."""
    poll = select.poll()
    poll.register(connection, 0)
    return bool(poll.poll(0))  # POLLERR: fuse_dev_poll in fs/fuse/dev.c


def _mount_fusectl() -> None:
    """As systemd does at boot wherever it runs; in containers and small systems nobody has."""
    mount = ["mount", "-t", "fusectl", "fusectl", str(FUSECTL)]
    subprocess.run(mount, check=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
