"""``rangefs COMMAND …`` and ``mount.rangefs``: which command, and what its end means to the shell."""

from __future__ import annotations

import argparse
import importlib
import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import Protocol, cast

from rangefs import __version__
from rangefs.cli.parsing import Parser
from rangefs.errors import RangefsError, UsageError

MOUNT_FAILURE = 32  #: mount(8), "mount failure"
INTERRUPTED = 130  #: what a shell shows for a command that Ctrl-C ended

COMMANDS = {
    "mount": "mount SOURCE as a folder",
    "umount": "unmount it, and wait until it is done",
    "status": "what a mount, or each of yours, is doing",
    "cache": "list, verify or clear out a cache with no mount running",
    "doctor": "what this machine, and a SOURCE, can and can't do",
    "demo": "mount a built-in server over a sample folder: nothing else needed",
}


class Command(Protocol):
    """What each module of a command offers."""

    def parser(self) -> Parser:
        """Its arguments and its ``--help``."""

    def run(self, arguments: argparse.Namespace) -> int:
        """Do it; the exit status. Raises `RangefsError` with one line for people."""


def main(argv: Sequence[str] | None = None) -> int:
    """The console script ``rangefs``; returns the exit status."""
    return exit_status("rangefs", lambda: _dispatch(sys.argv[1:] if argv is None else argv))


def mount_helper(argv: Sequence[str] | None = None) -> int:
    """The console script ``mount.rangefs``, which mount(8) calls; returns the exit status."""
    from rangefs.cli import helper

    arguments = sys.argv[1:] if argv is None else argv
    status = exit_status("mount.rangefs", lambda: helper.run(helper.parser().parse_intermixed_args(arguments)))
    return MOUNT_FAILURE if status == RangefsError.exit_code else status


def exit_status(program: str, act: Callable[[], int]) -> int:
    """Run `act`; what it raises on purpose becomes one line on standard error and an exit status."""
    _have_standard_files()
    try:
        status = act()
        sys.stdout.flush()
    except RangefsError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output has left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes once more at its end
        return RangefsError.exit_code
    return status


def _have_standard_files() -> None:
    """Whoever started us may have closed some: then the next file opened would be taken for standard output."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - open for as long as the process lives
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="surrogateescape")  # names are bytes: they leave as they came


def _dispatch(argv: Sequence[str]) -> int:
    name = argv[0] if argv else ""
    if name in ("-h", "--help", "help", ""):
        print(_usage(), file=sys.stdout if name else sys.stderr)
        return 0 if name else UsageError.exit_code
    if name in ("-V", "--version", "version"):
        print(f"rangefs {__version__}")
        return 0
    if name not in COMMANDS:
        raise UsageError(f"no command is called {name!r} (see 'rangefs --help')")
    # Imported only now: `rangefs status` need not wait for what `rangefs mount` takes.
    command = cast(Command, importlib.import_module(f"rangefs.cli.{name}"))
    return command.run(command.parser().parse_intermixed_args(argv[1:]))


def _usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {summary}" for name, summary in COMMANDS.items()]
    return "\n".join(
        [
            "usage: rangefs COMMAND …        (rangefs COMMAND --help says more)",
            "",
            "Mounts remote object storage as a local folder: read by ranges, kept on disk, each byte fetched once.",
            "",
            *lines,
            "",
            "Try 'rangefs demo', or: rangefs mount https://host/path/ /mnt",
        ]
    )
