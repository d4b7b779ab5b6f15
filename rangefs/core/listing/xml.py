"""XML from upstream, read with the standard library's expat: no DTDs, no entities, bounded depth.

Pure and small: documents become a flat run of events, so that a listing of any
length needs no tree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from xml.parsers import expat

from rangefs.errors import NotAListing

MAX_DEPTH = 32

OnStart = Callable[[str, Mapping[str, str]], None]
OnEnd = Callable[[str, str], None]


def read_xml(body: bytes, on_start: OnStart, on_end: OnEnd) -> None:
    """Feed `body` through the callbacks: the element's name and attributes; its name and own text at the end.

    Names carry their namespace in front, apart by a space (``DAV: href``). Raises `NotAListing` where the
    document is not well-formed, declares a DTD or entities (which could expand without bound, or fetch files), or
    nests deeper than `MAX_DEPTH`.
    """
    parser = expat.ParserCreate(namespace_separator=" ")
    texts: list[list[str]] = []

    def start(name: str, attributes: dict[str, str]) -> None:
        if len(texts) >= MAX_DEPTH:
            raise NotAListing("the XML answer is nested too deep to be a listing")
        texts.append([])
        on_start(name, attributes)

    def end(name: str) -> None:
        on_end(name, "".join(texts.pop()))

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
