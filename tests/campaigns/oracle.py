"""What a reader may see of a scripted file: bytes of one version, or an error that fits, in time."""

from __future__ import annotations

import errno
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from tests.campaigns.drawing import Run
from tests.plans import LOGIN_PAGE, Answer, zipped
from tests.trees import first_difference

T = TypeVar("T")

READ_TIMEOUT_S = 2.0
OPEN_TIMEOUT_S = 5.0
SLACK_S = 4.0  # a busy machine
# A failed read-ahead is asked for again by the kernel, so a failure may cost its reader twice the wait (ARCHITECTURE).
READ_LIMIT_S = 2 * READ_TIMEOUT_S + SLACK_S
OPEN_LIMIT_S = 2 * OPEN_TIMEOUT_S + SLACK_S

PERMITTED = {errno.EIO, errno.ETIMEDOUT, errno.ESTALE, errno.EACCES, errno.ELOOP}
GONE = {"404", "410"}


@dataclass(slots=True)
class Oracle:
    """Judges one handle of a run: which versions can what it saw so far be of?"""

    run: Run
    texts: list[bytes] = field(init=False)
    candidates: list[bytes] = field(init=False)

    def __post_init__(self) -> None:
        plan = self.run.plan
        self.texts = list(plan.bodies)
        # Whole bodies that say of themselves that they are the file: no client can know better, once they come first.
        if "login page" in self.run.kinds:
            self.texts.append(LOGIN_PAGE)
        if "gzip" in self.run.kinds:
            self.texts.extend(zipped(Answer(200, body=body)).body for body in plan.bodies)
        self.candidates = list(self.texts)

    def saw(self, offset: int, count: int, seen: bytes, cut: bool = False) -> str | None:
        """None if a version has just these bytes there, else what is wrong.

        cut  an error came after `seen`, which may then be less than there is
        """
        count = len(seen) if cut else count
        fits = [text for text in self.candidates if text[offset : offset + count] == seen]
        if fits:
            self.candidates = fits
            return None
        if self.run.indistinct:
            # Nothing tells these versions apart but their size: at least each byte is of some version.
            parts = [text[offset : offset + count] for text in self.texts]
            if any(len(part) == len(seen) for part in parts) and all(
                any(index < len(part) and part[index] == byte for part in parts) for index, byte in enumerate(seen)
            ):
                return None
        wrong = first_difference(seen, self.candidates[0][offset : offset + count])
        return f"{count} bytes at {offset}: {wrong} (of {len(self.candidates)} versions possible)"


@dataclass(frozen=True, slots=True)
class Reading:
    """What a read gave: the bytes before its end or its error, and whether it was an error."""

    seen: bytes
    failed: bool


def timed(action: Callable[[], T], limit_s: float, what: str, allowed: set[int]) -> T | None:
    """What `action` gives, None where it failed as it may; raises AssertionError where it failed otherwise or late."""
    began = time.monotonic()
    try:
        return action()
    except OSError as error:
        if error.errno not in allowed:
            raise AssertionError(f"{what}: {error!r} is not among the errors that fit") from error
        return None
    finally:
        took = time.monotonic() - began
        assert took < limit_s, f"{what} took {took:.1f} s of {limit_s:.1f}"


def read_fully(handle: int, count: int, offset: int, what: str, allowed: set[int]) -> Reading:
    """pread until `count`, the end, or an error: at an error the kernel cuts a read short, and the next one fails."""
    seen = b""
    while len(seen) < count:
        piece = timed(partial(os.pread, handle, count - len(seen), offset + len(seen)), READ_LIMIT_S, what, allowed)
        if piece is None:
            return Reading(seen, failed=True)
        if not piece:
            break
        seen += piece
    return Reading(seen, failed=False)


def size_of(handle: int) -> int:
    return os.fstat(handle).st_size


def play(run: Run, path: Path) -> int:
    """Open, stat and read the file of `run` as several readers would; the number of reads that gave bytes.

    Raises AssertionError where an answer is neither right nor an error that fits, in time.
    """
    draw = random.Random(run.seed ^ 0x5EED)
    allowed = set() if run.must_succeed else set(PERMITTED)
    if run.kinds & GONE:
        allowed.add(errno.ENOENT)
    good = 0
    for handle_number in range(3):
        oracle = Oracle(run)
        handle = timed(partial(os.open, path, os.O_RDONLY), OPEN_LIMIT_S, f"open {handle_number}", allowed)
        if handle is None:
            continue
        try:
            size = timed(partial(size_of, handle), OPEN_LIMIT_S, "fstat", allowed)
            largest = max(len(text) for text in oracle.texts)
            for number in range(6):
                offset = 0 if number == 0 else draw.randrange(largest + 1)
                count = draw.choice((1, 4096, 100_000, 400_000, largest + 10))
                what = f"read {number} of handle {handle_number}, size {size}"
                reading = read_fully(handle, count, offset, what, allowed)
                good += not reading.failed
                wrong = oracle.saw(offset, count, reading.seen, cut=reading.failed)
                assert wrong is None, f"{what}: {wrong}"
        finally:
            os.close(handle)
    return good


def healed(run: Run, path: Path, limit_s: float) -> None:
    """Once its server is honest again, the file is read whole and right by a new open."""
    oracle = Oracle(run)
    if run.plan.validator != "lying":
        oracle.texts = oracle.candidates = [run.plan.bodies[run.plan.current()]]
    give_up = time.monotonic() + limit_s
    last = "never read"
    while time.monotonic() < give_up:
        try:
            wrong = oracle.saw(0, 1 << 40, path.read_bytes())
        except OSError as error:
            wrong = repr(error)
        if wrong is None:
            return
        last = wrong
        time.sleep(0.05)
    raise AssertionError(f"not healed after {limit_s} s: {last}")
