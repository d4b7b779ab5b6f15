"""The settings of one mount, parsed and checked: what `cli` makes and the layers below take.

Sizes are bytes, times are seconds. Defaults are INTERFACE's.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from pathlib import Path

KiB = 1 << 10
MiB = 1 << 20
GiB = 1 << 30


class Sync(enum.Enum):
    """When the cache is made safe against power loss (never what protects from wrong bytes: checksums do)."""

    NONE = "none"
    BATCH = "batch"
    ALWAYS = "always"


class Weak(enum.Enum):
    """What to do with a file whose validator can't hold its bytes together."""

    OPEN = "open"  #: keep its bytes while it is open
    SPOOL = "spool"  #: fetch it whole at open


@dataclass(frozen=True, slots=True)
class MinFree:
    """Space to leave to others on the cache's disk: a fraction of it, or bytes."""

    fraction: float = 0.05
    size_bytes: int = 0

    def of(self, disk_bytes: int) -> int:
        """Bytes that must stay free on a disk of `disk_bytes`."""
        return max(self.size_bytes, int(disk_bytes * self.fraction))


@dataclass(frozen=True, slots=True)
class CacheSettings:
    folder: Path
    size_bytes: int = 20 * GiB
    min_free: MinFree = MinFree()
    sync: Sync = Sync.BATCH


@dataclass(frozen=True, slots=True)
class UpstreamSettings:
    """How to talk to upstream. Secrets are never here: only the files that hold them."""

    read_timeout_s: float = 60.0
    open_timeout_s: float = 5.0
    max_connections: int = 16
    headers: tuple[tuple[str, str], ...] = ()
    header_file: Path | None = None
    bearer_token_file: Path | None = None
    netrc: Path | None = None
    ca_file: Path | None = None
    client_cert: Path | None = None
    proxy: str | None = None
    insecure_auth: bool = False
    forbidden_as_missing: bool = False  #: ``--403-as-enoent``
    bwlimit_bytes_s: int | None = None
    endpoint_url: str | None = None
    region: str | None = None
    profile: str | None = None
    anonymous: bool = False
    requester_pays: bool = False
    stranger: bool = False  #: a mirror's: secrets were not given for it, but for what a netrc file has under its name


@dataclass(frozen=True, slots=True)
class ViewSettings:
    """How files look: owner and mode."""

    uid: int
    gid: int
    umask: int = 0o022
    file_mode: int = 0o444
    allow_other: bool = False


@dataclass(frozen=True, slots=True)
class MountSettings:
    source: str
    mountpoint: Path
    cache: CacheSettings
    view: ViewSettings
    upstream: UpstreamSettings = field(default_factory=UpstreamSettings)
    memory_bytes: int = 128 * MiB
    metadata_ttl_s: float = 60.0
    stale_if_error_s: float = 86400.0
    offline: bool = False
    weak: Weak = Weak.OPEN
    max_full_fetch_bytes: int = GiB
    mirrors: tuple[str, ...] = ()
    metrics: str | None = None  #: HOST:PORT
    log_level: str = "info"
    log_format: str = "text"
