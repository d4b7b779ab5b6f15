"""Header captures of real servers, read as the transport would hand them over."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

RESPONSES = Path(__file__).parent.parent / "samples" / "responses"
SERVERS = sorted(folder.name for folder in RESPONSES.iterdir())


@dataclass(frozen=True, slots=True)
class Capture:
    status: int
    headers: dict[str, str]


def capture(server: str, name: str) -> Capture:
    """What `server` answered to the request called `name` (shared samples: head, range-206, …)."""
    first, *lines = (RESPONSES / server / f"{name}.headers").read_bytes().decode("latin-1").strip().splitlines()
    fields = (line.split(":", 1) for line in lines)
    return Capture(int(first.split()[1]), {field.lower(): value.strip() for field, value in fields})
