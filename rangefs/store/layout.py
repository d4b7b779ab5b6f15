"""Every file name of a cache folder, and which system calls make a folder ready.

::

    lock                     held while a process owns the folder; holds its pid
    CURRENT                  names the generation in use
    snapshot-0000000a        the manifest of generation 10, and the log that goes on from it
    log-0000000a
    chunks/2f/17a3           chunk 0x17a3; 128 ids share a folder, so a folder stays one block large
    passing/2f/17a4          the same of versions that must not outlive their handles; emptied at each start
    staging/                 files being written; emptied at each start
    listings/0123456789abcdef  folder listings kept for offline use
    aside/                   what could not be read, kept for a look: bounded

All folders are 0700, all files 0600.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FAN_OUT_BITS = 7
"""128 names of up to 12 digits take at most 2.6 KiB, so ext4 never needs a second block for a folder."""

FOLDERS = ("chunks", "passing", "staging", "listings", "aside")


@dataclass(frozen=True, slots=True)
class Layout:
    """The names below one cache folder."""

    root: Path

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    @property
    def current(self) -> Path:
        return self.root / "CURRENT"

    @property
    def current_staged(self) -> Path:
        return self.root / "CURRENT.next"

    @property
    def staging(self) -> Path:
        return self.root / "staging"

    @property
    def aside(self) -> Path:
        return self.root / "aside"

    @property
    def listings(self) -> Path:
        return self.root / "listings"

    @property
    def chunks(self) -> Path:
        return self.root / "chunks"

    @property
    def passing(self) -> Path:
        return self.root / "passing"

    def snapshot(self, generation: int) -> Path:
        return self.root / f"snapshot-{generation:08x}"

    def log(self, generation: int) -> Path:
        return self.root / f"log-{generation:08x}"

    def staged(self, chunk_id: int) -> Path:
        return self.staging / f"{chunk_id:x}"

    def chunk_folder(self, chunk_id: int, ephemeral: bool = False) -> Path:
        return (self.passing if ephemeral else self.chunks) / f"{chunk_id >> FAN_OUT_BITS:x}"

    def chunk(self, chunk_id: int, ephemeral: bool = False) -> Path:
        return self.chunk_folder(chunk_id, ephemeral) / f"{chunk_id:x}"


def hex_name(name: str) -> int | None:
    """The number that a file is named by, None if the name is none of ours."""
    try:
        number = int(name, 16)
    except ValueError:
        return None
    return number if f"{number:x}" == name else None


def generation_of(name: str) -> int | None:
    """The generation in the name of a snapshot or a log, None for other names."""
    for prefix in ("snapshot-", "log-"):
        if name.startswith(prefix) and len(name) == len(prefix) + 8:
            try:
                return int(name.removeprefix(prefix), 16)
            except ValueError:
                return None
    return None
