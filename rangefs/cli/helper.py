"""``mount.rangefs``: how mount(8), fstab and systemd's mount units ask for a mount."""

from __future__ import annotations

import argparse

from rangefs.cli import mount, order
from rangefs.cli.parsing import Parser

DESCRIPTION = "Mount SOURCE at MOUNTPOINT, as 'mount -t rangefs SOURCE MOUNTPOINT -o …' does."
EPILOG = """\
Options are those of 'rangefs mount', as -o name=value with _ for -; \\, is a comma in a value.
Exit status: 0 mounted, 2 bad usage, 32 mount failure.
mount(8) looks for this program in /sbin: ln -s "$(command -v mount.rangefs)" /sbin/"""


def parser() -> Parser:
    """The command line that mount(8) documents under "external helpers"."""
    arguments = Parser("mount.rangefs", DESCRIPTION, EPILOG)
    arguments.add_argument("source", metavar="SOURCE")
    arguments.add_argument("mountpoint", metavar="MOUNTPOINT")
    arguments.add_argument("-o", metavar="OPTIONS", action="append", default=[], help="a,b=c")
    arguments.add_argument("-f", dest="fake", action="store_true", help="only check the arguments")
    arguments.add_argument("-s", dest="sloppy", action="store_true", help="ignore options that are not known")
    arguments.add_argument("-n", dest="no_mtab", action="store_true", help="accepted, means nothing here")
    arguments.add_argument("-v", dest="verbose", action="store_true", help="accepted, means nothing here")
    arguments.add_argument("-t", dest="fstype", metavar="TYPE", help="accepted, means nothing here")
    arguments.set_defaults(config=None)
    return arguments


def run(arguments: argparse.Namespace) -> int:
    """Mount; in the background unless ``-o foreground``."""
    wanted = order.order_from(arguments, sloppy=arguments.sloppy)
    return 0 if arguments.fake else mount.carry_out(wanted)
