"""Where a background mount's log goes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from rangefs.errors import RangefsError
from rangefs.ops import control


def log_folders(uid: int, environment: Mapping[str, str]) -> list[Path]:
    """Where a log may go, the best first: the XDG state folder, for root /var/log, else beside the control socket."""
    state, home = environment.get("XDG_STATE_HOME", ""), environment.get("HOME", "")
    folders = control.control_folders(uid, environment)
    if os.path.isabs(state):  # the XDG specification says to ignore relative ones
        return [Path(state) / "rangefs", *folders]
    if uid == 0:
        return [Path("/var/log/rangefs"), *folders]
    return [Path(home) / ".local" / "state" / "rangefs", *folders] if os.path.isabs(home) else folders


def log_path(mountpoint: Path) -> Path:
    """A log file for the mount at `mountpoint`, its folder made. Raises `RangefsError`."""
    reason = "no folder is known"
    for folder in log_folders(os.geteuid(), os.environ):
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if os.access(folder, os.W_OK | os.X_OK):
                return folder / f"{control.mount_name(mountpoint)}.log"
            reason = f"{folder} is not writable"
        except OSError as error:
            reason = f"{folder}: {error.strerror}"
    raise RangefsError(f"no place for the log: {reason}; give --log-file")
