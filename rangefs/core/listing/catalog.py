"""Catalogs: a list of files, wherever they are, as one tree.

Four forms, told apart by their first bytes: JSON lines (an object a line), a
JSON document (``{"base": …, "entries": […]}`` or a bare array of the same
objects), CSV with a header line, and Metalink 4 (RFC 5854). Each file has a
``path`` in the tree and a ``url`` (several: mirrors, best first), and where
known ``size`` (bytes), ``etag``, ``mtime`` (RFC 3339, or seconds since the
epoch), ``xxh3`` (16 or 32 hex digits) and ``sha256``.

A catalog is written for us, so what is wrong in one is an error that names the
place, not a guess: only a hash of an unknown form is passed over, and counted.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

from rangefs.core.entries import Kind, Listing
from rangefs.core.listing.folder import MAX_SIZE, FolderBuilder
from rangefs.core.listing.moments import SECOND_NS, ZONELESS_NS, http_ns, iso_ns
from rangefs.core.listing.objects import quoted_etag, size_of
from rangefs.core.listing.xml import read_xml
from rangefs.errors import NotAListing, TooLarge

MAX_FILES = 5_000_000
MAX_DEPTH = 256  #: folders above a file; Linux stops at 4,096 bytes of path anyway

_PLAIN_URL = re.compile(r"https?://[A-Za-z0-9.-]+(?::[0-9]{1,5})?/[A-Za-z0-9._~%!$&'()*+,;=:@/?-]*")
_XXH3 = re.compile(r"[0-9a-f]{16}(?:[0-9a-f]{16})?")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class CatalogFile:
    """One file. `path` is its raw path in the tree, `urls` where it is, best first; hashes in lower-case hex or ""."""

    path: bytes
    urls: tuple[str, ...]
    size: int | None = None
    etag: str = ""
    mtime_ns: int | None = None
    mtime_precision_ns: int = 0
    xxh3: str = ""
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Catalog:
    """A whole tree: folders by key (``b""`` is the root, others end in ``/``), files by key (their path).

    ignored_hashes  hashes that were given in no form that could be checked
    """

    folders: dict[bytes, Listing]
    files: dict[bytes, CatalogFile]
    ignored_hashes: int = 0


def parse_catalog(body: bytes, url: str) -> Catalog:
    """The tree that `body` describes; relative addresses in it start from `url`, where it came from.

    Raises `NotAListing` (saying where the catalog is wrong) and `TooLarge`.
    """
    ignored_hashes = 0
    files: dict[bytes, CatalogFile] = {}
    for number, (given, base) in enumerate(_records(body), 1):
        if number > MAX_FILES:
            raise TooLarge(f"the catalog has more than {MAX_FILES} files")
        file, ignored = _file(given, urljoin(url, base) if base else url, number)
        ignored_hashes += ignored
        if file.path in files:
            raise NotAListing(f"entry {number} of the catalog has the path of an entry before it")
        files[file.path] = file
    return Catalog(_folders(files.values()), files, ignored_hashes)


# -- the four forms: each yields what an entry gives, and the base of its addresses ------------------------


def _records(body: bytes) -> Iterator[tuple[Mapping[str, Any], str]]:
    text = body.removeprefix(b"\xef\xbb\xbf").lstrip()
    match text[:1]:
        case b"<":
            return _metalink(text)
        case b"{" | b"[":
            return _json(text)
        case b"":
            raise NotAListing("the catalog is empty")
    return _csv(text)


def _json(text: bytes) -> Iterator[tuple[Mapping[str, Any], str]]:
    first, newline, rest = text.partition(b"\n")
    try:
        document = _loaded(first if newline else text, 1)
    except NotAListing:
        if not newline:
            raise
        document, rest = _loaded(text, 1), b""  # one document over several lines
    if isinstance(document, list):
        entries, base = document, ""
    elif isinstance(document, dict) and isinstance(document.get("entries"), list):
        entries, base = document["entries"], document.get("base", "")
    else:
        yield from _json_lines(text)
        return
    if isinstance(document, dict) and document.get("version", 1) != 1:
        raise NotAListing("the catalog is of a version that is not known here")
    if rest.strip() or not isinstance(base, str):
        raise NotAListing("the catalog is neither one JSON document nor JSON lines")
    for number, entry in enumerate(entries, 1):
        yield _mapping(entry, number), base


def _json_lines(text: bytes) -> Iterator[tuple[Mapping[str, Any], str]]:
    for number, line in enumerate(text.split(b"\n"), 1):
        if line.strip():
            yield _mapping(_loaded(line, number), number), ""


def _loaded(text: bytes, number: int) -> Any:
    try:
        return json.loads(text.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError) as error:
        raise NotAListing(f"line {number} of the catalog is not valid JSON") from error


def _mapping(entry: Any, number: int) -> Mapping[str, Any]:
    if not isinstance(entry, dict):
        raise NotAListing(f"entry {number} of the catalog is no JSON object")
    return entry


def _csv(text: bytes) -> Iterator[tuple[Mapping[str, Any], str]]:
    lines = text.decode("utf-8", "surrogateescape").splitlines(keepends=True)
    reader = csv.DictReader(lines, strict=True)
    try:
        if not {"path", "url"} <= set(reader.fieldnames or ()):
            raise NotAListing("the catalog is no JSON, Metalink, or CSV with the columns path and url")
        for row in reader:
            yield {name: value for name, value in row.items() if name and value}, ""
    except csv.Error as error:
        raise NotAListing(f"line {reader.line_num} of the catalog is not valid CSV") from error


def _metalink(text: bytes) -> Iterator[tuple[Mapping[str, Any], str]]:
    records: list[tuple[Mapping[str, Any], str]] = []
    given: dict[str, Any] = {}
    urls: list[tuple[int, str]] = []

    def element(path: list[str], attributes: Mapping[str, str], text: str) -> None:
        nonlocal given, urls
        match path[1:]:
            case ["file", "size"]:
                given["size"] = text.strip()
            case ["file", "hash"] if attributes.get("type", "").lower() in ("sha-256", "xxh3"):
                given[attributes["type"].lower().replace("-", "")] = text.strip()
            case ["file", "url"]:
                urls.append((size_of(attributes.get("priority", "")) or 999_999, text.strip()))  # RFC 5854 4.2.16.2
            case ["file"]:
                best_first = [url for _, url in sorted(urls, key=lambda url: url[0])]
                records.append(({**given, "path": attributes.get("name", ""), "url": best_first}, ""))
                given, urls = {}, []

    read_xml(text, {"metalink"}, element)
    return iter(records)


# -- one entry -------------------------------------------------------------


def _file(given: Mapping[str, Any], base: str, number: int) -> tuple[CatalogFile, int]:
    mtime_ns, precision_ns = _mtime(given.get("mtime"), number)
    hashes = {
        "xxh3": _hash(given.get("xxh3"), _XXH3),
        "sha256": _hash(given.get("sha256"), _SHA256),
    }
    etag = given.get("etag")
    file = CatalogFile(
        _path(given.get("path"), number),
        _urls(given.get("url"), base, number),
        _size(given.get("size"), number),
        quoted_etag(etag) if isinstance(etag, str) else "",
        mtime_ns,
        precision_ns,
        **hashes,
    )
    return file, sum(bool(given.get(name)) and not found for name, found in hashes.items())


def _path(path: Any, number: int) -> bytes:
    if not isinstance(path, str) or not path.strip("/") or path.endswith("/"):
        raise NotAListing(f"entry {number} of the catalog has no path of a file")
    if path.count("/") > MAX_DEPTH:
        raise NotAListing(f"entry {number} of the catalog lies too deep")
    try:
        return path.removeprefix("/").encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise NotAListing(f"entry {number} of the catalog has a path that is no text") from error


def _urls(urls: Any, base: str, number: int) -> tuple[str, ...]:
    given = [urls] if isinstance(urls, str) else urls
    if not isinstance(given, list) or not given or not all(isinstance(url, str) and url for url in given):
        raise NotAListing(f"entry {number} of the catalog has no url")
    return tuple(_joined(base, url, number) for url in given)


def _joined(base: str, url: str, number: int) -> str:
    if _PLAIN_URL.fullmatch(url):  # as nearly all are: the long way takes ten times as long
        return url
    try:
        joined = urljoin(base, url)
        joined.encode()
        parts = urlsplit(joined)
    except ValueError as error:
        raise NotAListing(f"entry {number} of the catalog has a url that can't be read") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise NotAListing(f"entry {number} of the catalog has a url that is neither http nor https")
    if parts.username is not None or parts.password is not None:
        raise NotAListing(f"entry {number} of the catalog has a url with a password: give it by --netrc")
    return joined


def _size(size: Any, number: int) -> int | None:
    if size is None or size == "":
        return None
    found = size_of(size) if isinstance(size, str) else size if type(size) is int else None
    if found is None or not 0 <= found <= MAX_SIZE:
        raise NotAListing(f"entry {number} of the catalog has a size that is none")
    return found


def _mtime(mtime: Any, number: int) -> tuple[int | None, int]:
    if mtime is None or mtime == "":
        return None, 0
    if isinstance(mtime, str):
        text = mtime.encode("utf-8", "replace")
        if (found := iso_ns(text)) is not None or (found := http_ns(text)) is not None:
            return found, 0 if "." in mtime else SECOND_NS
        if (found := iso_ns(text + b"Z")) is not None:
            return found, ZONELESS_NS
    elif type(mtime) in (int, float) and math.isfinite(mtime) and abs(mtime) < 2**33:
        return int(mtime * SECOND_NS), 0 if isinstance(mtime, float) else SECOND_NS
    raise NotAListing(f"entry {number} of the catalog has an mtime that is none (RFC 3339, or seconds)")


def _hash(text: Any, form: re.Pattern[str]) -> str:
    if not isinstance(text, str):
        return ""
    found = form.fullmatch(text.strip().lower())
    return found[0] if found else ""


# -- the tree --------------------------------------------------------------


def _folders(files: Iterable[CatalogFile]) -> dict[bytes, Listing]:
    """Every folder that a path implies. Names are made safe as anywhere: ``..`` is a name here, and leads nowhere."""
    builders: dict[bytes, FolderBuilder] = {b"": FolderBuilder()}
    for file in files:
        above, _, name = file.path.rpartition(b"/")
        folder = above + b"/" if b"/" in file.path else b""
        _folder(builders, folder).add(
            name,
            Kind.FILE,
            file.path,
            size=file.size,
            mtime_ns=file.mtime_ns,
            mtime_precision_ns=file.mtime_precision_ns,
            etag=file.etag,
        )
    return {key: builder.build() for key, builder in builders.items()}


def _folder(builders: dict[bytes, FolderBuilder], key: bytes) -> FolderBuilder:
    """The builder of folder `key`, entered in all folders above it, the first time."""
    if key in builders:
        return builders[key]
    above, _, name = key[:-1].rpartition(b"/")
    parent = above + b"/" if b"/" in key[:-1] else b""
    _folder(builders, parent).add(name, Kind.FOLDER, key)
    builders[key] = FolderBuilder()
    return builders[key]
