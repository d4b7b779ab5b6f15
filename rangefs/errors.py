"""One tree of exceptions: what went wrong, as a user's program will see it.

Each class carries ``errno`` (what a system call on the mount answers) and
``exit_code`` (what a command exits with). The message is one line, says what
and what to do, and never holds a secret: it may be logged and printed.

Foreign exceptions (httpx, OSError from the cache disk, pyfuse3) are
translated once, at the boundary that meets them, with ``raise … from``.
"""

from __future__ import annotations

import copy
import errno
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rangefs.core.versions import Stat


class RangefsError(Exception):
    """The root: anything rangefs raises on purpose."""

    errno: int = errno.EIO
    exit_code: int = 1

    def again(self) -> Self:
        """The same for one more who waited; where this one was raised is forgotten.

        A raised exception holds the frames that it went through, and these what they had: a flight, its buffer. Kept
        beside one of them it would be a cycle, and grow each time it is raised.
        """
        self.__traceback__ = None
        return copy.copy(self)


class UsageError(RangefsError):
    """The caller's words are off: a bad option, a bad SOURCE, a bad size."""

    errno = errno.EINVAL
    exit_code = 2


class MountError(RangefsError):
    """The mount point or FUSE itself refused."""


class CacheLocked(RangefsError):
    """Another process owns this cache folder."""


# -- upstream's fault, or the world's ---------------------------------------


class NotFound(RangefsError):
    """Upstream says that there is no such object (404, 410)."""

    errno = errno.ENOENT


class NotADirectory(RangefsError):
    """A folder was asked for, a file is there."""

    errno = errno.ENOTDIR


class Stale(RangefsError):
    """The object is not, or no longer, the version that was pinned.

    stat  what is there now (a `core.versions.Stat`), where the answer told it
    """

    errno = errno.ESTALE

    def __init__(self, message: str, stat: Stat | None = None) -> None:
        super().__init__(message)
        self.stat = stat


class IsADirectory(Stale):
    """A folder is where a file was listed: the name has to be looked up again."""


class Denied(RangefsError):
    """401, 403, an unverified certificate, an archived object."""

    errno = errno.EACCES


class BadAnswer(RangefsError):
    """Upstream broke its protocol: a wrong Content-Range, a corrupt or short body, a page that is no listing."""


class NotAListing(BadAnswer):
    """The answer for a folder is not an index page that we can read."""


class TooLarge(RangefsError):
    """More than a bound of ours allows (``--max-full-fetch``, a listing's cap)."""


class Unreachable(RangefsError):
    """No usable answer after all tries: refused, reset, 5xx. Never means "deleted"."""


class DeadlineExceeded(RangefsError):
    """The time allowed for the operation is over."""

    errno = errno.ETIMEDOUT


class TooManyRedirects(RangefsError):
    """More than five hops, or a hop that must not be followed."""

    errno = errno.ELOOP


class NameTooLong(RangefsError):
    """A name over 255 bytes, or a key that upstream can't take."""

    errno = errno.ENAMETOOLONG


class InvalidName(RangefsError):
    """A name that no entry can have (NUL, a slash)."""

    errno = errno.EINVAL


class ReadOnly(RangefsError):
    """Every change to the mount."""

    errno = errno.EROFS


class Broken(RangefsError):
    """A bug of ours, met in the background: whoever waits is told, the mount goes on, the log has the traceback."""


class RangesIgnored(RangefsError):
    """The origin answered a range with the whole body; ask for it whole, once, and share it.

    Internal: raised by ``Source.fetch``, always caught by ``read``.
    """
