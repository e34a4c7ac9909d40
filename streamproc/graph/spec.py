"""What a graph file asks for, before anything is checked against anything else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal, TypeVar

from streamproc.errors import GraphError, RefusedError, nearest
from streamproc.frame import Signature
from streamproc.node import Ports
from streamproc.schema import Above, Like, Max, Min

RefusedT = TypeVar("RefusedT", bound=RefusedError)
WORKER = Like(r"[A-Za-z0-9_-]*", "letters, digits, '_' and '-'")  # names files too
Dtype = Literal[
    "", "u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8", "c8", "c16", "b1"
]
_Scalar = bool | int | float | str
_Lists = tuple[_Scalar, ...] | tuple[tuple[_Scalar, ...], ...]
Setting = _Scalar | _Lists | dict[str, _Scalar | _Lists | dict[str, _Scalar]]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeOptions:
    """Keys that every node may have, beside those of its kind.

    worker: nodes with the same worker share one loop; empty: a process of its own
    host: empty: this host, over ipc; a loopback address: tcp; beyond: tcp with keys
    device: where the node computes
    join: how frames of several inputs meet: on equal t0_ns, or whatever is newest
    join_depth: how many frames wait for a partner before they are counted as lost
    on_error: what becomes of a frame on which the node raises, or crashes its process
    twice: it ends the graph; it is left out; it is tried once more, the worker started
    again, and then left out; or the fallback takes over from it on
    fallback: kind and config of the node that takes over, with the same ports
    hang_s: how long one process() may go on before its worker is started again
    quarantine_mib: room for frames that crashed the node, kept to be looked at
    keep_refused: whether frames that the node refuses are kept there too
    deadline_us: how long one process() may take
    on_late: what becomes of a frame that missed the deadline; degrade: a node that can
    do less for a frame does, rather than miss it
    log_mib: size of a source's log of frames not yet acknowledged
    fsync: how often that log is forced to the disk
    """

    worker: Annotated[str, WORKER] = ""
    host: str = ""
    device: Literal["cpu", "gpu"] = "cpu"
    join: Literal["time", "latest"] = "time"
    join_depth: Annotated[int, Min(1)] = 32
    on_error: Literal["fail", "skip", "restart", "fallback"] = "fail"
    fallback: dict[str, Setting] = field(default_factory=dict)
    hang_s: Annotated[float, Above(0)] = 10
    quarantine_mib: Annotated[float, Min(0), Max(1 << 20)] = 16
    keep_refused: bool = False
    deadline_us: Annotated[float, Above(0)] | None = None
    on_late: Literal["count", "drop", "degrade"] = "count"
    log_mib: Annotated[float, Min(0), Max(1 << 20)] = 16
    fsync: Literal["none", "group", "always"] = "none"

    def __post_init__(self) -> None:
        if self.on_late != "count" and self.deadline_us is None:
            raise ValueError(f'on_late = "{self.on_late}" needs a deadline_us')
        if (self.on_error == "fallback") != bool(self.fallback):
            raise ValueError(
                'on_error = "fallback" and fallback = { kind = "...", ... } need each '
                "other"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeOptions:
    """Keys of an `[edge."a -> b"]` table.

    depth: frames on their way or waiting; fused nodes have no queue between them
    on_full: what becomes of a frame that finds the edge full
    feedback: delayed by one frame, so that it may close a cycle
    dtype: of a feedback edge's first frame, and of all after it
    dims: names and sizes of a feedback edge's frames
    unit: of a feedback edge's frames
    initial: every value of a feedback edge's first frame
    """

    depth: Annotated[int, Min(1)] = 64
    on_full: Literal["block", "drop_oldest", "drop_newest", "latest"] = "block"
    feedback: bool = False
    dtype: Dtype = ""
    dims: dict[str, Annotated[int, Min(1)]] = field(default_factory=dict)
    unit: str = ""
    initial: float = 0.0

    def __post_init__(self) -> None:
        if self.feedback and not self.dtype:
            raise ValueError(
                "a feedback edge says what flows before its first frame: add "
                'dtype = "f8" and dims = { axis = 3 }, as they are'
            )
        if not self.feedback and (self.dtype or self.dims or self.unit or self.initial):
            raise ValueError(
                "dtype, dims, unit and initial belong to an edge with feedback = true"
            )

    @property
    def declared(self) -> Signature:
        """The signature that a feedback edge declares."""
        return Signature.of(self.dtype, self.dims, unit=self.unit)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSpec:
    """One node as asked for. line: where its file says so, 0 if there is none."""

    name: str
    kind: str
    config: Any
    options: NodeOptions = NodeOptions()
    line: int = 0

    @property
    def label(self) -> str:
        """How errors call it."""
        return f"nodes.{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeSpec:
    """One edge as asked for. An empty port means the only one its node has."""

    source: str
    source_port: str = ""
    target: str
    target_port: str = ""
    options: EdgeOptions = EdgeOptions()
    line: int = 0

    @property
    def name(self) -> str:
        """`scene:observation -> tracker`."""
        source = self.source + (f":{self.source_port}" if self.source_port else "")
        target = self.target + (f":{self.target_port}" if self.target_port else "")
        return f"{source} -> {target}"

    @property
    def label(self) -> str:
        """How errors call it."""
        return f'edge "{self.name}"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How often a worker may be started again, as Erlang's supervisors have it.

    Counted are lives in which nothing got done; more than `restarts` of them within
    `within_s`, and the graph gives up.
    """

    restarts: int = 5
    within_s: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphSpec:
    """A whole graph as asked for.

    path: its file, for errors; may be empty. keys: the folder that edges beyond this
    machine prove themselves with; empty: there are none such.
    """

    name: str
    nodes: dict[str, NodeSpec]
    edges: tuple[EdgeSpec, ...]
    workers: Literal["", "one"] = ""
    path: str = ""
    keys: str = ""
    patience: Patience = Patience()


def refusal(
    spec: GraphSpec,
    about: NodeSpec | EdgeSpec | None,
    problem: object,
    kind: type[RefusedT],
) -> RefusedT:
    """An error that says file, line, node or edge, and what is wrong."""
    label = f"{about.label}: " if about else ""
    line = about.line if about else 1
    where = f"{spec.path}:{line}: " if spec.path and line else ""
    return kind(f"{where}{label}{problem}")


def settled(edge: EdgeSpec, ports: Mapping[str, Ports]) -> EdgeSpec:
    """The same edge, its ports checked, and left out where its node has only one.

    ports: by node. GraphError for a node or port that there is not, or a port left
    out where there are several.
    """
    for node in (edge.source, edge.target):
        if node not in ports:
            raise GraphError(f"no node {node!r}{nearest(node, ports)}")
    if edge.source == edge.target:
        raise GraphError(
            f"{edge.source} cannot feed itself; what a node keeps from frame to "
            "frame is its state"
        )
    outputs, inputs = ports[edge.source].outputs, ports[edge.target].inputs
    return replace(
        edge,
        source_port=_port(edge.source, edge.source_port, outputs, "output"),
        target_port=_port(edge.target, edge.target_port, inputs, "input"),
    )


def _port(node: str, port: str, have: tuple[str, ...], what: str) -> str:
    if not have:
        raise GraphError(f"{node} has no {what}s")
    if port and port not in have:
        raise GraphError(f"{node} has no {what} {port!r}{nearest(port, have)}")
    if len(have) == 1:
        return ""
    if not port:
        choices = ", ".join(f"{node}:{name}" for name in have)
        raise GraphError(f"{node} has {len(have)} {what}s; say which: {choices}")
    return port
