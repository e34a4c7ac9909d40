"""What a run amounts to: figures of all workers, over all their lives, put together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from streamproc.graph import Graph
from streamproc.runtime.metrics import Histogram


@dataclass
class Figures:
    """The last figures a worker told, and the histograms of its former lives."""

    last: dict[str, Any] = field(default_factory=dict)
    former: dict[tuple[str, str], Histogram] = field(default_factory=dict)

    def update(self, figures: dict[str, Any]) -> None:
        """The worker has told new figures."""
        self.last = figures

    def end_life(self) -> None:
        """Its process died: counters go on from the checkpoint, histograms do not."""
        for kind, name, histogram in self._live():
            self.former.setdefault((kind, name), Histogram()).merge(histogram)
        for part in ("nodes", "received"):
            for entry in self.last.get(part, {}).values():
                for kind in ("took", "age", "transit"):
                    entry.pop(kind, None)

    def _live(self) -> list[tuple[str, str, Histogram]]:
        return [
            (kind, name, Histogram.from_plain(entry[kind]))
            for part in ("nodes", "received")
            for name, entry in self.last.get(part, {}).items()
            for kind in ("took", "age", "transit")
            if kind in entry
        ]

    def histogram(self, kind: str, name: str) -> Histogram:
        """All lives of "took" or "age" of a node, or of "transit" of an edge."""
        merged = Histogram()
        for key, histogram in self.former.items():
            if key == (kind, name):
                merged.merge(histogram)
        for live_kind, live_name, histogram in self._live():
            if (live_kind, live_name) == (kind, name):
                merged.merge(histogram)
        return merged


def summarise(graph: Graph, figures: dict[str, Figures]) -> dict[str, Any]:
    """Per node, edge and score, plain values, as `run --json` prints them."""
    return {
        "graph": graph.name,
        "nodes": {name: _node(graph, name, figures) for name in graph.nodes},
        "edges": {
            edge.name: _edge(graph, edge.id, figures)
            for edge in graph.edges
            if not edge.internal
        },
        "scores": {
            name: report
            for name, node in graph.nodes.items()
            if (report := _told(figures[node.worker], "nodes", name).get("report"))
        },
    }


def exhibits(graph: Graph, figures: dict[str, Figures]) -> dict[str, dict[str, Any]]:
    """What nodes gave at their end to be drawn, by their names."""
    return {
        name: shown
        for name, node in graph.nodes.items()
        if (shown := _told(figures[node.worker], "nodes", name).get("exhibit"))
    }


def _told(figures: Figures, part: str, name: str) -> dict[str, Any]:
    told: dict[str, Any] = figures.last.get(part, {}).get(name, {})
    return told


def _node(graph: Graph, name: str, figures: dict[str, Figures]) -> dict[str, Any]:
    worker = graph.nodes[name].worker
    own = figures[worker]
    told = _told(own, "nodes", name)
    counts = {
        key: told.get(key, 0)
        for key in ("frames", "skipped", "quarantined", "fallen", "late", "unpaired")
    }
    feed = _told(own, "feeds", name)
    return {
        "worker": worker,
        **counts,
        **{key: feed[key] for key in ("late_ticks", "overrun") if feed},
        "process": own.histogram("took", name).summary(),
        "age": own.histogram("age", name).summary(),
    }


def _edge(graph: Graph, edge: int, figures: dict[str, Figures]) -> dict[str, Any]:
    found = next(e for e in graph.edges if e.id == edge)
    source = figures[graph.nodes[found.source].worker]
    target = figures[graph.nodes[found.target].worker]
    sent, received = (
        _told(source, "sent", str(edge)),
        _told(target, "received", str(edge)),
    )
    delivered = received.get("delivered", 0)
    return {
        "on_full": found.options.on_full,
        "sent": sent.get("sent", 0),
        "delivered": delivered,
        "dropped": sent.get("dropped", 0),
        "lost": received.get("lost", 0),
        "refused": received.get("refused", 0),
        "in_flight": sent.get("sent", 0) - delivered - sent.get("dropped", 0),
        "duplicates": received.get("duplicates", 0),
        "transit": target.histogram("transit", str(edge)).summary(),
    }
