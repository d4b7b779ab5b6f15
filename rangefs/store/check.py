"""A cache folder with no mount running: look it over, mend it, list it, clear it out.

All functions block, take the folder's lock for as long as they run, and raise
`errors.CacheLocked` where a mount has it and `OSError` where the disk refuses.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rangefs.core.chunkfile import ChunkName, Damaged, UnknownFormat
from rangefs.core.columns import PINNED
from rangefs.core.ledger import ChunkRow, Ledger
from rangefs.core.snapshot import encode_snapshot, squeeze
from rangefs.core.versions import Version
from rangefs.store import aside, recovery
from rangefs.store.disk import PAGE, Disk, is_folder, pages
from rangefs.store.layout import Layout, hex_name
from rangefs.store.manifest import begin_log, publish, remove_generations
from rangefs.store.recovery import Recovered
from rangefs.store.shelf import BadChunk, open_chunk, read_chunk
from rangefs.store.starting import take_lock


@dataclass(slots=True)
class Report:
    """What a look at each byte found. Paths are relative to the folder.

    bad        chunk files that are not what they should be, and why
    missing    ids of chunks that the manifest names and the disk lacks
    unknown    files that the manifest does not name: `gc` removes them, a rebuild adopts them
    manifest   what is wrong with the manifest, "" where it is good
    repaired   what was wrong is put right: bad ones are set aside, missing ones forgotten
    """

    chunks: int = 0
    bytes: int = 0
    bad: dict[str, str] = field(default_factory=dict)
    missing: list[int] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    manifest: str = ""
    repaired: bool = False

    @property
    def clean(self) -> bool:
        return not (self.bad or self.missing or self.unknown or self.manifest)


@dataclass(frozen=True, slots=True)
class KeptObject:
    """One version that has bytes in the cache. `validated_at_s`: epoch seconds, 0 where unknown."""

    source: str
    version: Version
    mtime_ns: int | None
    validated_at_s: float
    chunks: int
    cached_bytes: int
    pinned: bool


@dataclass(frozen=True, slots=True)
class Cleared:
    """What `gc` removed."""

    files: int
    freed_bytes: int


def verify(folder: Path, repair: bool = False, rebuild: bool = False, disk: Disk | None = None) -> Report:
    """Read and check every byte. Changes nothing, but that it mends what a crash left, as each mount does.

    repair   set bad chunks aside and forget missing ones
    rebuild  set the manifest aside and make it anew from the chunks, which name themselves; then repair
    """
    disk = disk or Disk()
    layout = Layout(folder)
    with _locked(disk, layout):
        report = Report(manifest=_manifest_fault(disk, layout))
        if rebuild:
            aside.set_aside(disk, layout, everything=False)
        elif report.manifest and not repair:
            return report  # a start would rebuild it; until then there is nothing to hold the chunks against
        found = recovery.recover(disk, layout)
        _check_chunks(disk, layout, found.ledger, report)
        report.unknown = [str(path.relative_to(folder)) for path in _unknown(disk, layout, found.ledger)]
        if repair or rebuild:
            _mend(disk, layout, found.ledger, report)
            report.repaired = True
        _finish(disk, layout, found, rewrite=report.repaired or bool(report.manifest))
        return report


def listing(folder: Path, disk: Disk | None = None) -> list[KeptObject]:
    """Every version with bytes in the cache, by source and key."""
    disk = disk or Disk()
    layout = Layout(folder)
    with _locked(disk, layout):
        found = recovery.recover(disk, layout)
        kept = list(_kept(found.ledger))
        _finish(disk, layout, found, rewrite=False)
    return sorted(kept, key=lambda one: (one.source, one.version.key, one.validated_at_s))


def gc(folder: Path, disk: Disk | None = None) -> Cleared:
    """Remove what no mount would ever use: files that the manifest does not name, and what was set aside."""
    disk = disk or Disk()
    layout = Layout(folder)
    with _locked(disk, layout):
        found = recovery.recover(disk, layout)
        paths = list(_unknown(disk, layout, found.ledger))
        entries = aside.entries(disk, layout)
        freed = sum(pages(disk.info(path).size_bytes) for path in paths) + sum(entry.pages for entry in entries)
        for path in [*paths, *(entry.path for entry in entries)]:
            aside.remove_tree(disk, path)
        _finish(disk, layout, found, rewrite=False)
    return Cleared(len(paths) + len(entries), freed * PAGE)


@contextmanager
def _locked(disk: Disk, layout: Layout) -> Iterator[None]:
    if not is_folder(disk, layout.root):
        raise FileNotFoundError(2, "no cache folder", str(layout.root))
    recovery.make_folders(disk, layout)
    fd = take_lock(disk, layout)
    try:
        yield
    finally:
        disk.close(fd)


def _manifest_fault(disk: Disk, layout: Layout) -> str:
    """Why the manifest can't be read; "" if it can, or there is none and nothing that it could name."""
    try:
        recovery.read_manifest(disk, layout, Recovered())
    except FileNotFoundError:
        return "there is no manifest" if any(_chunk_files(disk, layout)) else ""
    except (Damaged, UnknownFormat, ValueError, AssertionError) as error:
        return str(error)
    return ""


def _chunk_files(disk: Disk, layout: Layout) -> Iterator[Path]:
    for name in disk.listdir(layout.chunks):
        folder = layout.chunks / name
        if is_folder(disk, folder):
            yield from (folder / inner for inner in disk.listdir(folder))
        else:
            yield folder


def _unknown(disk: Disk, layout: Layout, ledger: Ledger) -> Iterator[Path]:
    for path in _chunk_files(disk, layout):
        chunk_id = hex_name(path.name)
        if chunk_id is None or layout.chunk(chunk_id) != path or ledger.chunk(chunk_id) is None:
            yield path


def _rows(ledger: Ledger) -> Iterator[tuple[ChunkName, ChunkRow]]:
    objects = ledger.objects
    for row in range(len(objects)):
        source = ledger.namespaces.get(objects.namespace(row), "")
        version = objects.version(row)
        for chunk in list(ledger.chunks_of(row)):
            yield ChunkName(chunk.chunk_id, source, version, None, chunk.start, chunk.length), chunk


def _check_chunks(disk: Disk, layout: Layout, ledger: Ledger, report: Report) -> None:
    for name, chunk in _rows(ledger):
        report.chunks += 1
        report.bytes += name.length
        try:
            opened = open_chunk(disk, layout, name)
        except FileNotFoundError:
            report.missing.append(name.chunk_id)
            continue
        except (BadChunk, OSError) as error:
            report.bad[_relative(layout, chunk.chunk_id)] = str(error)
            continue
        try:
            read_chunk(disk, opened, opened.start, opened.end)
        except (BadChunk, OSError) as error:
            report.bad[_relative(layout, chunk.chunk_id)] = str(error)
        finally:
            disk.close(opened.fd)


def _relative(layout: Layout, chunk_id: int) -> str:
    return str(layout.chunk(chunk_id).relative_to(layout.root))


def _mend(disk: Disk, layout: Layout, ledger: Ledger, report: Report) -> None:
    for chunk_id in report.missing:
        ledger.drop(chunk_id)
    for name in report.bad:
        path = layout.root / name
        chunk_id = int(path.name, 16)
        ledger.drop(chunk_id)
        if len(aside.entries(disk, layout)) < aside.MAX_CHUNKS:
            disk.rename(path, layout.aside / f"chunk-{chunk_id:x}")
        else:
            disk.unlink(path)
    for name in report.unknown:
        aside.remove_tree(disk, layout.root / name)


def _kept(ledger: Ledger) -> Iterator[KeptObject]:
    objects = ledger.objects
    for row in range(len(objects)):
        chunks = list(ledger.chunks_of(row))
        if chunks:
            yield KeptObject(
                ledger.namespaces.get(objects.namespace(row), ""),
                objects.version(row),
                objects.mtime_ns(row),
                objects.validated[row],
                len(chunks),
                sum(chunk.length for chunk in chunks),
                bool(objects.flags[row] & PINNED),
            )


def _finish(disk: Disk, layout: Layout, found: Recovered, rewrite: bool) -> None:
    """Close the log; where the books changed, or the log can't be gone on with, write the next generation."""
    if found.log is not None:
        disk.close(found.log.fd)
        if not rewrite and not found.records:
            return
    generation = found.generation + 1
    squeeze(found.ledger)
    fd = begin_log(disk, layout, generation, found.sequence + 2)
    try:
        publish(disk, layout, generation, fd, encode_snapshot(found.ledger, generation, found.sequence + 2), sync=True)
    finally:
        disk.close(fd)
    remove_generations(disk, layout, below=generation)
