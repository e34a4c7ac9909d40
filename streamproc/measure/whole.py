"""A whole graph of a user's at a rate: every node's latency, and how far it goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from streamproc.errors import GraphError
from streamproc.graph import Graph, build
from streamproc.graph.spec import GraphSpec, NodeSpec
from streamproc.measure.figures import QUANTILES
from streamproc.node import Source
from streamproc.nodes import kind as kind_of
from streamproc.runtime.metrics import Histogram
from streamproc.runtime.summary import Figures, summarise
from streamproc.runtime.supervisor import Supervisor

WARM_S = 1.0  # left out of all latencies: connections, first calls
ENOUGH = 0.97  # of the frames that were due have to be made
WHOLE = 0.95  # of a trial a source has to last, for its rate to be one that holds
GROWTH = 2.0  # a queue grows if latency does, from one half to the next,
SLACK_US = 2000.0  # by more than this factor and this much
MOST_DOUBLINGS, BISECTIONS = 14, 4

Ages = dict[str, Histogram]
Told = Callable[[float, bool], None]


def paced_nodes(spec: GraphSpec) -> dict[str, float | None]:
    """Sources that keep the rate_hz of their config, and what it is in the file.

    Not those that only declare it: what is live comes when it comes.
    """
    return {
        name: node.config.rate_hz
        for name, node in spec.nodes.items()
        if _keeps_pace(node)
    }


def _keeps_pace(node: NodeSpec) -> bool:
    kind = kind_of(node.kind)
    if not issubclass(kind, Source) or not hasattr(node.config, "rate_hz"):
        return False
    return kind(replace(node.config, rate_hz=1.0)).pace_hz() is not None


def at_rate(spec: GraphSpec, rate_hz: float) -> GraphSpec:
    """The same graph, its fastest source at this rate, the others in proportion.

    A source without a rate gets this one. GraphError if none can be paced.
    """
    rates = paced_nodes(spec)
    if not rates:
        raise GraphError(
            f"{spec.path or spec.name}: expected a source that keeps a rate_hz, got "
            "none (live sources and recorded times have a pace of their own); leave "
            "--rate-hz and --highest out to measure it as it comes"
        )
    top = max((rate for rate in rates.values() if rate), default=rate_hz)
    nodes = dict(spec.nodes)
    for name, rate in rates.items():
        config = nodes[name].config
        scaled = rate_hz if rate is None else rate * rate_hz / top
        nodes[name] = replace(nodes[name], config=replace(config, rate_hz=scaled))
    return replace(spec, nodes=nodes)


@dataclass
class _Halves:
    """Histograms of `age` after the warm-up and halfway, as workers told them."""

    supervisor: Supervisor
    seconds: float
    warm: dict[str, dict[str, Any]] | None = None
    half: dict[str, dict[str, Any]] | None = None

    def watch(self) -> None:
        """Called by the supervisor at least every 100 ms."""
        running_s = self.supervisor.progress().running_s
        if self.warm is None and running_s >= min(WARM_S, self.seconds / 4):
            self.warm = self._last()
        if self.half is None and running_s >= (WARM_S + self.seconds) / 2:
            self.half = self._last()

    def _last(self) -> dict[str, dict[str, Any]]:
        posts = self.supervisor.posts.items()
        return {worker: post.figures.last for worker, post in posts}

    def since(self, then: Mapping[str, Any] | None, kind: str, node: str) -> Histogram:
        """What was counted of a node up to then."""
        worker = self.supervisor.graph.nodes[node].worker
        told = (then or {}).get(worker, {}).get("nodes", {}).get(node, {})
        return Histogram.from_plain(told[kind]) if kind in told else Histogram()


def aside(spec: GraphSpec, folder: str) -> GraphSpec:
    """The same graph, whose nodes write into a folder of their own."""
    nodes = dict(spec.nodes)
    for name, node in nodes.items():
        if getattr(node.config, "root", None) is not None and node.config.path:
            path = f"{name}-{Path(node.config.path).name}"
            config = replace(node.config, root=folder, path=path)
            nodes[name] = replace(node, config=config)
    return replace(spec, nodes=nodes)


def trial(spec: GraphSpec, seconds: float) -> dict[str, Any]:
    """Run it for so long: latency of nodes and end to end (µs), counts, if it held.

    What its nodes write is thrown away. Raises what a run raises.
    """
    with TemporaryDirectory(prefix="streamproc-bench-") as folder:
        return _tried(aside(spec, folder), seconds)


def _tried(spec: GraphSpec, seconds: float) -> dict[str, Any]:
    graph = build(spec)
    supervisor = Supervisor(graph)
    halves = _Halves(supervisor, seconds)
    told = supervisor.run(seconds, halves.watch)
    summary = summarise(graph, told)
    ends = _ends(graph)
    over = {
        name: ended_s
        for name, ended_s in _ended_s(graph, told).items()
        if ended_s < WHOLE * seconds
    }
    found = {
        "nodes": {
            name: {
                "frames": summary["nodes"][name]["frames"],
                "process": _after_warm(halves, told, "took", name),
                **(
                    {"age": _after_warm(halves, told, "age", name)}
                    if ends[name]
                    else {}
                ),
            }
            for name in graph.nodes
        },
        "dropped": sum(edge["dropped"] for edge in summary["edges"].values()),
        "lost": sum(edge["lost"] for edge in summary["edges"].values()),
        "skipped": sum(node["skipped"] for node in summary["nodes"].values()),
        "made": _made(graph, told, seconds),
        "ended_s": over,
        "idle": [name for name in ends if ends[name] and not _frames(summary, name)],
        "growth": _growth(halves, told, [name for name in ends if ends[name]]),
    }
    return {**found, "held": _held(found)}


def _ends(graph: Graph) -> dict[str, bool]:
    """Which nodes nothing leaves: there a frame's latency is end to end."""
    left = {edge.source for edge in graph.edges}
    return {name: name not in left for name in graph.nodes}


def _minus(whole: Histogram, before: Histogram) -> Histogram:
    rest = Histogram()
    rest.counts = {
        step: count - before.counts.get(step, 0)
        for step, count in whole.counts.items()
        if count > before.counts.get(step, 0)
    }
    rest.count = sum(rest.counts.values())
    rest.max_ns = whole.max_ns
    return rest


def _after_warm(
    halves: _Halves, told: Mapping[str, Figures], kind: str, node: str
) -> dict[str, float]:
    """Quantiles after the warm-up. The maximum is of the step that it fell into."""
    worker = halves.supervisor.graph.nodes[node].worker
    whole = told[worker].histogram(kind, node)
    rest = _minus(whole, halves.since(halves.warm, kind, node))
    named = {name: rest.quantile_us(q) for name, q in QUANTILES.items()}
    return {"n": rest.count, **named, "max_us": rest.quantile_us(1.0)}


def _frames(summary: Mapping[str, Any], name: str) -> int:
    return int(summary["nodes"][name]["frames"])


def _feed(graph: Graph, told: Mapping[str, Figures], name: str) -> dict[str, Any]:
    """What a source's worker told of it last; empty if it is no source."""
    feeds = told[graph.nodes[name].worker].last.get("feeds", {})
    return dict(feeds.get(name, {}))


def _ended_s(graph: Graph, told: Mapping[str, Figures]) -> dict[str, float]:
    """After how long each source came to its end that did so by itself."""
    fed = {name: _feed(graph, told, name).get("ended_s") for name in graph.nodes}
    return {name: ended_s for name, ended_s in fed.items() if ended_s is not None}


def _made(graph: Graph, told: Mapping[str, Figures], seconds: float) -> float | None:
    """The least share, over paced sources, of the frames that were due.

    Of one that ended, of those due until then. None where nothing has a pace.
    """
    ended_s, shares = _ended_s(graph, told), []
    for name, node in graph.nodes.items():
        if isinstance(node.node, Source) and (rate := node.node.pace_hz()):
            due = rate * min(seconds, ended_s.get(name, seconds))
            shares.append(_feed(graph, told, name).get("frames", 0) / max(due, 1.0))
    return min(shares, default=None)


def _growth(
    halves: _Halves, told: Mapping[str, Figures], ends: list[str]
) -> dict[str, list[float]]:
    """Median latency at every end in the first half and in the second, µs."""
    grown = {}
    for name in ends:
        whole = told[halves.supervisor.graph.nodes[name].worker].histogram("age", name)
        warm = halves.since(halves.warm, "age", name)
        half = halves.since(halves.half, "age", name)
        parts = _minus(half, warm), _minus(whole, half)
        grown[name] = [part.quantile_us(0.5) for part in parts]
    return grown


def _held(found: Mapping[str, Any]) -> bool:
    """Whether frames came to every end, none was lost and no queue grew."""
    made = 1.0 if found["made"] is None else found["made"]
    if found["dropped"] or found["lost"] or found["idle"] or made < ENOUGH:
        return False
    return all(
        later <= GROWTH * earlier + SLACK_US
        for earlier, later in found["growth"].values()
    )


def highest(
    spec: GraphSpec, from_hz: float, seconds: float, told: Told
) -> tuple[float, dict[str, Any] | None]:
    """The highest rate that held, within 10 %, and its trial; (0, None) if none did.

    told: called after every trial with its rate and whether it held. GraphError where
    a source ends before its trial does: so short, nothing shows what would pile up.
    """
    best, top = (0.0, None), 0.0
    found: tuple[float, dict[str, Any] | None] = best
    rate_hz = from_hz
    for _ in range(MOST_DOUBLINGS):
        made = _lasting(spec, rate_hz, seconds)
        told(rate_hz, made["held"])
        if not made["held"]:
            top = rate_hz
            break
        found = rate_hz, made
        rate_hz *= 2
    for _ in range(BISECTIONS if top else 0):
        low = found[0] or from_hz / 16
        rate_hz = (low * top) ** 0.5
        made = _lasting(spec, rate_hz, seconds)
        told(rate_hz, made["held"])
        if made["held"]:
            found = rate_hz, made
        else:
            top = rate_hz
    return found


def _lasting(spec: GraphSpec, rate_hz: float, seconds: float) -> dict[str, Any]:
    made = trial(at_rate(spec, rate_hz), seconds)
    if made["ended_s"]:
        name, ended_s = next(iter(made["ended_s"].items()))
        raise GraphError(
            f"{spec.path or spec.name}: at {rate_hz:,.0f} Hz, expected frames of "
            f"{name!r} for {seconds:g} s, got them for {ended_s:.1f} s; let it repeat "
            "(file.source: repeat = true), or give it more"
        )
    return made
