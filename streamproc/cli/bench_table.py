"""What the tables and pictures of `streamproc bench` have alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

LATENCY_HEAD = ("p50", "p90", "p99", "p99.9", "max")


def latency(row: Mapping[str, Any]) -> list[str]:
    """Cells for LATENCY_HEAD, in µs."""
    return [_micro(row[f"{key}_us"]) if row["n"] else "-" for key in LATENCY_HEAD]


def _micro(us: float) -> str:
    return f"{us:,.1f}" if us < 100 else f"{us:,.0f}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The first column to the left, figures to the right, a rule below the head."""
    lines = [list(head), *map(list, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    drawn = [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    return "\n".join([drawn[0], "-" * max(map(len, drawn)), *drawn[1:]])


def picture(
    path: Path,
    title: str,
    curves: Mapping[str, Sequence[float]],
    bars: Mapping[str, float] | None = None,
) -> None:
    """Draw it, and say where it is; without matplotlib, say what to install."""
    import sys

    from streamproc.errors import PlacementError
    from streamproc.measure.picture import draw

    try:
        draw(path, title, curves, bars)
    except PlacementError as error:
        print(error, file=sys.stderr)
        return
    print(f"picture: {path}", file=sys.stderr)
