"""What ``rangefs doctor`` finds: one sentence each, and how bad it is."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Mark(enum.Enum):
    """How a finding bears on a mount."""

    GOOD = "ok"
    NOTE = "note"  #: works, but something is slower, coarser or missing
    BAD = "BAD"  #: a mount won't work, or not rightly


@dataclass(frozen=True, slots=True)
class Finding:
    mark: Mark
    text: str

    def __str__(self) -> str:
        return f"  {self.mark.value:<4}  {self.text}"


def good(text: str) -> Finding:
    return Finding(Mark.GOOD, text)


def note(text: str) -> Finding:
    return Finding(Mark.NOTE, text)


def bad(text: str) -> Finding:
    return Finding(Mark.BAD, text)
