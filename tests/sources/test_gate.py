"""The queue before an origin: urgent first, some slots kept for them, nothing lost to cancellation."""

from __future__ import annotations

from functools import partial

import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from rangefs.core.retry import Concurrency
from rangefs.sources.base import Ticket
from rangefs.sources.gate import STUCK_S, Gate


class Visitors:
    """Tasks that hold a slot until they are told to leave; who got in, in order."""

    def __init__(self, gate: Gate, nursery: trio.Nursery) -> None:
        self.gate = gate
        self.entered: list[str] = []
        self._nursery = nursery
        self._leave: dict[str, trio.Event] = {}
        self._scopes: dict[str, trio.CancelScope] = {}

    async def come(self, name: str, ticket: Ticket) -> None:
        self._leave[name] = trio.Event()
        self._scopes[name] = trio.CancelScope()
        self._nursery.start_soon(partial(self._visit, name, ticket))
        await wait_all_tasks_blocked()

    async def go(self, name: str) -> None:
        self._leave[name].set()
        await wait_all_tasks_blocked()

    async def cancel(self, name: str) -> None:
        self._scopes[name].cancel()
        await wait_all_tasks_blocked()

    async def _visit(self, name: str, ticket: Ticket) -> None:
        with self._scopes[name]:
            async with self.gate.slot(ticket):
                self.entered.append(name)
                await self._leave[name].wait()


async def test_urgent_tickets_pass_those_that_wait_already(nursery: trio.Nursery) -> None:
    visitors = Visitors(Gate(Concurrency(1)), nursery)
    await visitors.come("first", Ticket())
    await visitors.come("ahead", Ticket(urgent=False))
    await visitors.come("reader", Ticket())
    await visitors.go("first")
    assert visitors.entered == ["first", "reader"]
    await visitors.go("reader")
    assert visitors.entered == ["first", "reader", "ahead"]
    await visitors.go("ahead")


async def test_tickets_are_served_in_the_order_they_were_made_in_however_their_tasks_come(
    nursery: trio.Nursery,
) -> None:
    visitors = Visitors(Gate(Concurrency(1)), nursery)
    await visitors.come("first", Ticket())
    near, far = Ticket(urgent=False), Ticket(urgent=False)
    await visitors.come("far", far)
    await visitors.come("near", near)
    await visitors.come("near, of a mirror", Ticket(urgent=False, number=near.number))
    far_reader, late_reader = Ticket(), Ticket()
    await visitors.come("late reader", late_reader)
    await visitors.come("far reader", far_reader)
    order = ["far reader", "late reader", "near", "near, of a mirror", "far"]
    for leaver in ["first", *order]:
        await visitors.go(leaver)
    assert visitors.entered == ["first", *order]


async def test_where_throttling_left_one_slot_a_transfer_that_hangs_does_not_keep_readers_out(
    autojump_clock: object,
) -> None:
    concurrency = Concurrency(3)
    gate = Gate(concurrency)
    for second in range(3):
        concurrency.throttled(2.0 * second)
    entered: list[float] = []

    async def visit(ticket: Ticket, stay_s: float) -> None:
        async with gate.slot(ticket):
            entered.append(trio.current_time() - began)
            await trio.sleep(stay_s)

    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(visit, Ticket(), 100.0)
            await wait_all_tasks_blocked()
        nursery.start_soon(visit, Ticket(urgent=False), 0.0)
    assert concurrency.limit == 1
    # One more each time that nothing has moved, never more than the ceiling; who only reads ahead is not helped.
    assert [round(at / STUCK_S) for at in entered[:3]] == [0, 1, 2]
    assert min(entered[3:]) >= 100.0


async def test_a_ticket_that_becomes_urgent_passes_the_others(nursery: trio.Nursery) -> None:
    visitors = Visitors(Gate(Concurrency(1)), nursery)
    late = Ticket(urgent=False)
    await visitors.come("first", Ticket())
    await visitors.come("ahead", Ticket(urgent=False))
    await visitors.come("late", late)
    late.urgent = True
    await visitors.go("first")
    assert visitors.entered == ["first", "late"]
    await visitors.go("late")
    await visitors.go("ahead")


async def test_slots_kept_for_readers_are_taken_when_a_ticket_becomes_urgent(nursery: trio.Nursery) -> None:
    visitors = Visitors(Gate(Concurrency(8)), nursery)
    for number in range(7):
        await visitors.come(f"ahead{number}", Ticket(urgent=False))
    late = Ticket(urgent=False)
    await visitors.come("late", late)
    assert len(visitors.entered) == 7
    late.urgent = True
    await wait_all_tasks_blocked()
    assert visitors.entered[-1] == "late"
    nursery.cancel_scope.cancel()


async def test_one_ticket_may_wait_more_than_once(nursery: trio.Nursery) -> None:
    visitors, shared = Visitors(Gate(Concurrency(1)), nursery), Ticket()
    for name in "abc":
        await visitors.come(name, shared)
    for name in "abc":
        await visitors.go(name)
    assert visitors.entered == ["a", "b", "c"]
    assert repr(visitors.gate) == "<Gate 0 of 1 taken, 0 waiting>"


async def test_cancelled_while_waiting_takes_nothing(nursery: trio.Nursery) -> None:
    visitors = Visitors(Gate(Concurrency(1)), nursery)
    await visitors.come("first", Ticket())
    await visitors.come("gone", Ticket())
    await visitors.come("second", Ticket())
    await visitors.cancel("gone")
    await visitors.go("first")
    assert visitors.entered == ["first", "second"]
    await visitors.go("second")


async def test_a_halved_origin_lets_in_half(nursery: trio.Nursery) -> None:
    gate = Gate(Concurrency(4))
    gate.concurrency.throttled(0.0)
    visitors = Visitors(gate, nursery)
    for name in "abc":
        await visitors.come(name, Ticket())
    assert visitors.entered == ["a", "b"]
    nursery.cancel_scope.cancel()


STEPS = ["come", "go", "cancel", "hurry", "throttle"]


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 9),
    st.lists(
        st.tuples(st.sampled_from(["come", "go", "cancel", "hurry", "throttle"]), st.booleans(), st.integers(0, 9))
    ),
)
def test_never_more_than_the_limit_and_nobody_forgotten(ceiling: int, steps: list[tuple[str, bool, int]]) -> None:
    async def play() -> None:
        gate = Gate(Concurrency(ceiling))
        inside = 0
        tickets: list[Ticket] = []
        leave: list[trio.Event] = []
        scopes: list[trio.CancelScope] = []

        async def visit(ticket: Ticket, gone: trio.Event, scope: trio.CancelScope) -> None:
            nonlocal inside
            with scope:
                async with gate.slot(ticket):
                    inside += 1
                    try:
                        assert inside <= ceiling
                        await gone.wait()
                    finally:
                        inside -= 1

        async with trio.open_nursery() as nursery:
            for step, urgent, which in steps:
                if step == "come":
                    tickets.append(Ticket(urgent))
                    leave.append(trio.Event())
                    scopes.append(trio.CancelScope())
                    nursery.start_soon(visit, tickets[-1], leave[-1], scopes[-1])
                elif step == "throttle":
                    gate.concurrency.throttled(trio.current_time())
                elif which < len(tickets):
                    if step == "hurry":
                        tickets[which].urgent = True
                    elif step == "go":
                        leave[which].set()
                    else:
                        scopes[which].cancel()
                if urgent:
                    await wait_all_tasks_blocked()
            for gone in leave:
                gone.set()
            with trio.fail_after(5):
                await wait_all_tasks_blocked()
        assert inside == 0
        assert "0 of" in repr(gate)
        assert "0 waiting" in repr(gate)

    trio.run(play)
