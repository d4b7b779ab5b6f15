"""``rangefs demo``."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import random
import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rangefs.cli import demo_server, mount, mountpoints, values
from rangefs.cli.parsing import Parser
from rangefs.core.settings import CacheSettings, MiB, MountSettings, ViewSettings
from rangefs.errors import RangefsError, UsageError

DESCRIPTION = """\
Serve a sample folder from a built-in range server on loopback, and mount it: nothing else needed.
Without MOUNTPOINT a temporary one is made. Stays in the foreground; Ctrl-C ends it and cleans up."""

SAMPLE_TIME = 1_700_000_000  #: seconds since the epoch: long enough ago for validators to be trusted
LARGE_BYTES = 24 * MiB
LOG_LINES = 40_000
WORDS = "range cache chunk flight window mount remote object validator listing gap reader".split()  # noqa: SIM905 - reads best


def parser() -> Parser:
    """The arguments of ``rangefs demo``."""
    arguments = Parser("rangefs demo", DESCRIPTION)
    arguments.add_argument("mountpoint", metavar="MOUNTPOINT", nargs="?", help="an existing folder")
    arguments.add_argument("--port", metavar="PORT", default="0", help="of the server (any free one)")
    return arguments


def run(arguments: argparse.Namespace) -> int:
    """Serve and mount until Ctrl-C or until it is unmounted."""
    if not arguments.port.isdecimal() or int(arguments.port) > 65535:
        raise UsageError(f"--port: {arguments.port!r} is no port number")
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rangefs-demo-")))
        if arguments.mountpoint is None:
            mountpoint = stack.enter_context(_temporary_mountpoint())
        else:
            mountpoint = Path(os.path.realpath(values.path(arguments.mountpoint)))
        make_sample(folder / "www")
        try:
            url = stack.enter_context(demo_server.serving(folder / "www", int(arguments.port)))
        except OSError as error:
            raise RangefsError(f"--port {arguments.port}: {error.strerror}") from error
        settings = MountSettings(
            source=url,
            mountpoint=mountpoint,
            cache=CacheSettings(folder / "cache"),
            view=ViewSettings(os.getuid(), os.getgid()),
            log_level="warning",
        )
        mount.require_fuse(settings)
        mountpoints.claim(mountpoint)
        mount.set_up_logs(settings, None)
        mount.serve(settings, lambda: print(_hints(mountpoint, url), flush=True))
    return 0


@contextlib.contextmanager
def _temporary_mountpoint() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="rangefs-mnt-"))
    try:
        yield folder
    finally:
        folder.rmdir()  # never a recursive removal: something may still be mounted here


def _hints(mountpoint: Path, url: str) -> str:
    where = shlex.quote(str(mountpoint))
    return f"""\
{url} is mounted on {mountpoint}. In another terminal, try:

  ls -l {where}
  cat {where}/README.txt
  grep -c chunk {where}/logs/app.log
  dd if={where}/large.bin bs=1M skip=20 count=1 of=/dev/null
  (cd {where} && sha256sum -c SHA256SUMS)
  rangefs status {where}

Ctrl-C here ends it."""


def make_sample(folder: Path) -> None:
    """The sample folder: text, a larger file, awkward names, and the sums of all of it. The same bytes each time."""
    chance = random.Random(9110)
    log = "".join(f"{line:06d} {' '.join(chance.choices(WORDS, k=8))}\n" for line in range(LOG_LINES))
    files = {
        "README.txt": b"A web server's folder, mounted by rangefs.\nWhat you read is fetched once, and kept.\n",
        "large.bin": chance.randbytes(LARGE_BYTES),
        "empty": b"",
        "logs/app.log": log.encode(),
        "logs/old/app.log.1": log[: len(log) // 4].encode(),
        "names/with space & more, 100%.txt": b"Percent and ampersand.\n",
        "names/hash#question?plus+.txt": b"What a URL can't hold as it is.\n",
        "names/quote'and\"quote.txt": b"Quotes.\n",
        "names/ünïcode – 文字.txt": "Ünïcode.\n".encode(),
        "names/.hidden": b"Hidden, not missing.\n",
    }
    files["SHA256SUMS"] = "".join(
        f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in files.items()
    ).encode()
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.utime(path, (SAMPLE_TIME, SAMPLE_TIME))
    for path in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
        os.utime(path, (SAMPLE_TIME, SAMPLE_TIME))
