"""What to do about a SOURCE that can't be mounted: the errors below the command line say what happened, not more."""

from __future__ import annotations

from rangefs.errors import (
    BadAnswer,
    DeadlineExceeded,
    Denied,
    MountError,
    NotAListing,
    NotFound,
    RangefsError,
    TooManyRedirects,
    Unreachable,
)

ADVICE: tuple[tuple[type[RangefsError], str], ...] = (
    (Unreachable, "is the server up, and the address right?"),
    (DeadlineExceeded, "is the server up, and the address right?"),
    (NotAListing, "give a folder whose index the server shows, or one file"),
    (NotFound, "check the path; a folder ends in /"),
    (Denied, "see --profile, --anonymous, --netrc, --header-file, --bearer-token-file and --ca-file"),
    (TooManyRedirects, "give the address where it ends"),
    (BadAnswer, "'rangefs doctor SOURCE' says more"),
)


def advised(error: RangefsError) -> RangefsError:
    """`error` with what to do about it; as it is where its own words say that."""
    for kind, advice in ADVICE:
        if isinstance(error, kind):
            return MountError(f"{error}; {advice}")
    return error
