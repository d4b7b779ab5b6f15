"""``rangefs status``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rangefs.cli import mountpoints
from rangefs.cli.figures import age, latency, share, size
from rangefs.cli.parsing import Parser
from rangefs.errors import MountError
from rangefs.ops import control

DESCRIPTION = "What the mount at MOUNTPOINT, or each mount of yours, is doing."
REQUEST = {"command": "status"}


def parser() -> Parser:
    """The arguments of ``rangefs status``."""
    arguments = Parser("rangefs status", DESCRIPTION)
    arguments.add_argument("mountpoint", metavar="MOUNTPOINT", nargs="?")
    arguments.add_argument("--json", action="store_true", help="one object with MOUNTPOINT, else a list of all")
    return arguments


def run(arguments: argparse.Namespace) -> int:
    """Print one mount's figures, or all of this user's."""
    if arguments.mountpoint is not None:
        found = status_of(Path(os.path.realpath(arguments.mountpoint)))
        print(json.dumps(found) if arguments.json else describe(found))
        return 0
    found_all = all_statuses()
    for mountpoint in dead_mounts(found_all):
        print(f"rangefs: {mountpoint} is dead, its process is gone: rangefs umount it", file=sys.stderr)
    if arguments.json:
        print(json.dumps(found_all))
    else:
        print("\n\n".join(map(describe, found_all)) or "nothing is mounted")
    return 0


def status_of(mountpoint: Path) -> dict[str, Any]:
    """The status of one mount. Raises `MountError` where there is none or it does not answer."""
    entry = mountpoints.mount_at(mountpoint)
    if entry is None:
        raise MountError(f"{mountpoint} is not mounted")
    if not entry.ours:
        raise MountError(f"{mountpoint} is a mount of {entry.fstype}, not of rangefs")
    user = os.geteuid() if entry.user_id is None else entry.user_id
    try:
        return control.ask(control.find_socket(mountpoint, user, os.environ), REQUEST)
    except control.NotServing as error:
        if mountpoints.is_dead(mountpoint):
            raise MountError(f"{mountpoint} is dead, its process is gone: rangefs umount it") from error
        raise MountError(f"{mountpoint} does not answer: {error}") from error


def all_statuses() -> list[dict[str, Any]]:
    """The statuses of this user's mounts that answer, by mount point."""
    found = []
    for path in control.sockets_of(os.geteuid(), os.environ):
        try:
            found.append(control.ask(path, REQUEST))
        except control.NotServing:
            continue  # left by a dead process, or it ends just now
    return sorted(found, key=lambda status: str(status["mountpoint"]))


def dead_mounts(answering: Iterable[Mapping[str, Any]]) -> list[Path]:
    """This user's mounts whose process is gone."""
    alive = {Path(status["mountpoint"]) for status in answering}
    ours = [entry for entry in mountpoints.mounts() if entry.ours and entry.user_id == os.geteuid()]
    return [
        entry.mountpoint for entry in ours if entry.mountpoint not in alive and mountpoints.is_dead(entry.mountpoint)
    ]


# -- for people -----------------------------------------------------------------


def describe(status: Mapping[str, Any]) -> str:
    """A few lines that say what matters first."""
    reads, upstream, cache, memory = (status[part] for part in ("reads", "upstream", "cache", "memory"))
    asked = reads["hit_bytes"] + reads["joined_bytes"] + reads["missed_bytes"]
    shares = ", ".join(
        f"{share(reads[f'{kind}_bytes'], asked)} {words}"
        for kind, words in (("hit", "from the cache"), ("joined", "joined to fetches"), ("missed", "fetched"))
    )
    lines = [
        f"{status['mountpoint']}  {status['state']}, up {age(status['uptime_s'])}, pid {status['pid']}",
        f"  source    {status['source']}",
        *(f"  why       {reason}" for reason in status["reasons"]),
        f"  reads     {reads['count']:,} of {size(reads['bytes'])}: {shares}",
        f"            p50 {latency(reads['p50_ms'])}, p99 {latency(reads['p99_ms'])}, {reads['errors']:,} errors",
        f"  upstream  {upstream['requests']:,} requests, {size(upstream['bytes'])}, "
        f"{upstream['in_flight']} in flight, {upstream['retries']:,} retries, {upstream['errors']:,} errors",
        f"  cache     {size(cache['bytes'])} of {size(cache['limit_bytes'])}: {cache['chunks']:,} chunks of "
        f"{cache['objects']:,} files, {size(cache['pinned_bytes'])} pinned, {size(cache['evicted_bytes'])} evicted",
        f"  memory    {size(memory['buffers_bytes'])} of {size(memory['limit_bytes'])}",
    ]
    lines += [
        f"  {one['role']:<9} {one['url']}  {one['state']}, {one['requests']:,} requests, {size(one['bytes'])}, "
        f"{one['errors']:,} errors, {latency(one['latency_ms'])}"
        for one in status.get("mirrors", ())
    ]
    if cache["corrupt_chunks"] or cache["dropped_chunks"]:
        lines.append(
            f"  healed    {cache['corrupt_chunks']:,} bad chunks, {cache['dropped_chunks']:,} given up at start"
        )
    return "\n".join(lines)
