"""Runs of the lying origin: a table of all faults, each in turn, and everything else drawn from a seed."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from tests.breaks import AT_CONNECT, BREAKS
from tests.origin import TLS_FAULTS
from tests.plans import ALWAYS, LIES, Fault, Plan
from tests.wires import ODD_WIRES

OFTEN = 3  # "n times": more than once, and fewer than there are tries
# Every kind of fault, phase by phase, × once, n times and always: seed n plays cell n of this, again and again.
CONNECTION_FAULTS = (*AT_CONNECT, *TLS_FAULTS)
TABLE = tuple(
    (kind, times) for times in (1, OFTEN, ALWAYS) for kind in (*CONNECTION_FAULTS, *BREAKS, *ODD_WIRES, *LIES)
)
FOLDER_FAULTS = ("500", "reset body", "stall body", "login page", "close headers", "403")

# A single one of these, or two, must not reach a reader: there are tries and time left.
FORGIVEN = {
    *("reset headers", "close headers", "goodbye headers", "garbage headers"),
    *("reset within headers", "close within headers", "goodbye within headers", "garbage within headers"),
    *("reset body", "close body", "goodbye body", "reset chunk", "close chunk", "goodbye chunk"),
    *("refused connect", "reset connect", "close connect", "garbage connect"),
    *("reset tls", "close tls", "garbage tls", "alert tls"),
    *("408", "429", "500", "502", "503", "shorter range", "hints", "uninvited 408", "http 9", "two lengths"),
}


@dataclass(slots=True)
class Run:
    """One drawn run: a plan, and what is to be met at the connection.

    tls  does the origin speak it?
    """

    seed: int
    plan: Plan
    connection_faults: tuple[Fault, ...] = ()
    folder_faults: tuple[str, ...] = ()
    tls: bool = False

    @property
    def kinds(self) -> set[str]:
        return {fault.kind for fault in (*self.plan.faults, *self.connection_faults)} | {*self.folder_faults}

    @property
    def must_succeed(self) -> bool:
        """Nothing here that tries and time can't get over."""
        plan = self.plan
        faults = sum(fault.times for fault in (*plan.faults, *self.connection_faults)) + len(self.folder_faults)
        return (
            self.kinds <= FORGIVEN
            and faults <= 2
            and len(plan.bodies) == 1
            and (plan.redirect is None or plan.redirect > 8)
            and plan.validator in {"strong", "date"}
            and plan.framing == "length"
        )

    @property
    def indistinct(self) -> bool:
        """Does the server describe two versions in the same words (their size aside)?"""
        without = self.plan.validator in {"lying", "none"} or bool(self.kinds & {"another etag", "no validators"})
        return without and len(self.plan.bodies) > 1

    def __str__(self) -> str:
        plan = replace(self.plan, bodies=[], by_fault={}, uses={})
        sizes = [len(body) for body in self.plan.bodies]
        met = f"connections {self.connection_faults}, folder {self.folder_faults}, tls {self.tls}"
        return f"seed {self.seed}: sizes {sizes}, {plan}, {met}"


def draw_run(seed: int) -> Run:
    """The run of a seed: the table's cell, on a server of drawn nature, often with more faults and changes."""
    draw = random.Random(seed)
    kind, times = TABLE[seed % len(TABLE)]
    tls = kind in TLS_FAULTS or draw.random() < 0.25
    if kind in FORGIVEN and times == 1 and draw.random() < 0.7:
        return mild(seed, draw, kind, tls)
    plan = draw_plan(draw)
    while not can_be_told(kind, plan, tls):
        plan = draw_plan(draw)
        tls = kind in TLS_FAULTS or draw.random() < 0.5
    kinds = [kind for kind in (*BREAKS, *ODD_WIRES, *LIES) if can_be_told(kind, plan, tls)]
    more = [draw_fault(draw, draw.choice(kinds)) for _ in range(draw.choice((0, 0, 0, 1)))]
    at_connect = [draw_fault(draw, draw.choice(AT_CONNECT)) for _ in range(draw.choice((0, 0, 0, 0, 0, 0, 1)))]
    cell = draw_fault(draw, kind, times)
    (at_connect if kind in CONNECTION_FAULTS else more).insert(0, cell)
    plan.faults = tuple(more)
    folder = (draw.choice(FOLDER_FAULTS),) if draw.random() < 0.1 else ()
    return Run(seed, plan, tuple(at_connect), folder, tls)


def draw_plan(draw: random.Random) -> Plan:
    """A server by nature half honest, with up to two changes of the file."""
    size = draw.choice((0, 1, 5000, 70_000, 300_001, 2_000_003))
    sizes = [size, *(draw.choice((size, size, size + 1, size // 2)) for _ in range(draw.choice((0, 0, 1, 2))))]
    return Plan(
        bodies=[draw.randbytes(one) for one in sizes],
        changes_at=sorted(draw.randint(1, 8) for _ in sizes[1:]),
        validator=draw.choice(("strong", "strong", "strong", "date", "weak", "none", "drifting", "lying")),
        ranges=draw.choice(("yes", "yes", "yes", "yes", "ignored", "as-200")),
        framing=draw.choice(("length", "length", "length", "chunked", "close")),
        head=draw.choice((200, 200, 200, 403, 405, 501)),
        listed=draw.random() < 0.6,
        redirect=draw.choice((None, None, None, None, 0, 1, 2, ALWAYS)),
    )


def draw_fault(draw: random.Random, kind: str, times: int | None = None) -> Fault:
    methods = draw.choice((("GET", "HEAD"), ("GET", "HEAD"), ("GET",), ("HEAD",)))
    first = draw.choice((0, 0, 0, 1) if kind in CONNECTION_FAULTS else (0, 0, 1, 2, 4))
    return Fault(kind, first, draw.choice((1, 1, 2, ALWAYS)) if times is None else times, methods)


def can_be_told(kind: str, plan: Plan, tls: bool) -> bool:
    """Can any client see this fault on a server of this nature? What is whole and consistent in itself passes for true.

    A body that only the close ends may end anywhere, but for TLS, whose goodbye is its end; a 200 without a
    Content-Range is all there is; a body's bytes may be any, but for the records of TLS and the frames of chunks.
    """
    if plan.framing == "close" and (kind.startswith("goodbye ") or (kind.startswith("close ") and not tls)):
        return False
    if kind == "garbage body":
        return tls
    if kind == "garbage chunk":
        return plan.framing == "chunked"
    return plan.ranges != "as-200" or kind not in {"no Content-Range", "multipart"}


def mild(seed: int, draw: random.Random, kind: str, tls: bool) -> Run:
    """A run with one or two troubles that no reader should notice."""
    fault = Fault(kind, draw.choice((0, 0, 1, 3)), draw.choice((1, 2)))
    sizes = (0, 1, 5000, 70_000, 300_001, 2_000_003)
    plan = Plan(
        [draw.randbytes(draw.choice(sizes))],
        validator=draw.choice(("strong", "date")),
        listed=draw.random() < 0.6,
        head=draw.choice((200, 200, 403, 405, 501)),
    )
    if kind in CONNECTION_FAULTS:
        return Run(seed, plan, (replace(fault, first=0),), (), tls)
    plan.faults = (fault,)
    return Run(seed, plan, (), (), tls)
