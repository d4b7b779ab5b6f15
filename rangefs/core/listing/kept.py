"""How a listing is kept on disk: JSON, names and keys as latin-1 text so that any bytes survive.

Only ever read back after its file's checksum held; still nothing in it is trusted to be well-formed.
"""

from __future__ import annotations

import json

from rangefs.core.entries import Entry, Kind, Listing

FORMAT = 2  # 1 did not say whether the listing was cut off


def encode(listing: Listing) -> bytes:
    """The listing as bytes."""
    rows = [
        (
            e.name.decode("latin-1"),
            e.kind is Kind.FOLDER,
            e.key.decode("latin-1"),
            e.size,
            e.mtime_ns,
            e.mtime_precision_ns,
            e.etag,
        )
        for e in listing.entries
    ]
    return json.dumps(
        [FORMAT, listing.complete, listing.escaped, listing.refused, rows], separators=(",", ":")
    ).encode()


def decode(payload: bytes) -> Listing | None:
    """The listing again, or None where the bytes are of another format."""
    try:
        version, complete, escaped, refused, rows = json.loads(payload)
        if version != FORMAT:
            return None
        entries = tuple(
            Entry(
                name.encode("latin-1"),
                Kind.FOLDER if folder else Kind.FILE,
                key.encode("latin-1"),
                size,
                mtime,
                prec,
                etag,
            )
            for name, folder, key, size, mtime, prec, etag in rows
        )
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None
    return Listing(entries, escaped, refused, complete is True)
