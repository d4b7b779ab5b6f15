"""A flat store's objects, seen as folders: S3, Google Cloud Storage and Azure agree on this much.

A page of a listing gives objects (keys) and, where a delimiter was asked for,
prefixes. `listing_of` makes the folder under one prefix out of all its pages.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rangefs.core.entries import Kind, Listing
from rangefs.core.listing.folder import FolderBuilder
from rangefs.errors import NotAListing


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object as a store lists it.

    key        the whole key within its bucket, the bytes it was put under
    validator  what answers will carry: the ETag with its quotes, or the generation (GCS); "" where not listed
    encoding   the stored Content-Encoding, where listed
    """

    key: bytes
    size: int | None = None
    mtime_ns: int | None = None
    mtime_precision_ns: int = 0
    validator: str = ""
    encoding: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a store's listing.

    next_token  what asks for the next page, verbatim; "" on the last. A token may repeat on a broken server: whoever
                walks the pages must stop at one seen before.
    """

    objects: tuple[StoredObject, ...]
    prefixes: tuple[bytes, ...] = ()
    next_token: str = ""


def listing_of(pages: Iterable[Page], prefix: bytes, folder: bytes) -> Listing:
    """The folder under `prefix` (``b""``, or ending in ``/``), from all pages of its listing.

    folder  the folder's key: an entry's key is this plus what its object's key has after `prefix`

    Every object stays reachable. A key's next component is its name, however odd: an empty one (``a//b``), ``.``,
    ``..`` or one of 1,024 bytes appears under an escaped name. A key equal to the prefix is the folder's marker
    and is not shown, unless it has content: then it is a file whose raw name is empty. A key that is both a file and
    a folder is shown as both. Works on flat listings too (a server that ignores the delimiter): deeper keys imply
    their folder. What does not begin with the prefix is refused and counted. Raises `TooLarge`.
    """
    builder = FolderBuilder()
    for page in pages:
        for name in page.prefixes:
            if name.startswith(prefix) and b"/" in (rest := name[len(prefix) :]):
                _add_folder(builder, rest, folder)
            else:
                builder.refuse()
        for stored in page.objects:
            rest = stored.key[len(prefix) :]
            if not stored.key.startswith(prefix):
                builder.refuse()
            elif b"/" in rest:
                _add_folder(builder, rest, folder)
            elif rest or stored.size:
                _add_file(builder, rest, folder, stored)
    return builder.build()


def _add_folder(builder: FolderBuilder, rest: bytes, folder: bytes) -> None:
    name = rest.partition(b"/")[0]
    builder.add(name, Kind.FOLDER, folder + name + b"/")


def _add_file(builder: FolderBuilder, rest: bytes, folder: bytes, stored: StoredObject) -> None:
    builder.add(
        rest,
        Kind.FILE,
        folder + rest,
        size=stored.size,
        mtime_ns=stored.mtime_ns,
        mtime_precision_ns=stored.mtime_precision_ns,
        etag=stored.validator,
    )


def size_of(text: str) -> int | None:
    """A size in decimal digits; None where it is none that a file can have."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def quoted_etag(text: str) -> str:
    """An ETag as answers carry it: several listings leave its quotes off (Azure, rclone, WsgiDAV)."""
    text = text.strip()
    if not text or text.startswith(("W/", '"')):
        return text
    return f'"{text}"' if '"' not in text else ""


def json_object(body: bytes) -> dict[str, Any]:
    """`body` as a JSON object. Raises `NotAListing`."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise NotAListing(f"the answer is not valid JSON: {type(error).__name__}") from error
    if not isinstance(document, dict):
        raise NotAListing("the answer is JSON, but no listing")
    return document
