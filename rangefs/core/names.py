"""Names that POSIX can show: raw upstream names made safe, reversibly.

Upstream names are bytes and may be anything; a directory entry must be 1 to
255 bytes, without NUL and ``/``, and neither ``.`` nor ``..``. A raw name that
is already legal is shown as it is, untouched by Unicode normalisation or case,
even where it looks percent-encoded: ``a%2Fb`` is a fine name. Any other is
shown under an escaped name, which begins with ``%%``:

=================  ==============================================================
``%%QUOTED``       a raw name that is not legal, or that itself begins with ``%%``
``%%+QUOTED``      a file whose own name is taken by a folder (`beside_folder`)
``%%=HASH-TAIL``   the first form, where it would be over 255 bytes
``%%+=HASH-TAIL``  the second form, likewise
=================  ==============================================================

QUOTED is the raw name with ``%``, ``+``, ``=``, ``/`` and NUL as ``%XX``, and
the dots of ``.`` and ``..`` too. HASH is 40 hex digits of BLAKE2b over the raw
name, TAIL the end of QUOTED, so that the file's extension survives. The forms
can't be mistaken for each other (QUOTED never holds a bare ``+`` or ``=``), nor
for a legal raw name, because one that begins with ``%%`` is escaped.
A hashed name can't be undone by itself: the listing's map knows its key.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import blake2b
from urllib.parse import unquote_to_bytes

from rangefs.errors import InvalidName

MAX_NAME_BYTES = 255  #: NAME_MAX of Linux (limits.h)

_MARK = b"%%"
_BESIDE = b"%%+"
_UNSAFE = re.compile(rb"[%+=/\0]")
_HASH_BYTES = 20
_NO_NAMES = frozenset((b"", b".", b".."))


@dataclass(frozen=True, slots=True)
class Name:
    """One path component, legal for POSIX, and whether it had to be escaped to be that."""

    name: bytes
    escaped: bool


def component(raw: bytes) -> Name:
    """The name under which the raw name `raw` is shown. Different raw names never share one."""
    return Name(raw, False) if shown_as_is(raw) else Name(_escape(_MARK, raw), True)


def shown_as_is(raw: bytes) -> bool:
    """Needs the raw name `raw` no escape?"""
    return legal(raw) and not raw.startswith(_MARK)


def beside_folder(raw: bytes) -> Name:
    """The name of a *file* `raw` where a folder of that name wins. Different from every `component`."""
    return Name(_escape(_BESIDE, raw), True)


def unescape(name: bytes) -> bytes:
    """The raw name behind a shown one.

    Raises `InvalidName` for a hashed form, which only its folder's listing can resolve, and for a name that no
    raw name is shown under.
    """
    if not name.startswith(_MARK):
        raw, shown = name, component(name)
    elif name.startswith(_BESIDE):
        raw = unquote_to_bytes(name[len(_BESIDE) :])
        shown = beside_folder(raw)
    else:
        raw = unquote_to_bytes(name[len(_MARK) :])
        shown = component(raw)
    if shown.name != name:
        raise InvalidName("no upstream name can be read back from this name")
    return raw


def legal(raw: bytes) -> bool:
    """Can a directory entry be called `raw`?"""
    if raw in _NO_NAMES or len(raw) > MAX_NAME_BYTES:
        return False
    return b"/" not in raw and b"\0" not in raw


def _escape(mark: bytes, raw: bytes) -> bytes:
    quoted = _quote(raw)
    if len(mark) + len(quoted) <= MAX_NAME_BYTES:
        return mark + quoted
    head = mark + b"=" + blake2b(raw, digest_size=_HASH_BYTES).hexdigest().encode() + b"-"
    return head + _tail(quoted, MAX_NAME_BYTES - len(head))


def _quote(raw: bytes) -> bytes:
    if raw in (b".", b".."):
        return raw.replace(b".", b"%2E")
    return _UNSAFE.sub(lambda found: b"%%%02X" % ord(found[0]), raw)


def _tail(quoted: bytes, room: int) -> bytes:
    """The last `room` bytes at most, without the torn end of a ``%XX`` or of a UTF-8 character in front."""
    tail = quoted[-room:]
    for torn in (1, 2):
        if quoted[-room - torn : -room - torn + 1] == b"%":
            return tail[3 - torn :]
    return tail[next((i for i in range(min(3, room)) if tail[i] & 0xC0 != 0x80), 3) :]
