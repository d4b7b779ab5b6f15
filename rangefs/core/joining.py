"""Which bytes of two origins may stand in one version. Pure.

Two servers that were never asked by one another agree on nothing but what the
content decides. So bytes of several origins are joined under one strong entity
tag, one size and one coding, or not at all (RFC 9110 15.3.7.3); dates and weak
tags may well be equal where bytes differ.

A version that a mirror alone can serve is marked as that mirror's own in its
validator, at level WEAK: it can't be taken for the primary's, nor outlive the
handles that are open, and whoever holds it knows whom to ask.
"""

from __future__ import annotations

import re
from dataclasses import replace

from rangefs.core.validators import is_weak, tag_of
from rangefs.core.versions import Level, Version

PRIMARY = 0  #: the number of the origin that SOURCE names; mirrors count from 1
# No server's tag has a quote inside (RFC 9110 8.8.3), so none reads like this one.
_OWNED = re.compile(r'W/"mirror (\d+): "(.*)""', re.DOTALL)


def common(version: Version) -> Version | None:
    """What other origins may have in common with `version`: its strong tag, size and coding; None where it has none.

    A version id or generation belongs to one bucket; the tag beside it does not.
    """
    tag = tag_of(version)
    if version.level < Level.STRONG or not tag or is_weak(tag) or version.size is None:
        return None
    return replace(version, level=Level.STRONG, validator=tag)


def joinable(one: Version, other: Version) -> bool:
    """May bytes that two origins sent under these versions be shown as one file's?"""
    shared = common(one)
    return shared == common(other) if shared is not None else one == other and owner(one) is not None


def claimed(version: Version, number: int) -> Version | None:
    """What mirror `number` shows, as a version of this mount; None for one that nothing ties together.

    A strong tag stands for itself. Anything weaker becomes the mirror's own, and ends with the open handles.
    """
    shared = common(version)
    if shared is not None:
        return shared
    if version.level is Level.NONE or not version.validator:
        return None
    return replace(version, level=Level.WEAK, validator=f'W/"mirror {number}: "{version.validator}""')


def owner(version: Version) -> int | None:
    """The number of the only origin that can serve `version`; None for a version of the primary's, or a shared one."""
    match = _OWNED.fullmatch(version.validator)
    return None if match is None else int(match[1])


def asked_of(pin: Version, number: int) -> Version | None:
    """The pin to send to origin `number` for bytes of `pin`; None where it can't have any that may be joined."""
    match = _OWNED.fullmatch(pin.validator)
    if match is not None:
        return replace(pin, validator=match[2]) if int(match[1]) == number else None
    return pin if number == PRIMARY else common(pin)
