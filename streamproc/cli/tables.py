"""The summary of a run, as tables a person reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from streamproc.cli import comparison

_LATENCY = ("p50", "p99", "p99.9", "max")
_TROUBLE = (
    "skipped",
    "quarantined",
    "fallen",
    "late",
    "unpaired",
    "late_ticks",
    "overrun",
)


def summary_tables(summary: dict[str, Any]) -> str:
    """Nodes, edges between processes, and scores. Times in µs."""
    parts = [
        f"{summary['graph']}: {summary['seconds']:.1f} s",
        _table(
            ["node", "frames", *_LATENCY, "µs in process()", "note"],
            [
                _node_row(n, node, summary["restarts"].get(node["worker"], 0))
                for n, node in summary["nodes"].items()
            ],
        ),
    ]
    if summary["edges"]:
        rows = [_edge_row(n, edge) for n, edge in summary["edges"].items()]
        head = ["edge", "sent", "delivered", "dropped", *_LATENCY, "µs in transit"]
        parts.append(_table([*head, "note"], rows))
    compared = summary.get("comparison", {})
    rows = [
        [name, _figures(report)]
        for name, report in summary["scores"].items()
        if name not in compared
    ]
    if rows:
        parts.append(_table(["report", ""], rows))
    if compared:
        parts.append(_table(comparison.HEAD, comparison.rows(compared)))
    return "\n\n".join(parts)


def _node_row(name: str, node: dict[str, Any], restarts: int) -> list[str]:
    trouble = [f"{node[key]:,} {key}" for key in _TROUBLE if node.get(key)]
    trouble += [f"{restarts:,} restarts"] if restarts else []
    latency = _latency(node["process"])
    return [name, f"{node['frames']:,}", *latency, "", ", ".join(trouble)]


def _edge_row(name: str, edge: dict[str, Any]) -> list[str]:
    trouble = [
        f"{edge[key]:,} {key}"
        for key in ("in_flight", "lost", "refused")
        if edge.get(key)
    ]
    if edge["dropped"]:
        trouble.append(f"dropped by {edge['on_full']}")
    counts = [f"{edge[key]:,}" for key in ("sent", "delivered", "dropped")]
    return [name, *counts, *_latency(edge["transit"]), "", ", ".join(trouble)]


def _latency(figures: dict[str, float]) -> list[str]:
    if not figures["n"]:
        return ["-"] * len(_LATENCY)
    return [_micro(figures[f"{key}_us"]) for key in _LATENCY]


def _micro(us: float) -> str:
    return f"{us:,.1f}" if us < 100 else f"{us:,.0f}"


def _figures(report: dict[str, float]) -> str:
    return "  ".join(f"{key} {_figure(value)}" for key, value in report.items())


def _figure(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.4g}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Left-aligned names, right-aligned figures; a column nobody fills is left out."""
    keep = [
        i
        for i in range(len(head))
        if head[i].startswith("µs") or any(row[i] for row in rows)
    ]
    lines = [[row[i] for i in keep] for row in (head, *rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(keep))]
    words = {0, len(keep) - 1}
    drawn = [
        "  ".join(
            cell.ljust(width) if i in words else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    rule = "-" * max(map(len, drawn))
    return "\n".join([drawn[0], rule, *drawn[1:]])
