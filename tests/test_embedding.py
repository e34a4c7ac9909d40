"""A node by itself gives what it gives in a graph; what it cannot use it says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest

from streamproc import EndOfStream, Frame, Node, Signature, Source, open_node
from streamproc.errors import FrameError, GraphError, NodeError, PlacementError
from streamproc.frame import Array, Header
from streamproc.node import config_type, ports
from streamproc.nodes import kind
from streamproc.schema import SchemaError
from streamproc.testing import frames_of, run_node
from streamproc_kernels.driver import gpu_refusal

rng = np.random.default_rng


def images() -> Array:
    parts = rng(2).normal(size=(2, 30, 6, 5))
    return np.asarray(parts[0] + 1j * parts[1], "c8")


CASES: dict[str, tuple[dict[str, Any], Array]] = {
    "ekf": ({"model": "lorenz"}, rng(0).normal(size=(30, 3))),
    "bcjr": ({"gamma": 0.2, "snr_db": 6.0}, rng(1).normal(size=(30, 50))),
    "svd_filter": ({"window": 6, "rank": 2}, images()),
}


def alone(name: str, config: dict[str, Any], data: Array) -> dict[str, list[Frame]]:
    cls = kind(name)
    (port,) = ports(cls).inputs
    return run_node(cls(config_type(cls)(**config)), {port: frames_of(data)})


def by_port(made: list[Any], ports: Mapping[str, Any]) -> dict[str, list[Any]]:
    if len(ports) == 1:
        return {port: made for port in ports}
    return {port: [getattr(one, port) for one in made] for port in ports}


def drain(node: Any, given: Any) -> list[Any]:
    made = [node(one) for one in given]
    return [one for one in [*made, *node.finish()] if one is not None]


def content(frame: Frame) -> Any:
    arrays = {name: (a.dtype, a.tobytes()) for name, a in frame.arrays.items()}
    return frame.header, arrays


@pytest.mark.parametrize("name", CASES)
def test_frames_come_out_as_run_node_gives_them(name: str) -> None:
    config, data = CASES[name]
    wanted = alone(name, config, data)
    with open_node(name, **config) as node:
        got = by_port(drain(node, frames_of(data)), wanted)
    for port, frames in wanted.items():
        assert len(frames) == len(data)
        assert [content(f) for f in got[port]] == [content(f) for f in frames]


@pytest.mark.parametrize("name", CASES)
def test_arrays_come_out_with_the_same_bytes(name: str) -> None:
    config, data = CASES[name]
    wanted = alone(name, config, data)
    before = data.tobytes()
    with open_node(name, **config) as node:
        got = by_port(drain(node, data), wanted)
    for port, frames in wanted.items():
        for one, frame in zip(got[port], frames, strict=True):
            arrays = one if isinstance(one, dict) else {"data": one}
            assert {k: a.tobytes() for k, a in arrays.items()} == content_of(frame)
    assert data.flags.writeable and data.tobytes() == before


def content_of(frame: Frame) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in frame.arrays.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class PickyConfig:
    """Nothing to say."""


class Sum(NamedTuple):
    """Ports of Picky."""

    total: Frame
    first: Frame


class Picky(Node[PickyConfig]):
    """Adds; is particular about dim names."""

    def accept(self, a: Signature, b: Signature) -> dict[str, Signature]:
        a.require(dims=("pulse", "range"), dtype="f8")
        b.require(dims=("range",))
        return {"total": a, "first": a}

    def process(self, a: Frame, b: Frame) -> Sum:
        return Sum(a.with_data(a.data + b.data), a)


class Torn(Node[PickyConfig]):
    """Wants its one input under two names."""

    def accept(self, a: Signature) -> Signature:
        a.require(dims=("pulse",))
        a.require(dims=("range",))
        return a

    def process(self, a: Frame) -> Frame:
        raise OSError("torn")


class Free(Torn):
    """Wants nothing, fails at once."""

    def accept(self, a: Signature) -> Signature:
        return a


class Hesitant(Source[PickyConfig]):
    """Has something every second time, three times."""

    def accept(self) -> Signature:
        return Signature.of("i8", {})

    def open(self, device: str) -> None:
        self.turn = self.closed = 0

    def process(self) -> Frame | None:
        self.turn += 1
        if self.turn > 6:
            raise EndOfStream
        return Frame.of(np.array(self.turn)) if self.turn % 2 == 0 else None

    def close(self) -> None:
        self.closed += 1


def own(cls: type[Node[Any]]) -> str:
    return f"{cls.__module__}:{cls.__name__}"


A, B = np.ones((2, 3)), np.arange(3.0)


def test_dims_are_named_as_the_node_requires() -> None:
    with open_node(own(Picky)) as node:
        made = node(A, B)
        np.testing.assert_array_equal(made.total, A + B)
        np.testing.assert_array_equal(node(b=B, a=A).first, A)
        np.testing.assert_array_equal(node(A, b=B)[0], A + B)


def test_dims_that_cannot_be_guessed_are_asked_for() -> None:
    doubt = pytest.raises(GraphError, match=r"a: dims may be .* signatures=")
    with open_node(own(Torn)) as node, doubt:
        node(B)
    with pytest.raises(GraphError, match=r"expected dims \(range\)"):
        open_node(own(Torn), signatures={"a": Signature.of("f8", {"pulse": 3})})


def test_what_the_node_refuses_is_said_with_the_cure() -> None:
    refused = pytest.raises(GraphError, match=r"sizes .* pass")
    with open_node("ekf", model="lorenz") as node, refused:
        node(np.ones(5))


def test_configs_are_refused_as_in_a_graph_file() -> None:
    with pytest.raises(SchemaError, match=r"track\.window: no such key"):
        open_node("ekf", name="track", window=3)
    with pytest.raises(SchemaError, match=r"node\.longest_gap_s: .* > 0, got -1"):
        open_node("ekf", model="lorenz", longest_gap_s=-1)
    with pytest.raises(GraphError, match="did you mean 'ekf'"):
        open_node("ekff")


@pytest.mark.skipif(gpu_refusal() is None, reason="this machine has a GPU")
def test_a_device_that_is_not_there_is_refused_with_its_cure() -> None:
    signatures = {"observation": Signature.of("f8", {"axis": 3})}
    with pytest.raises(PlacementError, match="device 'gpu'"):
        open_node("ekf", "gpu", signatures=signatures, model="lorenz")


def test_ports_are_all_given_once() -> None:
    with open_node(own(Picky)) as node:
        for given, named in [((A,), {}), ((A, B), {"b": B}), ((A, B, B), {})]:
            with pytest.raises(TypeError, match="one frame or array for a, b"):
                node(*given, **named)
        with pytest.raises(TypeError, match="got both"):
            node(Frame.of(A.copy()), B)
        with pytest.raises(TypeError, match="call it"):
            next(iter(node))
    with pytest.raises(GraphError, match="signatures of a, b, got those of c"):
        open_node(own(Picky), signatures={"c": Signature.of("f8", {})})


def test_sizes_hold_unless_declared_free() -> None:
    with open_node("identity") as node:
        node(np.zeros(3))
        with pytest.raises(FrameError, match=r"with -1"):
            node(np.zeros(4))
    free = {"frame": Signature.of("f8", {"sample": -1})}
    with open_node("identity", signatures=free) as node:
        assert [len(node(np.zeros(n))) for n in (3, 0, 4)] == [3, 0, 4]


@pytest.mark.parametrize(("name", "dtype"), [("x", "f8"), ("data", "f4")])
def test_a_frame_unlike_the_last_is_looked_at_again(name: str, dtype: str) -> None:
    with open_node("identity") as node:
        for _ in range(2):
            node(Frame.of(np.zeros(3)))
        with pytest.raises(FrameError):
            node(Frame(Header(), {name: np.zeros(3, dtype)}))


def test_what_goes_wrong_inside_names_node_and_frame() -> None:
    with open_node(own(Free), name="torn") as node:
        with pytest.raises(NodeError, match="'torn' at seq 0: OSError"):
            node(B)
        frame = Frame(Header("", 7), {"data": B.copy()})
        with pytest.raises(NodeError, match="at seq 7"):
            node(frame)


class Careless(Node[PickyConfig]):
    """Goes on writing into what it gave, and changes what it was given."""

    def accept(self, x: Signature) -> Signature:
        return x

    def open(self, device: str) -> None:
        self.buffer = np.zeros(3)

    def process(self, x: Frame) -> Frame:
        if x.data[0] > 0:
            x.data.sort()
        self.buffer += x.data
        return x.with_data(self.buffer)


def test_writing_into_a_frozen_array_is_told_the_cure() -> None:
    with open_node(own(Careless)) as node:
        node(np.zeros(3))
        for given in (np.zeros(3), np.ones(3)):
            with pytest.raises(NodeError, match=r"read-only .*go on with a copy$"):
                node(given)


class Scalar(Node[PickyConfig]):
    """Gives a NumPy scalar for an array, which is its own fault, not the frame's."""

    def accept(self, x: Signature) -> Signature:
        return Signature.of("f8", {})

    def process(self, x: Frame) -> Frame:
        return x.with_data(x.data.sum())


def test_a_node_that_gives_no_array_is_told_so_and_is_not_spared_the_frame() -> None:
    told = pytest.raises(NodeError, match=r"FrameError: .*pass np\.asarray")
    with open_node(own(Scalar)) as node, told:
        node(np.ones(3))


class Curious(Node[PickyConfig]):
    """Asks a signature for what it has not."""

    def accept(self, x: Signature) -> Signature:
        return x.dims  # type: ignore[attr-defined,no-any-return]

    def process(self, x: Frame) -> Frame:
        return x


def test_a_signature_is_called_one_in_messages() -> None:
    told = pytest.raises(AttributeError, match="'Signature' object has no attribute")
    with open_node(own(Curious)) as node, told:
        node(np.ones(3))


def test_a_frame_of_several_arrays_is_a_dict_of_them() -> None:
    signature = Signature.of_frame(Frame(Header(), {"x": B.copy(), "y": A.copy()}))
    with open_node("identity", signatures={"frame": signature}) as node:
        made = node({"x": B, "y": A})
    assert list(made) == ["x", "y"] and not made["x"].flags.writeable


def test_a_source_is_called_or_iterated_until_its_stream_ends() -> None:
    with open_node(own(Hesitant)) as source:
        first = source()
        assert (first.header.stream, first.header.seq, first.data) == ("node:out", 0, 2)
        assert [frame.data for frame in source] == [4, 6]
        with pytest.raises(EndOfStream):
            source()


def test_closing_comes_once_and_for_all() -> None:
    source = open_node(own(Hesitant))
    source.close()
    source.close()
    assert source.node.closed == 1  # type: ignore[attr-defined]
    assert list(source.finish()) == []
    with pytest.raises(PlacementError, match="closed"):
        source()
    open_node("ekf", model="lorenz").close()
