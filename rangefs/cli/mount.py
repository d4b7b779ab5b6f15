"""``rangefs mount``."""

from __future__ import annotations

import argparse
import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

from rangefs.cli import background, mountpoints, options, order, places
from rangefs.cli.advice import advised
from rangefs.cli.parsing import Parser
from rangefs.core.settings import MountSettings
from rangefs.errors import CacheLocked, MountError, RangefsError
from rangefs.ops import logs, notify

DESCRIPTION = "Mount SOURCE at MOUNTPOINT. Returns once the mount answers; it then runs in the background."
EPILOG = """\
SOURCE is http://host/path/ or https://… (a folder of a web server, or one file), or a name from the config file.
Each option also works as -o name=value (with _ for -), and in the config file: --config, or
$XDG_CONFIG_HOME/rangefs/config.toml, or /etc/rangefs/config.toml.
Sizes take KiB MiB GiB KB MB GB, times take ms s m h d. Secrets never go on the command line: see the -file options.

In the foreground the log goes to standard error. In the background it goes to --log-file, or to a file named after
the mount point in $XDG_STATE_HOME/rangefs, where that is not set /var/log/rangefs (root) or ~/.local/state/rangefs.

Exit status: 0 mounted, 1 failed, 2 bad usage. Unmount with: rangefs umount MOUNTPOINT"""

FUSE_DEVICE = Path("/dev/fuse")
FUSE_CONFIG = Path("/etc/fuse.conf")
READY_WITHIN_S = 120.0  #: connecting is bounded far below it; this only bounds what should not happen
# umount(8) is back before the process behind the mount has put its cache away: `umount X; mount X` must work.
LEAVING_S = 3.0


def parser() -> Parser:
    """The arguments of ``rangefs mount``."""
    arguments = Parser("rangefs mount", DESCRIPTION, EPILOG, usage="rangefs mount SOURCE MOUNTPOINT [options]")
    arguments.add_argument("source", metavar="SOURCE", help="a URL, or a name from the config file")
    arguments.add_argument("mountpoint", metavar="MOUNTPOINT", nargs="?", help="an existing folder")
    arguments.add_argument(
        "-o", metavar="OPTIONS", action="append", default=[], help="options as mount(8) has them: a,b=c"
    )
    arguments.add_argument("--config", metavar="FILE", help="read this config file instead of the default one")
    options.add_mount_options(arguments)
    return arguments


def run(arguments: argparse.Namespace) -> int:
    """Mount what the command line asks for."""
    return carry_out(order.order_from(arguments))


def carry_out(wanted: order.MountOrder) -> int:
    """Mount, in the background unless the order says otherwise. Raises `RangefsError` if the mount does not come up."""
    settings = wanted.settings
    require_fuse(settings)
    mountpoints.claim(settings.mountpoint)
    if wanted.foreground:
        set_up_logs(settings, wanted.log_file)
        serve(settings)
        return 0
    log = wanted.log_file or places.log_path(settings.mountpoint)

    def work(on_ready: Callable[[], None]) -> None:
        set_up_logs(settings, log)
        serve(settings, on_ready)

    background.run_in_background(work, log, READY_WITHIN_S)
    return 0


def set_up_logs(settings: MountSettings, log: Path | None) -> None:
    """Logs as the settings say, to `log` or standard error."""
    try:
        logs.set_up_logs(settings.log_level, settings.log_format, log)
    except OSError as error:
        raise RangefsError(f"log file {log}: {error.strerror}") from error


def serve(settings: MountSettings, on_ready: Callable[[], None] | None = None) -> None:
    """Mount and serve until unmounted. `on_ready` and the service manager hear when the mount answers.

    Raises `RangefsError`; where the mount never answered, its line says what to do too.
    """
    # Only now: FUSE, trio and httpx take longer to load than most commands take to run.
    from rangefs.fs.mount import serve as serve_mount

    _make_way(settings.cache.folder)
    notifier = notify.notifier_from(os.environ)
    answered = False

    def ready() -> None:
        nonlocal answered
        answered = True
        notifier.ready(f"Mounted on {settings.mountpoint}")
        if on_ready is not None:
            on_ready()

    try:
        _when_the_cache_is_free(lambda: serve_mount(settings, ready))
    except RangefsError as error:
        if answered:
            raise
        raise advised(error) from error


def _when_the_cache_is_free(act: Callable[[], None]) -> None:
    """Do it, again and again for a moment while another process has the cache."""
    patience_ends = time.monotonic() + LEAVING_S
    while True:
        try:
            act()
        except CacheLocked:
            if time.monotonic() > patience_ends:
                raise
            time.sleep(0.1)
        else:
            return


def _make_way(cache_folder: Path) -> None:
    """Make the folders above the cache's own. Where that fails the store says so, and reads go on without."""
    with contextlib.suppress(OSError):
        cache_folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)


def require_fuse(settings: MountSettings) -> None:
    """Raise `MountError` for what this machine lacks, before anything is begun."""
    if not FUSE_DEVICE.exists():
        raise MountError("there is no /dev/fuse here: modprobe fuse (in a container: run it with --device /dev/fuse)")
    if os.geteuid() != 0 and not os.access(FUSE_DEVICE, os.R_OK | os.W_OK):
        raise MountError("/dev/fuse can't be opened by this user: run as root, or chmod 666 /dev/fuse")
    if settings.view.allow_other and os.geteuid() != 0 and not _others_may_be_allowed():
        raise MountError("--allow-other needs the line user_allow_other in /etc/fuse.conf, or root")


def _others_may_be_allowed() -> bool:
    try:
        lines = FUSE_CONFIG.read_text(errors="replace").splitlines()
    except OSError:
        return False
    return "user_allow_other" in (line.strip() for line in lines)
