"""What an origin has shown of itself, so that no question is asked twice whose answer it never gives."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

# An origin that answered so many different files whole, and never once by a range, has no ranges at all.
# One such answer proves nothing: a page made by a program, beside files that do have them.
SURE_AFTER = 2
_MOST_KEYS = 4096


@dataclass(slots=True)
class Habits:
    """Facts learned from answers; all start as the well-behaved server's.

    refuses_head        HEAD was answered with 405 or 501
    lies_about_matches  412 was answered to the validator that it shows itself: preconditions are of no use
    """

    refuses_head: bool = False
    lies_about_matches: bool = False
    _honours_ranges: bool = False
    _whole_only: OrderedDict[bytes, None] = field(default_factory=OrderedDict)

    def ignores_ranges(self, key: bytes) -> bool:
        """Would a range of `key` be answered with its whole body?"""
        return key in self._whole_only or (not self._honours_ranges and len(self._whole_only) >= SURE_AFTER)

    def answered_a_range(self, key: bytes) -> None:
        self._honours_ranges = True
        self._whole_only.pop(key, None)

    def answered_whole(self, key: bytes) -> None:
        self._whole_only[key] = None
        while len(self._whole_only) > _MOST_KEYS:
            self._whole_only.popitem(last=False)
