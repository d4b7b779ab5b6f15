"""What a version is: the unit of truth.

An object's bytes may be cached, joined and shown together only if they belong
to one version, and how far a version can be trusted is its level
(SEMANTICS: RFC 9110 sections 8.8.1, 13.1.1 and 15.3.7.3).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field


class Level(enum.IntEnum):
    """How well upstream lets a change be seen. The numbers are stored on disk: never renumber."""

    NONE = 0  #: a size at most
    WEAK = 1  #: a ``W/`` ETag, or a file so young that its validator may outlive a change
    DATE = 2  #: no ETag, a Last-Modified that has aged
    STRONG = 3  #: a strong ETag that has aged
    IMMUTABLE = 4  #: a generation or version id, pinned in the request itself

    @property
    def durable(self) -> bool:
        """May bytes (and kernel pages) outlive the open handles that fetched them?"""
        return self >= Level.DATE


@dataclass(frozen=True, slots=True)
class Version:
    """The identity of one run of bytes. Equal versions have equal bytes, as far as ``level`` can promise.

    key        the object's key within its source, verbatim bytes as upstream spelled it
    level      see `Level`
    validator  the ETag with its quotes and ``W/``; the Last-Modified text at DATE;
               the generation or version id at IMMUTABLE; "" at NONE
    size       bytes, or None where upstream does not say (chunked, no Content-Length)
    encoding   the stored Content-Encoding, "" for identity; raw bytes are what is served
    """

    key: bytes
    level: Level
    validator: str
    size: int | None
    encoding: str = ""


@dataclass(frozen=True, slots=True)
class Stat:
    """What one answer (HEAD, a range, a version-bearing listing) says of an object.

    version   the version that answered
    mtime_ns  Last-Modified in ns since the epoch, None where upstream has none
    mirrored  a mirror says so, the primary could not be asked: if it differs from what is known, nothing has changed
    """

    version: Version
    mtime_ns: int | None
    mirrored: bool = field(default=False, compare=False)
