"""A SOURCE that can't be mounted: what happened, and what to do, in one line."""

from __future__ import annotations

import pytest

from rangefs import errors
from rangefs.cli.advice import ADVICE, advised


@pytest.mark.parametrize("kind", [kind for kind, _ in ADVICE], ids=lambda kind: kind.__name__)
def test_what_upstream_did_is_followed_by_what_to_do(kind: type[errors.RangefsError]) -> None:
    told = advised(kind("http://h/: happened"))
    assert str(told).startswith("http://h/: happened; ")
    assert "\n" not in str(told)
    assert told.exit_code == 1


def test_a_more_special_error_gets_its_own_advice() -> None:
    assert "index" in str(advised(errors.NotAListing("x")))


@pytest.mark.parametrize("error", [errors.UsageError("bad"), errors.CacheLocked("held"), errors.MountError("no")])
def test_what_says_what_to_do_by_itself_stays_as_it_is(error: errors.RangefsError) -> None:
    assert advised(error) is error
