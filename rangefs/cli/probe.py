"""What a SOURCE's server can and can't do, found out with a handful of small requests."""

from __future__ import annotations

from collections.abc import Callable

import trio

from rangefs.cli.findings import Finding, bad, good, note
from rangefs.core.entries import Entry, Kind, Listing
from rangefs.core.figures import UpstreamFigures
from rangefs.core.joining import joinable
from rangefs.core.settings import MountSettings
from rangefs.core.versions import Level, Stat, Version
from rangefs.errors import RangefsError, RangesIgnored
from rangefs.sources.base import Source, Ticket, read_all
from rangefs.sources.mirrored import open_mirrored
from rangefs.sources.mirrors import Mirrors
from rangefs.sources.upstream import Upstream

PROBE_TIMEOUT_S = 30.0  #: for everything together
FOLDERS_SEARCHED = 8  #: for a file to try
SAMPLE_BYTES = 512

LEVELS = {
    Level.IMMUTABLE: good("versions are pinned by number: bytes can't mix, and are kept for ever"),
    Level.STRONG: good("files have strong ETags: bytes of two versions can't mix, and are kept across mounts"),
    Level.DATE: good("files have a Last-Modified: kept across mounts; two changes within a second look like one"),
    Level.WEAK: note(
        "this file's validator is weak, or it was changed just now: its bytes are kept only while it is open"
    ),
    Level.NONE: note("files have neither ETag nor Last-Modified: nothing is kept after they are closed"),
}


async def check_source(settings: MountSettings, report: Callable[[Finding], None]) -> None:
    """Report findings about ``settings.source`` as they come; ends early where going on has no point."""
    source = open_mirrored(settings.source, settings.mirrors, settings.upstream, UpstreamFigures())
    try:
        if isinstance(source, Mirrors):
            primary, *others = source.upstreams
            await primary.connect()
            entry = await _probe(primary.source, report)
            for mirror in others:
                report(await _mirror(mirror, primary, entry))
        else:
            await _probe(source, report)
    except RangefsError as error:
        report(bad(str(error)))
    finally:
        with trio.CancelScope(shield=True):
            await source.aclose()


async def _probe(source: Source, report: Callable[[Finding], None]) -> Entry | None:
    """The findings about one origin; the file that was tried."""
    try:
        with trio.fail_after(PROBE_TIMEOUT_S):
            await source.connect()
            root = await source.list(b"")
            report(_listing(root))
            entry = await _some_file(source, root)
            if entry is None:
                report(note("no file found to try ranges on"))
                return None
            stat = await source.stat(entry.key)
            report(good(f"trying {source.url(entry.key)}"))
            report(_sizes(entry, stat))
            report(LEVELS[stat.version.level])
            report(await _ranges(source, entry.key, stat.version))
            return entry
    except RangefsError as error:
        report(bad(str(error)))
    except trio.TooSlowError:
        report(bad(f"no more answers within {PROBE_TIMEOUT_S:.0f} s"))
    return None


async def _mirror(mirror: Upstream, primary: Upstream, entry: Entry | None) -> Finding:
    """Has a mirror what the primary has?"""
    who = f"the mirror {mirror.name}"
    try:
        with trio.fail_after(PROBE_TIMEOUT_S):
            await mirror.connect()
            if entry is None:
                return note(f"{who} answers; no file was found to compare")
            ours = await primary.source.stat(entry.key)
            theirs = mirror.told(entry.key, await mirror.source.stat(mirror.key(entry.key, primary)))
    except RangefsError as error:
        return bad(f"{who}: {error}")
    except trio.TooSlowError:
        return bad(f"{who}: no answer within {PROBE_TIMEOUT_S:.0f} s")
    if ours.version.size != theirs.version.size:
        return bad(f"{who} has {theirs.version.size} bytes of that file, the primary {ours.version.size}")
    if joinable(ours.version, theirs.version):
        return good(f"{who} has the same version of that file: they share reads, and either goes on alone")
    return note(f"{who} has no strong ETag in common with the primary: it only stands in, for files not open yet")


def _listing(root: Listing) -> Finding:
    folders = sum(entry.kind is Kind.FOLDER for entry in root.entries)
    files = len(root.entries) - folders
    text = (
        f"the folder lists {files:,} files and {folders:,} folders"
        if len(root.entries) != 1
        else f"it lists one {root.entries[0].kind.value}"
    )
    if root.escaped:
        text += f"; {root.escaped:,} names are shown escaped"
    return note(f"{text}; {root.refused:,} names can't be shown at all") if root.refused else good(text)


async def _some_file(source: Source, root: Listing) -> Entry | None:
    """A file near the root, not empty where that is known."""
    searched, folders = [root], [entry for entry in root.entries if entry.kind is Kind.FOLDER]
    while searched:
        files = [entry for listing in searched for entry in listing.entries if entry.kind is Kind.FILE]
        if usable := [entry for entry in files if entry.size != 0]:
            return usable[0]
        searched = [await source.list(folder.key) for folder in folders[:FOLDERS_SEARCHED]]
        folders = []
    return None


def _sizes(entry: Entry, stat: Stat) -> Finding:
    if stat.version.size is None:
        return note("files have no Content-Length: they can only be read from start to end")
    if entry.size is None:
        return note("the listing has no exact sizes: ls -l costs one request a file")
    if entry.size != stat.version.size:
        return bad(f"the listing says {entry.size:,} bytes, the file itself {stat.version.size:,}: is it changing?")
    return good("the listing has exact sizes: ls -l costs no request a file")


async def _ranges(source: Source, key: bytes, version: Version) -> Finding:
    if not version.size:
        return note("the file is empty or of unknown length: ranges were not tried")
    start = version.size // 2
    end = min(start + SAMPLE_BYTES, version.size)
    try:
        async with source.fetch(key, start, end, version, Ticket()) as body:
            received_bytes = len(await read_all(body, SAMPLE_BYTES) or b"")
    except RangesIgnored:
        return note("ranges are ignored: each file is fetched whole, up to --max-full-fetch")
    if received_bytes == 0:
        return bad("a range came back empty")
    return good("ranges work, and each answer is checked to be of the same version")
