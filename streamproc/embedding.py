"""A node inside somebody else's program: the same bytes as in a graph."""

from __future__ import annotations

import select
from collections import namedtuple
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any

import numpy as np

from streamproc.errors import EndOfStream, FrameError, GraphError, PlacementError
from streamproc.frame import Array, ArraySpec, Frame, Header, Signature
from streamproc.mount import Mount, Outputs
from streamproc.node import Node, Source, config_type, output_signatures, ports
from streamproc.nodes import kind as kind_of
from streamproc.schema import build

DATA = "data"
WAIT_S = 0.05  # before a source that had nothing is asked again, at most
CURE = "pass signatures={port: Signature.of(...)}"


def open_node(
    kind: str,
    device: str = "cpu",
    *,
    signatures: Mapping[str, Signature] | None = None,
    name: str = "node",
    **config: Any,
) -> OpenNode:
    """A node of a kind, configured as in a graph file, ready to be called.

        with open_node("ekf", model="lorenz") as track:
            for y in observations:
                estimate = track(y)["x"]

    signatures: by input port; without them they are read off the first input, whose
    sizes then hold for all. A size of -1 may change from call to call.

    Raises what a graph file raises before start: SchemaError, GraphError,
    PlacementError, ArtifactError. What depends on the signatures, the device among
    it, is checked as soon as they are known.
    """
    cls = kind_of(kind)
    node = cls(build(config_type(cls), config, (name,)))
    return OpenNode(name, node, device, signatures)


class OpenNode:
    """A node in service. Call it with what its input ports take, in order or by name.

    Frames in, frames out; arrays in, arrays out. A frame of several arrays is a dict
    of them by name. A node of several output ports gives
    a named tuple by port; one that has nothing to give, None. Arrays are copied on
    their way in and read-only on their way out; they carry no time: give frames
    where it matters.

    A source takes nothing and gives frames: call it for the next, or iterate.
    """

    def __init__(
        self,
        name: str,
        node: Node[Any],
        device: str = "cpu",
        signatures: Mapping[str, Signature] | None = None,
    ) -> None:
        self.name = name
        self.node = node
        self.device = device
        self.inputs, outputs = ports(type(node))
        self._made: Callable[..., Any] | None = None
        if len(outputs) > 1:
            self._made = namedtuple("Made", outputs)  # type: ignore[misc]
        self._mount: Mount | None = None
        self._signatures: dict[str, Signature] = {}
        self._looks: list[Any] = []  # of the last frames that fitted
        self._as_frames = not self.inputs
        self._calls = 0
        self._closed = False
        if signatures is not None or not self.inputs:
            self._open(dict(signatures or {}))

    def __enter__(self) -> OpenNode:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of everything; what the node still holds is lost, see finish."""
        if self._mount is not None and not self._closed:
            self.node.close()
        self._closed = True

    def __call__(self, *given: Any, **by_port: Any) -> Any:
        """What the node makes of one frame or array for each input port.

        TypeError for other ports than the node's, FrameError for what does not fit
        the signatures, NodeError for what goes wrong inside, EndOfStream from a
        source that is done.
        """
        if self._closed:
            raise PlacementError(f"{self.name} is closed; open another one")
        if by_port or len(given) != len(self.inputs):
            given = self._in_order(given, by_port)
        if not given:
            return self._next()
        frames = self._frames(given)
        mount = self._mount or self._open(
            dimensioned(self.node, dict(zip(self.inputs, frames, strict=True)))
        )
        looks = [
            [(name, array.dtype, array.shape) for name, array in frame.arrays.items()]
            for frame in frames
        ]
        if looks != self._looks:  # else they fit, as the last ones did
            for port, frame in zip(self.inputs, frames, strict=True):
                self._check(port, frame)
            self._looks = looks
        self._calls += 1
        return self._given(mount(frames))

    def __iter__(self) -> Iterator[Any]:
        """Frames of a source until its stream ends."""
        if self.inputs:
            raise TypeError(f"{self.name} takes {', '.join(self.inputs)}: call it")
        while True:
            try:
                yield self()
            except EndOfStream:
                return

    def finish(self) -> Iterator[Any]:
        """What the node still holds, once its inputs are over. It stays open."""
        if self._mount is not None and not self._closed:
            yield from map(self._given, self._mount.finish())

    def _open(self, signatures: dict[str, Signature]) -> Mount:
        if set(signatures) != set(self.inputs):
            raise GraphError(
                f"{self.name}: expected signatures of {_names(self.inputs)}, got "
                f"those of {_names(signatures)}"
            )
        outputs = output_signatures(self.node, signatures)
        self.node.open(self.device)
        self._signatures = signatures
        self._mount = Mount(self.name, self.node, outputs)
        return self._mount

    def _in_order(
        self, given: tuple[Any, ...], by_port: dict[str, Any]
    ) -> tuple[Any, ...]:
        inputs = {**dict(zip(self.inputs, given, strict=False)), **by_port}
        count = len(given) + len(by_port)
        if set(inputs) != set(self.inputs) or count != len(self.inputs):
            raise TypeError(
                f"{self.name}: expected one frame or array for {_names(self.inputs)}, "
                f"got {len(given)} in order and by name {_names(by_port)}"
            )
        return tuple(inputs[port] for port in self.inputs)

    def _frames(self, given: tuple[Any, ...]) -> list[Frame]:
        framed = [isinstance(one, Frame) for one in given]
        self._as_frames = all(framed)
        if self._as_frames:
            return list(given)
        if any(framed):
            raise TypeError(f"{self.name}: expected frames or arrays, got both")
        return [framed_copy(one, self._calls) for one in given]

    def _check(self, port: str, frame: Frame) -> None:
        try:
            self._signatures[port].check(frame)
        except FrameError as error:
            raise FrameError(
                f"{self.name}: {port}: {error}; where sizes change, {CURE} with -1"
            ) from error

    def _next(self) -> Any:
        """A source's next frame, waited for if need be."""
        assert self._mount is not None
        while True:
            made = self._given(self._mount(()))
            if made is not None:
                return made
            due = self.node.wait_on() if isinstance(self.node, Source) else None
            select.select([] if due is None else [due], [], [], WAIT_S)

    def _given(self, made: Outputs) -> Any:
        """Frames as the caller wants them: as they are, or as arrays."""
        if made.count(None) == len(made):
            return None
        shown = made if self._as_frames else tuple(map(_arrays, made))
        return shown[0] if self._made is None else self._made(*shown)


def framed_copy(given: Any, seq: int) -> Frame:
    """A frame of an array, or of a dict of arrays by name, that are not frozen."""
    if not isinstance(given, np.ndarray) and isinstance(given, Mapping):
        arrays = {str(name): _copy(array) for name, array in given.items()}
    else:
        arrays = {DATA: _copy(given)}
    return Frame(Header("", seq), arrays)


def _copy(array: Any) -> Array:
    return np.array(array, order="C")


def _arrays(frame: Frame | None) -> Any:
    if frame is None:
        return None
    arrays = frame.arrays
    return arrays[DATA] if len(arrays) == 1 and DATA in arrays else arrays


def _names(names: Any) -> str:
    return ", ".join(names) or "nothing"


@dataclass(frozen=True, slots=True)
class _Asked(Signature):
    """A signature without dim names, which remembers those it was asked for."""

    asked: list[tuple[str, ...]] = field(default_factory=list, repr=False)

    def require(
        self, *, dims: tuple[str, ...] | None = None, **wanted: Any
    ) -> ArraySpec:
        if dims is not None and len(dims) == len(self.data.shape):
            self.asked.append(dims)
            dims = None
        return Signature.require(self, dims=dims, **wanted)


_Asked.__name__ = _Asked.__qualname__ = Signature.__name__  # as Python's errors say it


def dimensioned(node: Node[Any], frames: dict[str, Frame]) -> dict[str, Signature]:
    """Signatures of frames, their dims named as the node requires.

    GraphError if it requires several names, or refuses for another reason.
    """
    asked = {port: _Asked.of_frame(frame) for port, frame in frames.items()}
    try:
        node.accept(**asked)
        found = {port: _named(port, one) for port, one in asked.items()}
        node.accept(**found)
    except GraphError as error:
        raise GraphError(f"{error}; if that is not what it is, {CURE}") from error
    return found


def _named(port: str, asked: _Asked) -> Signature:
    known = set(asked.asked)
    if len(known) > 1:
        options = " or ".join(f"({', '.join(dims)})" for dims in sorted(known))
        raise GraphError(f"{port}: dims may be {options}")
    if not known:
        return Signature(asked.arrays)
    data = replace(asked.data, dims=known.pop())
    return Signature(
        tuple(data if spec.name == DATA else spec for spec in asked.arrays)
    )
