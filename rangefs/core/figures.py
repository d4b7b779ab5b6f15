"""Plain counters that every layer adds to and `ops` shows. The names are the contract of ``status --json``."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class ReadFigures:
    """Reads as the kernel asked for them; bytes by where they came from."""

    count: int = 0
    bytes: int = 0
    hit_bytes: int = 0  #: from the cache
    joined_bytes: int = 0  #: from a fetch that someone else had under way
    missed_bytes: int = 0  #: started a fetch
    errors: int = 0


@dataclass(slots=True)
class UpstreamFigures:
    requests: int = 0
    bytes: int = 0  #: body bytes received, listings included
    retries: int = 0
    errors: int = 0
    in_flight: int = 0
    version_changes: int = 0


class PartFigures(UpstreamFigures):
    """Those of one origin of several: whatever is counted here is counted in `total` as well."""

    __slots__ = ("total",)

    total: UpstreamFigures

    def __init__(self, total: UpstreamFigures) -> None:
        object.__setattr__(self, "total", total)
        super().__init__()

    def __setattr__(self, name: str, value: int) -> None:
        more = value - getattr(self, name, 0)
        setattr(self.total, name, getattr(self.total, name) + more)
        super().__setattr__(name, value)


@dataclass(slots=True)
class CacheFigures:
    bytes: int = 0  #: on disk, everything in the folder counted
    limit_bytes: int = 0
    chunks: int = 0
    objects: int = 0
    evicted_bytes: int = 0
    written_bytes: int = 0
    corrupt_chunks: int = 0  #: failed a check, were set aside and fetched again
    recovered_chunks: int = 0  #: found after a crash though no record named them
    dropped_chunks: int = 0  #: records or files given up at recovery
    recovery_s: float = 0.0
    pinned_bytes: int = 0


@dataclass(slots=True)
class MemoryFigures:
    buffers_bytes: int = 0
    limit_bytes: int = 0


@dataclass(slots=True)
class Figures:
    """All counters of one mount."""

    reads: ReadFigures = field(default_factory=ReadFigures)
    upstream: UpstreamFigures = field(default_factory=UpstreamFigures)
    cache: CacheFigures = field(default_factory=CacheFigures)
    memory: MemoryFigures = field(default_factory=MemoryFigures)
