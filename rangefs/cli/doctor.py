"""``rangefs doctor``."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from rangefs.cli import machine, options, order
from rangefs.cli.findings import Finding, Mark
from rangefs.cli.parsing import Parser
from rangefs.core.redact import redact_url

DESCRIPTION = "What this machine, and a SOURCE, can and can't do, in plain words."
EPILOG = """\
All options of 'rangefs mount' are understood, so that the same credentials and folders are tried.
Exit status: 0 if a mount can work, 1 if not. Lines marked 'note' are no hindrance."""


def parser() -> Parser:
    """The arguments of ``rangefs doctor``."""
    usage = "rangefs doctor [SOURCE] [options]"
    arguments = Parser("rangefs doctor", DESCRIPTION, EPILOG, usage=usage)
    arguments.add_argument("source", metavar="SOURCE", nargs="?", help="a URL, or a name from the config file")
    arguments.add_argument(
        "-o", metavar="OPTIONS", action="append", default=[], help="options as mount(8) has them: a,b=c"
    )
    arguments.add_argument("--config", metavar="FILE", help="read this config file instead of the default one")
    options.add_mount_options(arguments)
    arguments.set_defaults(mountpoint=os.devnull)  # nothing is mounted
    return arguments


def run(arguments: argparse.Namespace) -> int:
    """Print findings as they come; 1 if one is bad."""
    marks: set[Mark] = set()

    def report(finding: Finding) -> None:
        print(finding, flush=True)
        marks.add(finding.mark)

    settings = None if arguments.source is None else order.order_from(arguments).settings
    print("this machine")
    for finding in machine.check_machine(_cache_folder(arguments) if settings is None else settings.cache.folder):
        report(finding)
    if settings is not None:
        # Only now: trio and httpx take their time to load.
        import trio

        from rangefs.cli import probe

        print(f"\n{redact_url(settings.source)}")
        trio.run(probe.check_source, settings, report)
    return 1 if Mark.BAD in marks else 0


def _cache_folder(arguments: argparse.Namespace) -> Path:
    """Where caches are, without a SOURCE to name one."""
    given = options.from_arguments(arguments)
    folder: Path | None = given.get("cache-dir")
    return folder or order.default_cache_folder("", given, os.environ).parent
