"""What ``rangefs status --json`` shows of one mount: INTERFACE's object, made of plain figures."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rangefs.core.figures import Figures
from rangefs.core.histogram import DurationHistogram


class State(enum.Enum):
    """How a mount is doing."""

    OK = "ok"
    DEGRADED = "degraded"  #: works, but not as well as it should; `reasons` say why
    OFFLINE = "offline"  #: upstream is not asked, or does not answer


@dataclass(frozen=True, slots=True)
class Identity:
    """What does not change while a mount lives.

    mountpoint  where it is
    source      what it shows, without secrets
    pid         who serves it
    started_s   when, on the clock that `status_of`'s `now_s` is read from
    """

    mountpoint: str
    source: str
    pid: int
    started_s: float


def status_of(
    identity: Identity,
    figures: Figures,
    read_latency: DurationHistogram,
    now_s: float,
    state: State = State.OK,
    reasons: Sequence[str] = (),
) -> dict[str, Any]:
    """The status object. `reasons` are sentences for people, empty while all is well."""
    shown = dataclasses.asdict(figures)
    shown["reads"]["p50_ms"] = _milliseconds(read_latency.quantile_s(0.50))
    shown["reads"]["p99_ms"] = _milliseconds(read_latency.quantile_s(0.99))
    return {
        "mountpoint": identity.mountpoint,
        "source": identity.source,
        "pid": identity.pid,
        "uptime_s": round(now_s - identity.started_s, 3),
        "state": state.value,
        "reasons": list(reasons),
        **{part: shown[part] for part in ("reads", "upstream", "cache", "memory")},
    }


def _milliseconds(duration_s: float) -> float:
    return round(duration_s * 1000, 4)
