"""What learning bought and what it cost: of each `compare` node of a run."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamproc.graph import Graph

KIND = "compare"
HEAD = (
    "what learning bought",
    "metric",
    "learned",
    "classical",
    "bought",
    "learned µs p50 / p99",
    "classical µs p50 / p99",
    "dropped",
)


def comparisons(graph: Graph, summary: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """By node: both figures, the gain and its unit, who made them, time and drops.

    Times are of one process() of the node at the port; frames dropped, or set aside,
    are those of every edge and node on the way to the comparison.
    """
    found = {}
    for name, node in graph.nodes.items():
        report = summary["scores"].get(name)
        if node.kind != KIND or report is None:
            continue
        metric = node.spec.config.metric
        makers = {port: node.inputs[port].source for port in ("learned", "classical")}
        found[name] = {
            "metric": metric,
            **report,
            "gain_unit": "times fewer errors" if metric == "ser" else "dB",
            "nodes": makers,
            "process": {
                port: summary["nodes"][maker]["process"]
                for port, maker in makers.items()
            },
            "dropped": _dropped(graph, summary, name),
        }
    return found


def _dropped(graph: Graph, summary: dict[str, Any], name: str) -> int:
    """Frames that did not reach a node from anywhere above it, by whatever cause."""
    above, rest = {name}, [name]
    while rest:
        sources = {edge.source for edge in graph.nodes[rest.pop()].inputs.values()}
        rest += sources - above
        above |= sources
    carried = [
        summary["edges"][edge.name]
        for edge in graph.edges
        if edge.target in above and edge.name in summary["edges"]
    ]
    edges = sum(e[key] for e in carried for key in ("dropped", "lost", "refused"))
    nodes = [summary["nodes"][one] for one in above]
    return int(edges + sum(n["skipped"] + n["quarantined"] for n in nodes))


def rows(compared: dict[str, dict[str, Any]]) -> list[list[str]]:
    """Under HEAD."""
    return [
        [
            f"{name}: {one['nodes']['learned']} / {one['nodes']['classical']}",
            one["metric"],
            _figure(one["learned"], one["metric"]),
            _figure(one["classical"], one["metric"]),
            bought(one),
            _times(one["process"]["learned"]),
            _times(one["process"]["classical"]),
            f"{one['dropped']:,}",
        ]
        for name, one in compared.items()
    ]


def bought(one: dict[str, Any]) -> str:
    """`6.5 dB`, `3.1 times fewer errors`; what is lost is said to be."""
    gain = one["gain"]
    if not math.isfinite(gain):
        return "-"
    spread = one.get("gain_se", math.nan)
    sure = f" ± {spread:.2f}" if math.isfinite(spread) else ""
    if one["metric"] != "ser":
        return f"{gain:.2f}{sure} dB" if gain >= 0 else f"loses {-gain:.2f}{sure} dB"
    if gain >= 1:
        return f"{gain:.2f}{sure} times fewer errors"
    return f"loses: {1 / gain:.2f} times the errors" if gain else "loses: all wrong"


def figures(one: dict[str, Any]) -> dict[str, str]:
    """Both sides' figures, for captions."""
    return {side: _figure(one[side], one["metric"]) for side in one["nodes"]}


def _figure(value: float, metric: str) -> str:
    if not math.isfinite(value):
        return "-"
    return f"{value:.3g}" if metric in ("ser", "rmse") else f"{value:.2f} dB"


def _times(process: dict[str, float]) -> str:
    if not process["n"]:
        return "-"
    return f"{process['p50_us']:,.0f} / {process['p99_us']:,.0f}"
