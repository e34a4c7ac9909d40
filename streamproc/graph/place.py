"""Which worker runs which node, and what may not be torn apart."""

from __future__ import annotations

from collections.abc import Sequence

from streamproc.addresses import is_loopback
from streamproc.errors import GraphError, PlacementError
from streamproc.graph.spec import EdgeSpec, GraphSpec, refusal

ONE = "one"  # the worker that runs everything when the graph says workers = "one"


def placed(spec: GraphSpec) -> dict[str, str]:
    """The worker of every node. PlacementError for a host that is not to be had."""
    workers: dict[str, str] = {}
    first: dict[str, str] = {}
    for name, node in spec.nodes.items():
        host = node.options.host
        if host and not spec.keys and not is_loopback(host):
            problem = (
                f"host {host!r} is beyond this machine, which needs keys; add keys = "
                '"FOLDER" to [graph], made by `streamproc keys make FOLDER`, or use '
                "127.0.0.1"
            )
            raise refusal(spec, node, problem, PlacementError)
        workers[name] = ONE if spec.workers else node.options.worker or name
        other = spec.nodes[first.setdefault(workers[name], name)]
        if other.options.host != host:
            problem = (
                f"worker {workers[name]!r} cannot be on host {host!r} and, with "
                f"{other.name}, on host {other.options.host!r}"
            )
            raise refusal(spec, node, problem, PlacementError)
    return workers


def check_feedback(
    spec: GraphSpec, edges: Sequence[EdgeSpec], workers: dict[str, str]
) -> None:
    """Every feedback edge closes a cycle, every cycle has a start and one worker."""
    for edge in edges:
        if edge.options.feedback:
            _check_loop(spec, edge, edges, workers)
            _check_start(spec, edge, edges)


def _check_loop(
    spec: GraphSpec, edge: EdgeSpec, edges: Sequence[EdgeSpec], workers: dict[str, str]
) -> None:
    onward = _reach(edge.target, [(e.source, e.target) for e in edges])
    back = _reach(edge.source, [(e.target, e.source) for e in edges])
    loop = [name for name in spec.nodes if name in onward & back]
    if not loop:
        problem = "closes no cycle; remove feedback = true"
        raise refusal(spec, edge, problem, GraphError)
    if len({workers[name] for name in loop}) > 1:
        problem = (
            f"acks around {', '.join(loop)} would wait on themselves; give them "
            f'one worker, such as worker = "{edge.target}_loop"'
        )
        raise refusal(spec, edge, problem, GraphError)


def _check_start(spec: GraphSpec, edge: EdgeSpec, edges: Sequence[EdgeSpec]) -> None:
    if all(e.options.feedback for e in edges if e.target == edge.target):
        problem = (
            f"nothing but feedback feeds {edge.target}, so nothing starts or paces "
            "it; feed it from a source too"
        )
        raise refusal(spec, edge, problem, GraphError)


def _reach(start: str, steps: Sequence[tuple[str, str]]) -> set[str]:
    found = {start}
    waiting = [start]
    while waiting:
        here = waiting.pop()
        ahead = {after for before, after in steps if before == here} - found
        found |= ahead
        waiting.extend(ahead)
    return found
