"""What could not be read is put into aside/, for a look, until its room is needed: never deleted on the spot.

An entry is a file (a bad chunk) or a folder (a manifest, or a whole cache of another format).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rangefs.store.disk import Disk, is_folder, pages
from rangefs.store.layout import FOLDERS, Layout, generation_of

MAX_CHUNKS = 4  #: bad chunks kept; one tells as much as a thousand
MAX_FOLDERS = 3


@dataclass(frozen=True, slots=True)
class AsideEntry:
    """One thing set aside and what it takes on disk."""

    path: Path
    pages: int


def set_aside(disk: Disk, layout: Layout, everything: bool) -> int:
    """Move the manifest, or everything but the lock, into a new folder of aside/; returns the highest generation seen.

    Raises `OSError`.
    """
    present = disk.listdir(layout.root)
    generations = [generation_of(name) for name in present]
    names = [name for name in present if name in ("CURRENT", "CURRENT.next") or generation_of(name) is not None]
    if everything:
        names += [name for name in present if name in FOLDERS and name != "aside"]
    if names:
        if not is_folder(disk, layout.aside):
            disk.mkdir(layout.aside)
        target = _free_name(disk, layout, "cache" if everything else "manifest")
        disk.mkdir(target)
        for name in names:
            disk.rename(layout.root / name, target / name)
    return max((generation for generation in generations if generation is not None), default=0)


def _free_name(disk: Disk, layout: Layout, stem: str) -> Path:
    """A name above all others of aside/, so that names tell age."""
    taken = [name for name in disk.listdir(layout.aside) if not name.startswith("chunk-")]
    numbers = [int(name.rpartition("-")[2]) for name in taken if name.rpartition("-")[2].isdecimal()]
    return layout.aside / f"{stem}-{max(numbers, default=0) + 1}"


def entries(disk: Disk, layout: Layout) -> list[AsideEntry]:
    """All there is, oldest first as far as names tell. Walks it: it is little, or about to go."""
    if not is_folder(disk, layout.aside):
        return []
    found = [AsideEntry(path, size_of(disk, path)) for path in map(layout.aside.joinpath, disk.listdir(layout.aside))]
    return sorted(found, key=lambda entry: (len(entry.path.name), entry.path.name))


def size_of(disk: Disk, path: Path) -> int:
    """Pages that a file or a whole tree takes."""
    if not is_folder(disk, path):
        return pages(disk.info(path).size_bytes)
    return max(1, pages(disk.info(path).size_bytes)) + sum(size_of(disk, path / name) for name in disk.listdir(path))


def remove_tree(disk: Disk, path: Path) -> None:
    """Raises `OSError`."""
    if is_folder(disk, path):
        for name in disk.listdir(path):
            remove_tree(disk, path / name)
        disk.rmdir(path)
    else:
        disk.unlink(path)
