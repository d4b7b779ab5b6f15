"""XML from upstream, read with the standard library's expat: no DTDs, no entities, bounded depth.

Pure and small: a document becomes a run of ended elements, so that a listing
of any length needs no tree.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from xml.parsers import expat

from rangefs.errors import NotAListing

MAX_DEPTH = 32

OnElement = Callable[[list[str], Mapping[str, str], str], None]
"""Called as an element ends: the local names from the root down to it, its attributes, its own text."""

_CONTROLS = bytes(sorted(set(range(0x20)) - set(b"\t\n\r")))
_CONTROL_REFERENCE = re.compile(rb"&#(?:0*(?:[0-8]|1[124-9]|2[0-9]|3[01])|[xX]0*(?:[0-8bcefBCEF]|1[0-9a-fA-F]));")


def read_xml(body: bytes, roots: Collection[str], on_element: OnElement) -> None:
    """Feed `body` through `on_element`. Names come without their namespaces.

    Raises `NotAListing` where the document is not well-formed, its root is not one of `roots`, it declares a DTD or
    entities (which could expand without bound, or fetch files), or it nests deeper than `MAX_DEPTH`.
    """
    parser = expat.ParserCreate(namespace_separator=" ")
    path: list[str] = []
    attributes: list[Mapping[str, str]] = []
    texts: list[list[str]] = []

    def start(name: str, given: dict[str, str]) -> None:
        local = name.rpartition(" ")[2]
        if not path and local not in roots:
            raise NotAListing(f"the answer is XML, but no listing: its root is {local[:60]!a}")
        if len(path) >= MAX_DEPTH:
            raise NotAListing("the XML answer is nested too deep to be a listing")
        path.append(local)
        attributes.append(given)
        texts.append([])

    def end(_: str) -> None:
        on_element(path, attributes.pop(), "".join(texts.pop()))
        path.pop()

    def data(text: str) -> None:
        texts[-1].append(text)

    def refuse(*_: object) -> None:
        raise NotAListing("the XML answer declares a DTD, which is not read")

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = data
    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    parser.buffer_text = True
    try:
        parser.Parse(body, True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise NotAListing(f"the answer is not well-formed XML: {type(error).__name__}") from error


def without_controls(body: bytes) -> bytes:
    """`body` with what XML 1.0 forbids taken out: control characters, bare or as references, and bytes that are no
    UTF-8 (each becomes U+FFFD, so that a name that had them can be told from a whole one)."""
    body = _CONTROL_REFERENCE.sub(b"", body.translate(None, _CONTROLS))
    return body.decode("utf-8", "replace").encode()
