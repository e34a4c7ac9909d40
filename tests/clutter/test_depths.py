"""Graphs cut at their outputs: the same answers, and nothing else computed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamproc.artifact import Session
from streamproc.clutter.depths import cut
from streamproc.errors import ArtifactError
from streamproc.frame import Array

onnx = pytest.importorskip("onnx")
tiny = pytest.importorskip("tests.clutter.tiny", exc_type=ImportError)


def names(depth: int) -> tuple[str, ...]:
    return tuple(f"{name}_{depth}" for name in ("sparse", "tissue", "basis"))


def feeds() -> dict[str, Array]:
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(tiny.WINDOW, tiny.RANK)))[0]
    image = rng.normal(size=(tiny.WINDOW, 2, 6, 7)).astype(np.float32) * 4
    return {
        "image": image,
        "sparse": np.zeros_like(image),
        "basis": np.hstack([basis, 0 * basis]).astype(np.float32),
    }


def live_feeds() -> dict[str, Array]:
    rng = np.random.default_rng(1)
    sizes = {"recent": tiny.RECENT, "hear": tiny.MEMORY.rank, "say": tiny.MEMORY.rank}
    return {
        name: rng.normal(size=(count, 2, 6, 7)).astype(np.float32)
        for name, count in sizes.items()
    }


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_cut_graph_gives_what_the_whole_one_gives(depth: int) -> None:
    model = tiny.model()
    part = cut(model, names(depth))
    onnx.checker.check_model(onnx.load_from_string(part))
    session = Session(part, "part")
    assert tuple(session.outputs) == names(depth)
    assert set(session.inputs) == set(feeds())
    every = {**feeds(), **live_feeds()}
    whole = Session(model, "whole").run(names(depth), every)
    for got, expected in zip(session.run(names(depth), feeds()), whole, strict=True):
        np.testing.assert_array_equal(got, expected)
    assert got is not None and whole[0].any()
    assert len(part) < len(model)


@pytest.mark.parametrize("depth", [1, 2])
def test_a_branch_needs_no_inputs_of_the_other(depth: int) -> None:
    model = tiny.model()
    outputs = tuple(f"live_{name}_{depth}" for name in ("sparse", "tissue"))
    part = cut(model, outputs)
    onnx.checker.check_model(onnx.load_from_string(part), full_check=True)
    session = Session(part, "part")
    assert set(session.inputs) == {"recent", "hear", "say"}
    every = {**feeds(), **live_feeds()}
    whole = Session(model, "whole").run(outputs, every)
    for got, expected in zip(session.run(outputs, live_feeds()), whole, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-3)
    assert whole[0].any()


@pytest.mark.parametrize("spoil", [1, 2, 3])
def test_layers_behind_are_not_computed(spoil: int) -> None:
    model = tiny.model(spoil=spoil)
    for depth in (1, 2, 3):
        session = Session(cut(model, names(depth)), "part")
        if depth < spoil:
            session.run(names(depth), feeds())
        else:
            with pytest.raises(Exception, match="Gather"):
                session.run(names(depth), feeds())


def branching() -> bytes:
    """y = x + held if x > 0 else x, the constant read only inside the branch."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT

    def port(name: str, *shape: Any) -> Any:
        return helper.make_tensor_value_info(name, kind, shape)

    def branch(*nodes: Any) -> Any:
        return helper.make_graph(nodes, "branch", [], [port("inner", 1)])

    yes = branch(helper.make_node("Add", ["x", "held"], ["inner"]))
    no = branch(helper.make_node("Identity", ["x"], ["inner"]))
    nodes = [
        helper.make_node("Greater", ["x", "zero"], ["above"]),
        helper.make_node("Squeeze", ["above"], ["chosen"]),
        helper.make_node("If", ["chosen"], ["y"], then_branch=yes, else_branch=no),
        helper.make_node("Neg", ["unneeded"], ["other"]),
    ]
    held = [
        onnx.numpy_helper.from_array(np.array([value], np.float32), name)
        for name, value in (("held", 5), ("zero", 0), ("unneeded", 1))
    ]
    graph = helper.make_graph(
        nodes, "branching", [port("x", 1)], [port("y", 1), port("other", 1)], held
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    return bytes(model.SerializeToString())


def test_what_is_read_inside_a_branch_is_kept() -> None:
    part = cut(branching(), ("y",))
    assert b"held" in part and b"unneeded" not in part
    session = Session(part, "branching")
    for x, y in ((1.0, 6.0), (-1.0, -1.0)):
        (got,) = session.run(("y",), {"x": np.array([x], np.float32)})
        assert got == y


def test_outputs_that_are_not_there_are_refused() -> None:
    with pytest.raises(ArtifactError, match="outputs \\['sparse_9'\\], got"):
        cut(tiny.model(), ("sparse_9",))


@pytest.mark.parametrize("model", [b"\x3a\xff\xff\x01", b"\x3c\x00", b"\xff" * 11])
def test_what_is_no_graph_is_refused(model: bytes) -> None:
    with pytest.raises(ArtifactError, match="expected an ONNX graph"):
        cut(model, ("y",))
