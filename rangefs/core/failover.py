"""Several origins for one tree: who is well, who is asked first, who is probed when. Pure.

`now` is any monotonic clock, in seconds; origins are numbers, 0 is the
primary. What counts as an answer, or as none, is the caller's to say.

States of an origin:

======= ==================================== ===============================================
state   asked                                next
======= ==================================== ===============================================
up      in turn, by how soon it would        doubted: after `LATES` questions in a row that
        have answered                        it was late for; down: by any plain failure
doubted for its word still; for bytes that   up: by anything that comes from it, as to the
        others have too, after them          probe that it gets at once; down: by silence
down    when nobody else is left; by probes  up: by any answer
======= ==================================== ===============================================
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

from rangefs.core.settings import KiB, MiB
from rangefs.core.versions import Version

# More than one reader's bad luck with a flaky origin: the next ones begin elsewhere.
LATES = 3
# An origin may answer each question in time and break off each body.
BREAKS = 2
# Probes come soon at first, since most outages are restarts; then at most one in so many seconds.
FIRST_INTERVAL_S = 0.5
LAST_INTERVAL_S = 5.0
# An origin that is down again sooner than this after a probe was answered is probed less and less often.
STABLE_S = 30.0
# How fast estimates follow: RFC 6298 takes 1/8 for the round trip; bodies are fewer, and vary more.
LATENCY_SHARE = 1 / 8
RATE_SHARE = 1 / 4
# Smaller bodies say little of a rate: the pieces of a stream are at least this large, and come under like conditions.
RATED_BYTES = 512 * KiB
# Each time that another origin is chosen, a slow one's rate is moved so much towards the best: it may have been
# measured at a bad moment. Ten times slower, it gets a piece to prove itself in some fifty.
PASSED_OVER_SHARE = 1 / 16
# An origin of which nothing is known is taken for one object-store connection.
RATE_BYTES_S = 40.0 * MiB


@dataclass(slots=True)
class Health:
    """What is known of one origin.

    latency_s     to the head of an answer, smoothed; None before the first
    rate          bytes a second of one body, smoothed; None before the first
    queued_bytes  asked for and not yet here
    heard_at      when anything last came from it
    down          it left a question without an answer, or was never asked
    """

    latency_s: float | None = None
    rate: float | None = None
    queued_bytes: int = 0
    heard_at: float = float("-inf")
    next_probe_at: float = float("-inf")
    down: bool = True
    _lates: int = 0
    _breaks: int = 0
    _interval_s: float = FIRST_INTERVAL_S / 2
    _up_since: float = float("-inf")
    _probing: bool = False

    @property
    def doubted(self) -> bool:
        """Is it better not relied on? Whoever is down is doubted, too."""
        return self.down or self._lates >= LATES

    def answered(self, now: float, after_s: float | None = None) -> None:
        """An answer came; `after_s` seconds after it was asked for, where that says something of the origin."""
        if self.down:
            self._up_since, self._breaks = now, 0
        elif now - self._up_since >= STABLE_S:
            self._interval_s = FIRST_INTERVAL_S / 2
        self.down = self._probing = False
        self.heard(now)
        if after_s is not None:
            self.latency_s = _smoothed(self.latency_s, after_s, LATENCY_SHARE)

    def heard(self, now: float) -> None:
        """Something came from it."""
        self.heard_at, self._lates = now, 0

    def late(self) -> None:
        """It was asked, and nothing at all has come for longer than usual."""
        self._lates += 1

    def fell(self, now: float) -> None:
        """It left a question without an answer. While it is down already, only its probe changes anything."""
        if not self.down:
            self.down = True
            if now - self._up_since >= STABLE_S:
                self._interval_s = FIRST_INTERVAL_S / 2
            self._put_off(now)

    def broke_off(self, now: float) -> None:
        """A body ended early, or fell silent."""
        self._breaks += 1
        self._lates += 1
        if self._breaks >= BREAKS:
            self.fell(now)

    def may_probe(self, now: float) -> bool:
        """Is a probe due? Then the caller owes `answered`, `missed` or `gave_up`."""
        if not self.doubted or self._probing or (self.down and now < self.next_probe_at):
            return False
        self._probing = True
        return True

    def missed(self, now: float, at_least_s: float = 0.0) -> None:
        """A probe had no answer of any use; the next one is not due for `at_least_s`."""
        self._probing = False
        self.down = True
        self._put_off(now)
        self.next_probe_at = max(self.next_probe_at, now + at_least_s)

    def gave_up(self) -> None:
        """The probe was cancelled before it could tell."""
        self._probing = False

    def delivered(self, size_bytes: int, seconds: float) -> None:
        """A body of so many bytes came to its end, in so long, its head not counted."""
        self._breaks = 0
        if size_bytes >= RATED_BYTES and seconds > 0:
            self.rate = _smoothed(self.rate, size_bytes / seconds, RATE_SHARE)

    def _put_off(self, now: float) -> None:
        self._interval_s = min(LAST_INTERVAL_S, 2 * self._interval_s)
        self.next_probe_at = now + self._interval_s


def _smoothed(known: float | None, seen: float, share: float) -> float:
    return seen if known is None else known + share * (seen - known)


class Roster:
    """The origins of one tree."""

    def __init__(self, count: int) -> None:
        self.healths = [Health() for _ in range(count)]

    def order(self, candidates: Iterable[int], size_bytes: int) -> list[int]:
        """Whom to ask for `size_bytes`, first one first: by when it would all be here; the doubted and the down last.

        Ties go to the lower number, so to the primary. What is queued counts: ranges asked for one after another
        spread over origins as fast as each other, evenly; a small one goes to the one that answers soonest.
        """
        healths = self.healths
        latency_s = min((h.latency_s for h in healths if h.latency_s is not None), default=0.0)
        rate = max((h.rate for h in healths if h.rate is not None), default=RATE_BYTES_S)

        def expected_s(number: int) -> float:
            health = healths[number]
            wait_s = latency_s if health.latency_s is None else health.latency_s
            return wait_s + (health.queued_bytes + size_bytes) / (health.rate or rate)

        return sorted(
            candidates, key=lambda number: (healths[number].down, healths[number].doubted, expected_s(number), number)
        )

    def chosen(self, number: int, candidates: Iterable[int]) -> None:
        """Of these, `number` was: the others' rates are believed a little less."""
        healths = [self.healths[other] for other in candidates if other != number]
        best = max((health.rate for health in self.healths if health.rate is not None), default=0.0)
        for health in healths:
            if health.rate is not None:
                health.rate = _smoothed(health.rate, best, PASSED_OVER_SHARE)


class Has(Enum):
    """Does an origin have a version?"""

    YES = "yes"  #: it has sent bytes of it
    PERHAPS = "perhaps"
    NO = "no"  #: it has another one, or none


# A mirror may be catching up: what it did not have it is asked for again after this.
FORGET_S = 60.0
# A mirror that never has what the primary has (its tags are made of inode numbers, say) is not tried for each new file.
STRANGE_AFTER = 8
_MOST = 8192


@dataclass(slots=True)
class Agreements:
    """Which mirror has which version, as far as it was seen; the oldest knowledge goes first."""

    _seen: OrderedDict[tuple[int, Version], float] = field(default_factory=OrderedDict)  # lacks it until, or -inf
    _misses: dict[int, int] = field(default_factory=dict)
    _missed_at: dict[int, float] = field(default_factory=dict)

    def has(self, number: int, version: Version, now: float) -> Has:
        """What is known of origin `number` and `version`."""
        lacks_until = self._seen.get((number, version))
        if lacks_until == float("-inf"):
            return Has.YES
        return Has.NO if lacks_until is not None and now < lacks_until else Has.PERHAPS

    def strange(self, number: int, now: float) -> bool:
        """Has it lacked so many versions in a row that trying is for those in need alone?"""
        lately = now - self._missed_at.get(number, float("-inf")) < FORGET_S
        return lately and self._misses.get(number, 0) >= STRANGE_AFTER

    def agreed(self, number: int, version: Version) -> None:
        """It has sent bytes of it."""
        self._misses[number] = 0
        self._note(number, version, float("-inf"))

    def differed(self, number: int, version: Version, now: float) -> None:
        """It has another one, or none."""
        if self._seen.get((number, version), now) <= now:  # else this is known
            self._misses[number] = self._misses.get(number, 0) + 1
        self._missed_at[number] = now
        self._note(number, version, now + FORGET_S)

    def _note(self, number: int, version: Version, until: float) -> None:
        self._seen[number, version] = until
        self._seen.move_to_end((number, version))
        while len(self._seen) > _MOST:
            self._seen.popitem(last=False)
