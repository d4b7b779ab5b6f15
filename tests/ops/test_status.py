"""The status object is the one that INTERFACE promises to scripts."""

from __future__ import annotations

import json
from typing import Any

from rangefs.core.figures import Figures
from rangefs.core.histogram import DurationHistogram
from rangefs.ops.status import Identity, State, status_of

# Copied from INTERFACE.md, "Figures"; the state there lists its three values.
INTERFACE = """
{"mountpoint": "", "source": "", "pid": 0, "uptime_s": 0.0, "state": "ok|degraded|offline", "reasons": [],
 "reads":    {"count": 0, "bytes": 0, "hit_bytes": 0, "joined_bytes": 0, "missed_bytes": 0, "errors": 0, "p50_ms": 0.0, "p99_ms": 0.0},
 "upstream": {"requests": 0, "bytes": 0, "retries": 0, "errors": 0, "in_flight": 0, "version_changes": 0},
 "cache":    {"bytes": 0, "limit_bytes": 0, "chunks": 0, "objects": 0, "evicted_bytes": 0, "written_bytes": 0,
              "corrupt_chunks": 0, "recovered_chunks": 0, "dropped_chunks": 0, "recovery_s": 0.0, "pinned_bytes": 0},
 "memory":   {"buffers_bytes": 0, "limit_bytes": 0}}
"""  # noqa: E501 - as it stands there


def shape(value: Any) -> Any:
    """Names and types, without values."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items()}
    return type(value)


def status(figures: Figures | None = None, latency: DurationHistogram | None = None, **more: Any) -> dict[str, Any]:
    identity = Identity("/mnt/x", "http://h/", 42, started_s=100.0)
    return status_of(identity, figures or Figures(), latency or DurationHistogram(), now_s=107.5, **more)


def test_names_and_types_are_those_of_the_interface() -> None:
    assert shape(status()) == shape(json.loads(INTERFACE))


def test_states_are_those_of_the_interface() -> None:
    assert {state.value for state in State} == set(json.loads(INTERFACE)["state"].split("|"))


def test_it_survives_json() -> None:
    shown = status(state=State.DEGRADED, reasons=("the cache disk is full",))
    assert json.loads(json.dumps(shown)) == shown


def test_figures_come_through() -> None:
    figures, latency = Figures(), DurationHistogram()
    figures.reads.hit_bytes, figures.upstream.retries, figures.cache.chunks, figures.memory.buffers_bytes = 1, 2, 3, 4
    for _ in range(99):
        latency.record(0.001)
    latency.record(1.0)
    shown = status(figures, latency, state=State.OFFLINE, reasons=["down"])
    assert (shown["mountpoint"], shown["source"], shown["pid"], shown["uptime_s"]) == ("/mnt/x", "http://h/", 42, 7.5)
    assert (shown["state"], shown["reasons"]) == ("offline", ["down"])
    assert shown["reads"]["hit_bytes"] == 1
    assert shown["upstream"]["retries"] == 2
    assert shown["cache"]["chunks"] == 3
    assert shown["memory"]["buffers_bytes"] == 4
    assert 1.0 <= shown["reads"]["p50_ms"] <= shown["reads"]["p99_ms"] <= 1.07
