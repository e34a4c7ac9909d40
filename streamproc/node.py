"""Node: four verbs. Its ports are the parameters and the return type of `process`."""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Iterable, Sequence
from dataclasses import is_dataclass
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from streamproc.errors import FrameError, GraphError, RefusedError
from streamproc.frame import Array, Frame, Signature

ConfigT = TypeVar("ConfigT")

OUT = "out"  # the port of a node whose process returns one frame


class Ports(NamedTuple):
    """Names of a node kind's input and output ports, in order."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class Node(Generic[ConfigT]):
    """One step of a graph.

    A node kind is a class `class Shrink(Node[ShrinkConfig])` whose config is a
    frozen dataclass. It is built without any effect, checked with `accept` on a
    machine that may have no GPU, opened once, fed frame by frame, and closed.
    """

    # Set before `open`: a checkpoint follows, so what an earlier life left (a file,
    # say) is this node's own.
    resumed: bool = False
    # Set before `open`, where the graph says on_late = "degrade": how long `process`
    # may take. A kind that `degrades` does less then, and flags the frame DEGRADED.
    deadline_us: float | None = None
    degrades: ClassVar[bool] = False
    # True: open, process and close touch nothing outside their process (no file, no
    # socket) and do not ask `resumed`, so a spare process may try them on zeros, and
    # open a node ahead of time.
    rehearses: ClassVar[bool] = False

    def __init__(self, config: ConfigT) -> None:
        self.config = config

    def accept(self, *args: Any, **signatures: Any) -> Any:
        """Say what comes out, given what comes in; pure.

        Returns a Signature (one output port), a dict of them by port name
        (several), or None (a sink). Raises GraphError for what it cannot use.
        """
        return None

    def check_start(self) -> None:
        """Asked before a run that has nothing to go on from; changes nothing.

        Raises PlacementError for what is in its way, such as a file that is there.
        """

    def open(self, device: str) -> None:
        """Allocate, load, warm up on "cpu" or "gpu".

        Raises PlacementError if the device is not to be had; never falls back.
        """

    def process(self, *args: Any, **kwargs: Any) -> Any:
        """Take one frame per input port, give a frame, a NamedTuple of them, or None.

        Raises BadFrameError for a frame it cannot use; EndOfStream from a source.
        """
        raise TypeError(f"{type(self).__name__} has no process()")

    def finish(self) -> Iterable[Any]:
        """What the node still holds when its inputs are over: outputs like process's.

        They go out before `close`. Each must leave `state` when it is given, so that
        a crash in between loses and repeats none.
        """
        return ()

    def close(self) -> None:
        """Let go of everything; may be called twice."""

    @property
    def state(self) -> dict[str, Array]:
        """What must survive a crash: named arrays, valid until the next process."""
        return {}

    @state.setter
    def state(self, state: dict[str, Array]) -> None:
        if state:
            raise GraphError(
                f"{type(self).__name__} keeps no state: it needs a property `state` "
                "with a setter"
            )

    def report(self) -> dict[str, float]:
        """Figures of this node for the run's summary, such as a score."""
        return {}

    def exhibit(self) -> dict[str, Any]:
        """What `run` draws of this node, if anything; asked once, at its end.

        Plain values (JSON): numbers, texts, lists of them. See `compare`.
        """
        return {}


class Source(Node[ConfigT]):
    """A node without inputs. The runtime asks it for frames, on time."""

    # True: after a crash the same frames can be made again from `state`.
    # False: what it hands out exists once, so the runtime logs it first.
    replayable: ClassVar[bool] = True
    # False: what it measures goes on whether or not anybody listens (a UDP sensor),
    # so it is read into the log even while nothing downstream has room.
    pausable: bool = True
    # What the run should say once, as a warning; it says them and clears the list.
    notices: Sequence[str] = ()

    def recovered(self, frame: Frame) -> None:
        """Told after a crash: the last frame that the log gave back.

        `state` was set before, and is older than the frame may be.
        """

    def pace_hz(self) -> float | None:
        """Frames in a second on an absolute schedule; None: as they come."""
        return None

    def due_s(self) -> float | None:
        """Where frames have times of their own: when the next one is due, in seconds
        after the first of this life. None: they have none.
        """
        return None

    def wait_on(self) -> Any:
        """A socket or file descriptor that turns readable when a frame may be due.

        None: `process` is worth calling at any time.
        """
        return None


def ports(kind: type[Node[Any]]) -> Ports:
    """Read a node kind's ports off its process(). GraphError if it is not typed, or
    has a state that cannot be set, which it would miss at its first crash."""
    kept = kind.state
    if isinstance(kept, property) and kept.fset is None:
        raise GraphError(
            f"{kind.__name__}.state: expected a property that can be set as well, got "
            "one to read only; add @state.setter"
        )
    parameters = list(inspect.signature(kind.process).parameters.values())[1:]
    for parameter in parameters:
        if parameter.kind is not inspect.Parameter.POSITIONAL_OR_KEYWORD:
            raise GraphError(f"{kind.__name__}.process: input ports must be named")
    return Ports(tuple(p.name for p in parameters), _output_ports(kind))


def _output_ports(kind: type[Node[Any]]) -> tuple[str, ...]:
    hints = typing.get_type_hints(kind.process)
    if "return" not in hints:
        raise GraphError(
            f"{kind.__name__}.process: expected a return annotation, such as -> Frame, "
            "got none"
        )
    hint = hints["return"]
    options = (
        typing.get_args(hint)
        if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union
        else (hint,)
    )
    made = [option for option in options if option is not type(None)]
    if not made:
        return ()
    if made == [Frame]:
        return (OUT,)
    fields = getattr(made[0], "_fields", None)
    if len(made) == 1 and fields:
        return tuple(fields)
    raise GraphError(
        f"{kind.__name__}.process: expected a return type of Frame, a NamedTuple of "
        f"frames, or None, got {hint}"
    )


def summary(kind: type[Node[Any]]) -> str:
    """The first sentence of what a node kind says of itself."""
    first = inspect.cleandoc(kind.__doc__ or "").partition("\n\n")[0]
    return re.split(r"(?<=\.)\s", " ".join(first.split()))[0]


def config_type(kind: type[Node[Any]]) -> type[Any]:
    """The frozen dataclass that configures a node kind."""
    for base in kind.__mro__:
        for generic in getattr(base, "__orig_bases__", ()):
            origin = typing.get_origin(generic)
            if isinstance(origin, type) and issubclass(origin, Node):
                (argument,) = typing.get_args(generic)
                if isinstance(argument, type) and is_dataclass(argument):
                    return argument
    raise GraphError(
        f"{kind.__name__}: expected Node[YourConfig] or Source[YourConfig], where "
        "YourConfig is a frozen dataclass, if an empty one"
    )


def output_signatures(
    node: Node[Any], inputs: dict[str, Signature]
) -> dict[str, Signature]:
    """accept(), with its answer as a dict by port. GraphError if they disagree."""
    try:
        answer = node.accept(**inputs)
    except (RefusedError, FrameError):
        raise
    except Exception as error:
        raise GraphError(
            f"{type(node).__name__}.accept: {type(error).__name__}: {error}"
        ) from error
    names = ports(type(node)).outputs
    if answer is None:
        answer = {}
    elif isinstance(answer, Signature):
        answer = {names[0]: answer} if len(names) == 1 else {"?": answer}
    if tuple(answer) != names:
        raise GraphError(
            f"{type(node).__name__}.accept gave ports {list(answer)}, "
            f"process gives {list(names)}"
        )
    return typing.cast("dict[str, Signature]", answer)
