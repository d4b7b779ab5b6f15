"""Which of many log lines that say the same are worth writing. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field

EVERY_S = 60.0
MOST = 1024  #: different things remembered; beyond, the one that was said longest ago is new again


@dataclass(slots=True)
class _Said:
    at: float
    unsaid: int = 0


@dataclass(slots=True)
class Repeats:
    """The first of its kind is said at once, and then one in `every_s` seconds, with how many were left out.

    A reader in a loop on a file that has changed would fill a disk with one line otherwise.
    """

    every_s: float = EVERY_S
    _said: OrderedDict[Hashable, _Said] = field(default_factory=OrderedDict)

    def unsaid(self, what: Hashable, now: float) -> int | None:
        """To be said at `now` (any monotonic seconds)? Then how many like it were left out before; else None."""
        last = self._said.get(what)
        if last is not None and now - last.at < self.every_s:
            last.unsaid += 1
            return None
        self._said[what] = _Said(now)
        self._said.move_to_end(what)
        if len(self._said) > MOST:
            self._said.popitem(last=False)
        return last.unsaid if last else 0
