"""Flights (one fetch, many waiters), the reader that runs the plan, and the download of what has no ranges.

States of a byte of a version, and who moves it on:

========= =============================== ==========================================================
state     in `Blob.index`                 moved on by
========= =============================== ==========================================================
missing   a gap                           `Flights.launch` (a reader's demand, or the window ahead)
in flight a `Flight`, ``landed`` before   the flight's own task, as validated bytes arrive
landed    a `Flight`, ``landed`` past it  `Store.add`, in the flight's task; or `Budget` pressure
stored    a chunk's id (int)              `Store.on_drop` (evicted, corrupt), `Store.on_replace`
========= =============================== ==========================================================

A stored chunk's bytes may be *held* in memory beside it (`Blob.held`), for readers who have not come to them yet: until
all were read, or the chunk is gone, or memory is needed (`Flights.unhold`). Where a byte is, only the index says.

Invariants

- The index changes only on the trio thread, and only in synchronous steps: a
  step that looks and then changes has no ``await`` in it. After each ``await``
  a reader looks again from scratch (`Reader.read` is a loop over positions).
- A byte is in the index as stored only after it was validated, written and
  renamed; as landed only after the answer's headers were judged.
- All bytes of a blob are of one version: the first answer pins it, and every
  later answer is judged against the pin by the source.
- A flight ends in one of two ways: all its range landed, or `failure` is set.
  Its waiters are woken by either; what landed before a failure is kept.
- Every flight's bytes are reserved from the `Budget` before they are asked for, and
  released when the index lets go of it and nothing holds it.
- What has landed in a buffer is never written again. A buffer is used for another
  flight only once the last view of it is gone (`Buffers`).

What an ``await`` may break: while a reader waits for a flight, the chunk it
found may be evicted, the version may be superseded, the flight may fail. It
holds no reference to any of them across the wait but the flight it waits for.
"""
