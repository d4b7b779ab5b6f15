"""What the window policy does to readers, without a network: a model of an origin, of memory and of readers.

The policy (`Window`), the index and the planner are the real ones, and `_advance` does with their advice what
`rangefs.read.reader` does. Modelled are

- the origin: so many connections, each with a latency before the first byte and a rate; readers who wait are served
  before what is fetched ahead, which never takes the last eighth of the connections (`rangefs.sources.gate`);
- memory: a buffer is reserved when it is asked for and let go when its last byte has landed (a disk that keeps up);
  what is fetched ahead may have three quarters of it (`rangefs.read.budget`);
- readers: a list of ranges each, so many of them under way at a time, and a time to digest each.

Time is a number that jumps from event to event: a gigabyte takes milliseconds to "read", and no run differs from the
one before.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count

from rangefs.core.intervals import IntervalMap
from rangefs.core.plan import requests
from rangefs.core.window import Advice, Window

MiB = 1 << 20
CHUNK = 0  # what the index says of stored bytes; anything else is a `Fetch`


@dataclass(frozen=True, slots=True)
class Origin:
    """A server and the way to it: seconds before the first byte, bytes a second of one connection, connections."""

    latency_s: float
    rate: float
    connections: int = 16

    def rate_of(self, piece: int, memory: int) -> float:
        """Bytes a second that it can give at most for pieces of this size, ahead of readers, within this memory."""
        under_way = min(self.connections - self.connections // 8, memory // piece)
        return under_way * piece / (self.latency_s + piece / self.rate)


@dataclass(frozen=True, slots=True)
class Span:
    """One read: ``[start, end)``."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Reader:
    """What one reader does.

    reads    in the order in which they are asked
    depth    how many of them are under way at a time (kernel read-ahead: 2 or more)
    think_s  from an answer to the next read: a slow reader
    file     readers of one file share its index and its window
    """

    reads: Sequence[Span]
    depth: int = 1
    think_s: float = 0.0
    file: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """A read that was answered: by which reader, what, when it was asked and when it was answered."""

    reader: int
    span: Span
    asked_s: float
    answered_s: float

    @property
    def waited_s(self) -> float:
        return self.answered_s - self.asked_s


@dataclass(slots=True, eq=False)
class Fetch:
    """One range request: `begun_s` is when a connection took it, `ahead` that no reader had asked for it."""

    start: int
    end: int
    urgent: bool
    file: int
    begun_s: float | None = None
    ahead: bool = False
    waiting: list[tuple[int, Callable[[], None]]] = field(default_factory=list)


@dataclass(slots=True)
class Outcome:
    """What a run has shown. Bytes, and seconds of the model's time.

    peak_bytes        the most that was reserved at once
    peak_ahead_bytes  the most of it that no reader had asked for when it was reserved
    """

    answers: list[Answer] = field(default_factory=list)
    requests: int = 0
    fetched_bytes: int = 0
    ahead_bytes: int = 0
    peak_bytes: int = 0
    peak_ahead_bytes: int = 0

    @property
    def asked_bytes(self) -> int:
        return sum(answer.span.end - answer.span.start for answer in self.answers)

    @property
    def seconds(self) -> float:
        return max(answer.answered_s for answer in self.answers)

    @property
    def waste(self) -> float:
        """Bytes fetched a byte asked."""
        return self.fetched_bytes / self.asked_bytes

    def rate(self, from_byte: int = 0) -> float:
        """Bytes a second over all reads that were asked once `from_byte` bytes had been answered."""
        done = 0
        for answer in self.answers:
            done += answer.span.end - answer.span.start
            if done >= from_byte:
                return (self.asked_bytes - done) / (self.seconds - answer.answered_s or float("inf"))
        return 0.0


class Simulation:
    """One run: readers of files of `size` bytes each, nothing cached at first."""

    def __init__(self, origin: Origin, size: int, memory: int) -> None:
        self.origin = origin
        self.size = size
        self.memory = memory
        self.room = memory - memory // 4  #: what may ever be ahead of readers
        self.now = 0.0
        self.outcome = Outcome()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._queue: list[Fetch] = []  # they have memory, and wait for a connection
        self._unreserved: deque[Fetch] = deque()  # a reader's, and wait for memory
        self._connections = 0
        self._used = self._ahead = 0
        self._indexes: dict[int, IntervalMap[int | Fetch]] = {}
        self._windows: dict[int, Window] = {}

    def run(self, readers: Sequence[Reader]) -> Outcome:
        """Until all reads are answered and all fetches have landed."""
        for number, reader in enumerate(readers):
            self._indexes.setdefault(reader.file, IntervalMap())
            self._windows.setdefault(reader.file, Window())
            _Course(self, number, reader).go()
        while self._events:
            self.now, _, happen = heapq.heappop(self._events)
            happen()
        assert self._used == 0, "some memory was never let go"
        return self.outcome

    def after(self, delay_s: float, happen: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + delay_s, next(self._order), happen))

    # -- what the reader does (rangefs.read.reader) --------------------------------

    def read(self, file: int, span: Span, done: Callable[[], None]) -> None:
        """Answer one read, now or later."""
        assert 0 <= span.start < span.end <= self.size, f"{span} reads past its end"
        found = self._indexes[file].find(span.start)
        if found is not None and found.end >= span.end and self._landed(found.value) >= span.end:
            self._advance(file, span, waits=False)
            done()
            return
        self._advance(file, span, waits=True)
        self._collect(file, span, span.start, done)

    def _collect(self, file: int, span: Span, here: int, done: Callable[[], None]) -> None:
        index = self._indexes[file]
        while here < span.end:
            found = index.find(here)
            if found is None:
                self._advance(file, Span(here, span.end), waits=True)
                continue
            until = min(found.end, span.end)
            if isinstance(found.value, Fetch) and self._landed(found.value) < until:
                self._wait(found.value, until, partial(self._collect, file, span, here, done))
                return
            here = until
        done()

    def _advance(self, file: int, span: Span, waits: bool) -> None:
        index = self._indexes[file]
        advice = self._windows[file].advise(span.start, span.end, self.size, waits, self.room)
        for missing in requests(index, advice.start, advice.end):
            self._launch(file, missing.start, missing.end, urgent=True)
        if advice.since < advice.ahead:
            self._windows[file].asked(self._fetch_ahead(file, advice))

    def _fetch_ahead(self, file: int, advice: Advice) -> int:
        index = self._indexes[file]
        here, until = advice.since, advice.ahead
        while here < until:
            found = index.find(here)
            if found is not None:
                here = found.end
                continue
            end = min(here + advice.piece, self.size)
            if end > until and end != self.size:
                break
            missing = requests(index, here, end)[0]
            if not self._launch(file, missing.start, missing.end, urgent=False):
                break
            here = missing.end
        return here

    # -- memory and connections (rangefs.read.budget, rangefs.sources.gate) --------------

    def _launch(self, file: int, start: int, end: int, urgent: bool) -> bool:
        fetch = Fetch(start, end, urgent, file, ahead=not urgent)
        if not urgent:
            if self._unreserved or self._used + end - start > self.room:
                return False
            self._reserve(fetch)
            self._ahead += end - start
            self.outcome.ahead_bytes += end - start
            self.outcome.peak_ahead_bytes = max(self.outcome.peak_ahead_bytes, self._ahead)
        else:
            self._unreserved.append(fetch)
        self._indexes[file].fill(start, end, fetch)
        self.outcome.requests += 1
        self.outcome.fetched_bytes += end - start
        self._serve()
        return True

    def _reserve(self, fetch: Fetch) -> None:
        self._used += fetch.end - fetch.start
        self.outcome.peak_bytes = max(self.outcome.peak_bytes, self._used)
        self._queue.append(fetch)

    def _serve(self) -> None:
        """Give memory and connections to whoever may have them."""
        while self._unreserved:
            fetch = self._unreserved[0]
            if self._used and self._used + fetch.end - fetch.start > self.memory:
                break
            self._reserve(self._unreserved.popleft())
        while (fetch_or_none := self._next()) is not None:
            self._connections += 1
            self._begin(fetch_or_none)

    def _next(self) -> Fetch | None:
        free = self.origin.connections - self._connections
        reserved = self.origin.connections // 8
        for urgent, needed in ((True, 1), (False, 1 + reserved)):
            if free >= needed:
                for fetch in self._queue:
                    if fetch.urgent is urgent:
                        self._queue.remove(fetch)
                        return fetch
        return None

    def _begin(self, fetch: Fetch) -> None:
        fetch.begun_s = self.now
        for until, wake in fetch.waiting:
            self.after(self._lands_in(fetch, until), wake)
        self.after(self._lands_in(fetch, fetch.end), lambda: self._end(fetch))

    def _end(self, fetch: Fetch) -> None:
        self._connections -= 1
        self._used -= fetch.end - fetch.start
        if fetch.ahead:
            self._ahead -= fetch.end - fetch.start
        self._indexes[fetch.file].replace(fetch.start, fetch.end, fetch, CHUNK)
        self._serve()

    # -- what has landed -------------------------------------------------------------------

    def _landed(self, value: int | Fetch | None) -> float:
        """One past the last byte of a fetch that is there; a microbyte more, for what rounding takes."""
        if not isinstance(value, Fetch):
            return float("inf")
        if value.begun_s is None:
            return value.start
        arrived = (self.now - value.begun_s - self.origin.latency_s) * self.origin.rate
        return value.start + max(0.0, arrived + 0.5)

    def _lands_in(self, fetch: Fetch, until: int) -> float:
        assert fetch.begun_s is not None
        at = fetch.begun_s + self.origin.latency_s + (until - fetch.start) / self.origin.rate
        return max(0.0, at - self.now)

    def _wait(self, fetch: Fetch, until: int, wake: Callable[[], None]) -> None:
        if fetch.begun_s is not None:
            self.after(self._lands_in(fetch, until), wake)
            return
        fetch.urgent = True
        fetch.waiting.append((until, wake))
        self._serve()


class _Course:
    """A reader on its way through its reads."""

    def __init__(self, simulation: Simulation, number: int, reader: Reader) -> None:
        self._simulation = simulation
        self._number = number
        self._reader = reader
        self._next = 0
        self._under_way = 0

    def go(self) -> None:
        while self._under_way < self._reader.depth and self._next < len(self._reader.reads):
            span = self._reader.reads[self._next]
            self._next += 1
            self._under_way += 1
            asked_s = self._simulation.now
            self._simulation.read(self._reader.file, span, partial(self._done, span, asked_s))

    def _done(self, span: Span, asked_s: float) -> None:
        now = self._simulation.now
        self._simulation.outcome.answers.append(Answer(self._number, span, asked_s, now))
        self._simulation.after(self._reader.think_s, self._again)

    def _again(self) -> None:
        self._under_way -= 1
        self.go()


def simulate(origin: Origin, size: int, memory: int, *readers: Reader) -> Outcome:
    """Run these readers, all from the same moment on."""
    return Simulation(origin, size, memory).run(readers)
