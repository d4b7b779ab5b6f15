"""What this machine can and can't do for a mount: FUSE, its tools, limits, and the disk of the cache."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

from rangefs.cli import mountpoints
from rangefs.cli.findings import Finding, bad, good, note
from rangefs.core.settings import GiB

FUSE_DEVICE = Path("/dev/fuse")
FUSE_CONTROL = Path("/sys/fs/fuse/connections")
BACKING_DEVICES = Path("/sys/class/bdi")
HELPER_FOLDERS = ("/sbin", "/usr/sbin", "/usr/local/sbin", "/usr/bin")  # where mount(8) looks, mount(8) "FILES"
ENOUGH_DESCRIPTORS = 1024
ENOUGH_SPACE_BYTES = GiB
REMOTE_DISKS = ("nfs", "cifs", "smb", "9p", "fuse", "ceph", "glusterfs")


def check_machine(cache_folder: Path) -> Iterator[Finding]:
    """Everything about the machine, the most important first.

    cache_folder  where the cache is or would be
    """
    yield good(
        f"Python {platform.python_version()}, {_versions('pyfuse3', 'trio', 'httpx')}, Linux {platform.release()}"
    )
    yield from _device()
    yield from _tools()
    yield from _kernel_knobs()
    yield from _limits()
    yield from _cache(cache_folder)


def _versions(*names: str) -> str:
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)


def _device() -> Iterator[Finding]:
    if not FUSE_DEVICE.exists():
        yield bad(
            "/dev/fuse is missing: modprobe fuse; in a container, start it with --device /dev/fuse --cap-add SYS_ADMIN"
        )
        return
    try:
        os.close(os.open(FUSE_DEVICE, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        yield bad(f"/dev/fuse can't be opened ({error.strerror}): run as root, or chmod 666 /dev/fuse")
    else:
        yield good("/dev/fuse can be opened")


def _tools() -> Iterator[Finding]:
    root = os.geteuid() == 0
    if fusermount := shutil.which("fusermount3"):
        yield good(f"{fusermount} is there: users can mount")
    else:
        say = note if root else bad
        yield say("fusermount3 is missing, so only root can mount: install the package fuse3")
    if any(os.access(Path(folder) / "mount.rangefs", os.X_OK) for folder in HELPER_FOLDERS):
        yield good("mount.rangefs is where mount(8) finds it: mount -t rangefs and fstab work")
    else:
        yield note('mount -t rangefs and fstab need: ln -s "$(command -v mount.rangefs)" /sbin/')


def _kernel_knobs() -> Iterator[Finding]:
    # The folder is there without fusectl too, only empty; a mount of ours would be in it.
    if any(entry.mountpoint == FUSE_CONTROL for entry in mountpoints.mounts()):
        yield good("fusectl is mounted: stuck readers can't use up the kernel's slots")
    else:
        yield note(
            f"fusectl is not mounted, so readers of a dead server slow others: mount -t fusectl none {FUSE_CONTROL}"
        )
    if os.geteuid() == 0 and os.access(BACKING_DEVICES, os.W_OK) and _writable_sysfs():
        yield good("the kernel's read-ahead can be set")
    else:
        yield note("the kernel's read-ahead can't be set (root may): large sequential reads are somewhat slower")


def _writable_sysfs() -> bool:
    return not os.statvfs(BACKING_DEVICES).f_flag & os.ST_RDONLY


def _limits() -> Iterator[Finding]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or hard >= ENOUGH_DESCRIPTORS:
        yield good(f"open files: {soft} ({'no limit' if hard == resource.RLIM_INFINITY else hard} at most)")
    else:
        yield note(f"only {hard} files may be open: raise it with ulimit -n or LimitNOFILE=")


def _cache(folder: Path) -> Iterator[Finding]:
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not os.access(existing, os.W_OK | os.X_OK):
        yield bad(f"the cache folder {folder} can't be made or written: give --cache-dir")
        return
    free_bytes = shutil.disk_usage(existing).free
    disk = _disk_of(existing)
    where = f"{folder} on {disk}, {free_bytes / GiB:.1f} GiB free"
    if disk.startswith(REMOTE_DISKS):
        yield note(f"cache: {where}: a remote disk is no good place, give --cache-dir")
    elif disk in ("tmpfs", "ramfs"):
        yield note(f"cache: {where}: that is memory, gone after a reboot")
    elif free_bytes < ENOUGH_SPACE_BYTES:
        yield note(f"cache: {where}: that is little, give --cache-dir on a larger disk")
    else:
        yield good(f"cache: {where}")


def _disk_of(path: Path) -> str:
    """The type of the file system that holds `path`."""
    real = Path(os.path.realpath(path))
    holders = [entry for entry in mountpoints.mounts() if entry.mountpoint in (real, *real.parents)]
    # The longest is the nearest; of equal ones the last is on top.
    return (
        max(enumerate(holders), key=lambda item: (len(item[1].mountpoint.parts), item[0]))[1].fstype if holders else "?"
    )
