"""Why the cache is not what it should be, in plain words, and when to try again."""

from __future__ import annotations

import errno
from dataclasses import dataclass

import trio

TOLD_S = 60.0  #: how long a trouble that is over is still told
RETRY_S = 2.0  #: how long a failing disk is left alone before one call tries again

_WORDS = {
    errno.ENOSPC: "the cache disk is full",
    errno.EDQUOT: "the cache disk's quota is used up",
    errno.EROFS: "the cache disk is read-only",
    errno.EIO: "the cache disk has I/O errors",
    errno.EMFILE: "this process has too many open files",
    errno.ENFILE: "this machine has too many open files",
    errno.EACCES: "the cache folder may not be written to",
    errno.EPERM: "the cache folder may not be written to",
    errno.ENOENT: "the cache folder was removed",
}


def in_words(error: OSError) -> str:
    """A disk's error as an operator would say it."""
    return _WORDS.get(error.errno or 0, f"the cache disk fails ({error.strerror or error})")


@dataclass(slots=True)
class _Trouble:
    text: str
    retry_at: float
    until: float = float("inf")


class Health:
    """Troubles by the activity that met them; times are of the event loop's clock."""

    def __init__(self) -> None:
        self._troubles: dict[str, _Trouble] = {}

    @property
    def reasons(self) -> tuple[str, ...]:
        """Each text once; empty when all is well."""
        now = trio.current_time()
        self._troubles = {name: trouble for name, trouble in self._troubles.items() if now < trouble.until}
        return tuple(dict.fromkeys(trouble.text for trouble in self._troubles.values()))

    def fail(self, activity: str, text: str, now: float) -> None:
        self._troubles[activity] = _Trouble(text, now + RETRY_S)

    def note(self, activity: str, text: str, now: float, for_s: float = TOLD_S) -> None:
        """Something went wrong and is over, as far as one can tell: worth telling for a while."""
        self._troubles[activity] = _Trouble(text, now, now + for_s)

    def clear(self, activity: str) -> None:
        self._troubles.pop(activity, None)

    def is_failing(self, activity: str) -> bool:
        return activity in self._troubles

    def may_try(self, activity: str, now: float) -> bool:
        """Is the activity well, or is it time for one try? A try sets the next one's time."""
        trouble = self._troubles.get(activity)
        if trouble is None:
            return True
        if now < trouble.retry_at:
            return False
        trouble.retry_at = now + RETRY_S
        return True
