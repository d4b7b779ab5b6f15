"""``rangefs cache ls|verify|gc``: a cache folder with no mount running."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rangefs.cli import values
from rangefs.cli.figures import share, size
from rangefs.cli.parsing import Parser
from rangefs.errors import RangefsError, UsageError
from rangefs.store import check

DESCRIPTION = (
    "Look into a cache folder, check every byte of it, or clear out what no mount would use. No mount may have it."
)
EPILOG = """\
  ls      which files have bytes in it
  verify  read and check all of it; exit status 0 clean, 1 not
          --repair sets bad chunks aside (they are fetched again), --rebuild makes the manifest anew from the chunks
  gc      remove what is not part of the cache, and what was set aside"""
MOST_SHOWN = 20


def parser() -> Parser:
    """The arguments of ``rangefs cache``."""
    usage = "rangefs cache ls|verify|gc --cache-dir DIR [options]"
    arguments = Parser("rangefs cache", DESCRIPTION, EPILOG, usage=usage)
    arguments.add_argument("action", choices=["ls", "verify", "gc"], metavar="ls|verify|gc")
    arguments.add_argument("--cache-dir", metavar="DIR", required=True)
    arguments.add_argument("--json", action="store_true", help="for programs")
    mending = arguments.add_mutually_exclusive_group()
    mending.add_argument("--repair", action="store_true", help="with verify: put right what is wrong")
    mending.add_argument("--rebuild", action="store_true", help="with verify: make the manifest anew as well")
    return arguments


def run(arguments: argparse.Namespace) -> int:
    """Do what is asked; `RangefsError` where a mount has the cache, or the disk refuses."""
    if arguments.action != "verify" and (arguments.repair or arguments.rebuild):
        raise UsageError(f"--repair and --rebuild go with verify, not {arguments.action}")
    try:
        folder = values.path(arguments.cache_dir)
        if arguments.action == "ls":
            return _list(folder, arguments.json)
        if arguments.action == "gc":
            return _clear(folder, arguments.json)
        return _verify(folder, arguments)
    except OSError as error:
        raise RangefsError(f"{error.filename or arguments.cache_dir}: {error.strerror}") from error


def _list(folder: Path, as_json: bool) -> int:
    kept = check.listing(folder)
    if as_json:
        print(json.dumps([_shown(one) for one in kept]))
        return 0
    source = None
    for one in kept:
        if one.source != source:
            source = one.source
            print(source)
        whole = one.version.size
        part = f"{share(one.cached_bytes, whole):>5} of {size(whole)}" if whole else size(one.cached_bytes)
        pinned = ", pinned" if one.pinned else ""
        print(f"  {part}, {one.chunks:,} chunks{pinned}: {os.fsdecode(one.version.key)}  {one.version.validator}")
    print(f"{len(kept):,} files, {size(sum(one.cached_bytes for one in kept))}")
    return 0


def _shown(one: check.KeptObject) -> dict[str, Any]:
    version = one.version
    return {
        "source": one.source,
        "key": os.fsdecode(version.key),
        "level": version.level.name.lower(),
        "validator": version.validator,
        "size": version.size,
        "mtime_ns": one.mtime_ns,
        "validated_at": one.validated_at_s,
        "cached_bytes": one.cached_bytes,
        "chunks": one.chunks,
        "pinned": one.pinned,
    }


def _clear(folder: Path, as_json: bool) -> int:
    cleared = check.gc(folder)
    print(
        json.dumps(dataclasses.asdict(cleared))
        if as_json
        else f"{cleared.files:,} files, {size(cleared.freed_bytes)} freed"
    )
    return 0


def _verify(folder: Path, arguments: argparse.Namespace) -> int:
    report = check.verify(folder, repair=arguments.repair, rebuild=arguments.rebuild)
    good = report.clean or report.repaired
    if arguments.json:
        print(json.dumps({**dataclasses.asdict(report), "clean": report.clean}))
        return 0 if good else 1
    print(f"{report.chunks:,} chunks, {size(report.bytes)} checked")
    if report.manifest:
        print(f"the manifest: {report.manifest}")
    _show("bad", [f"{path}: {why}" for path, why in report.bad.items()])
    _show("missing", [f"chunk {chunk_id:x}" for chunk_id in report.missing])
    _show("not of this cache", report.unknown)
    if report.clean:
        print("clean")
    elif report.repaired:
        print("put right: what was bad will be fetched again")
    else:
        print("not clean: a mount works and heals what it meets; verify --repair does it now")
    return 0 if good else 1


def _show(what: str, lines: Sequence[str]) -> None:
    if lines:
        print(f"{what}: {len(lines):,}")
    for line in lines[:MOST_SHOWN]:
        print(f"  {line}")
    if len(lines) > MOST_SHOWN:
        print(f"  … and {len(lines) - MOST_SHOWN:,} more (--json shows all)")
