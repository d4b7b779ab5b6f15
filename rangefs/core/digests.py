"""Hashes of whole files, as catalogs give them. Pure: bytes in, a verdict out."""

from __future__ import annotations

import hashlib
from typing import Protocol

import xxhash


class Hasher(Protocol):
    """What hashlib's and xxhash's objects have in common."""

    def update(self, data: bytes | memoryview, /) -> None: ...

    def hexdigest(self) -> str: ...


def name_of(xxh3: str, sha256: str) -> str:
    """The name of content by its strongest given hash (lower-case hex): ``sha256:…`` or ``xxh3:…``; "" for none."""
    if sha256:
        return f"sha256:{sha256}"
    return f"xxh3:{xxh3}" if xxh3 else ""


class Digest:
    """Checks content against all hashes that are given for it.

    xxh3    16 hex digits (64 bits) or 32 (128 bits), "" for none
    sha256  64 hex digits, "" for none
    """

    def __init__(self, xxh3: str, sha256: str) -> None:
        self._checks: list[tuple[str, str, Hasher]] = []
        if xxh3:
            self._checks.append(("xxh3", xxh3, xxhash.xxh3_64() if len(xxh3) == 16 else xxhash.xxh3_128()))
        if sha256:
            self._checks.append(("sha256", sha256, hashlib.sha256()))

    def update(self, data: bytes | memoryview) -> None:
        """The next bytes, in order."""
        for _, _, hasher in self._checks:
            hasher.update(data)

    def wrong(self) -> str:
        """The kind of the first hash that the bytes do not have, "" where all agree."""
        return next((kind for kind, wanted, hasher in self._checks if hasher.hexdigest() != wanted), "")
