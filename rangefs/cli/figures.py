"""Figures as people read them."""

from __future__ import annotations

from rangefs.core.settings import GiB, KiB, MiB


def size(size_bytes: int) -> str:
    """Three digits and a binary unit."""
    for unit, name in ((GiB, "GiB"), (MiB, "MiB"), (KiB, "KiB")):
        if size_bytes >= unit:
            return f"{size_bytes / unit:.3g} {name}" if size_bytes < 1000 * unit else f"{size_bytes / unit:,.0f} {name}"
    return f"{size_bytes} B"


def share(part: int, whole: int) -> str:
    """Whole percents."""
    return f"{100 * part / whole:.0f} %" if whole else "0 %"


def latency(duration_ms: float) -> str:
    """Milliseconds, or seconds from one second on."""
    return f"{duration_ms:.3g} ms" if duration_ms < 1000 else f"{duration_ms / 1000:.3g} s"


def age(duration_s: float) -> str:
    """The two largest units."""
    seconds = int(duration_s)
    for unit_s, name, smaller_s, smaller in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= unit_s:
            return f"{seconds // unit_s} {name} {seconds % unit_s // smaller_s} {smaller}"
    return f"{seconds} s"
