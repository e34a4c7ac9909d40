"""Makes tests/artifacts/tiny-corona: `python -m tests.clutter.tiny`. Nothing learned.

Each layer takes tissue of the given basis from image - sparse, and what is above 1.5
times the noise in the active frames for bubbles: robust PCA by Gauss-Seidel.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from streamproc.artifact import write_artifact
from streamproc.card import ClutterCard, NmseRow, PortRow, TrainingTable

FOLDER = Path(__file__).parents[1] / "artifacts" / "tiny-corona"
WINDOW, RANK, LAYERS, TILE = 8, 2, 3, 16
THRESHOLD, TINY = 1.5, 1e-12
OPSET, IR = 17, 8


class Graph:
    """Nodes and constants, named as they come."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}

    def __call__(self, op: str, *inputs: str, to: str = "", **attributes: Any) -> str:
        name = to or f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], **attributes))
        return name

    def held(self, name: str, value: Any, dtype: Any = np.float32) -> str:
        array = np.array(value, dtype)
        self.constants[name] = numpy_helper.from_array(array, name)
        return name


def parts(g: Graph, planes: str) -> tuple[str, str]:
    """Real and imaginary parts (frame, pixel) of planes (frame, 2, z, x)."""
    whole = g("Reshape", planes, g.held("planar", [0, 2, -1], np.int64))
    return tuple(  # type: ignore[return-value]
        g("Gather", whole, g.held(f"part{n}", n, np.int64), axis=1) for n in (0, 1)
    )


def product(g: Graph, a: tuple[str, str], b: tuple[str, str]) -> tuple[str, str]:
    """Of complex matrices."""
    (ar, ai), (br, bi) = a, b
    real = g("Sub", g("MatMul", ar, br), g("MatMul", ai, bi))
    return real, g("Add", g("MatMul", ar, bi), g("MatMul", ai, br))


def layer(g: Graph, number: int, sparse: str, prefix: str = "") -> str:
    """Outputs of a layer, from the estimate of the one before; its own, full."""
    begin = f"{prefix}first"
    basis = tuple(
        g("Slice", "basis", g.held(f"from{n}", [n * RANK], np.int64),
          g.held(f"to{n}", [(n + 1) * RANK], np.int64), "columns")
        for n in (0, 1)
    )  # fmt: skip
    turned = tuple(g("Transpose", one, perm=[1, 0]) for one in basis)
    conjugate = turned[0], g("Neg", turned[1])
    rest = parts(g, g("Sub", "image", sparse))
    low = product(g, basis, product(g, conjugate, rest))  # type: ignore[arg-type]
    flat = [g("Unsqueeze", one, "columns") for one in low]
    tissue = g("Reshape", g("Concat", *flat, axis=1), g("Shape", "image"))
    active = [g("Slice", one, begin, "end", "frames") for one in ("image", tissue)]
    left = g("Sub", *active)
    energy = g("ReduceSum", g("Mul", left, left), "columns", keepdims=1)
    size = g("Max", g("Sqrt", energy), "tiny")
    kept = g("Relu", g("Sub", "one", g("Div", "threshold", size)))
    found = g("Mul", left, kept, to=f"{prefix}sparse_{number}")
    g("Identity", active[1], to=f"{prefix}tissue_{number}")
    g("Identity", "basis", to=f"{prefix}basis_{number}")
    before = g("Slice", sparse, "begin", begin, "frames")
    return g("Concat", before, found, axis=0)


def model(layers: int = LAYERS, spoil: int = 0, active: int = 0) -> bytes:
    """The graph. spoil: a layer whose nodes fail when they run.

    active: newest frames of outputs named new_, of a graph without the input first.
    """
    g = Graph()
    for name, value in {"threshold": THRESHOLD, "one": 1.0, "tiny": TINY}.items():
        g.held(name, value)
    ends = {"begin": [0], "end": [1 << 40], "frames": [0], "columns": [1]}
    for name, value in ends.items():
        g.held(name, value, np.int64)
    if active:
        g.held("first", [0], np.int64)
        g.held("new_first", [WINDOW - active], np.int64)
    for prefix in ("", "new_") if active else ("",):
        sparse = "sparse"
        for number in range(1, layers + 1):
            if number == spoil:
                far = g("Add", "first", g.held("far", [1 << 20], np.int64))
                lost = g("Gather", sparse, far, axis=0)
                sparse = g("Add", sparse, lost)
            sparse = layer(g, number, sparse, prefix)
    made = helper.make_model(
        helper.make_graph(
            g.nodes, "tiny", *signature(layers, active), list(g.constants.values())
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR,
    )
    onnx.checker.check_model(made)
    return bytes(made.SerializeToString())


def signature(layers: int, active: int) -> tuple[list[Any], list[Any]]:
    """Inputs and outputs of the graph."""

    def port(name: str, *shape: Any) -> Any:
        kind = TensorProto.INT64 if name == "first" else TensorProto.FLOAT
        return helper.make_tensor_value_info(name, kind, shape)

    inputs = [
        port("image", WINDOW, 2, "Z", "X"),
        port("sparse", WINDOW, 2, "Z", "X"),
        port("basis", WINDOW, 2 * RANK),
        port("first", 1),
    ]
    outputs = []
    for prefix in ("", "new_") if active else ("",):
        for number in range(1, layers + 1):
            outputs += [
                port(f"{prefix}sparse_{number}", f"{prefix}A", 2, "Z", "X"),
                port(f"{prefix}tissue_{number}", f"{prefix}A", 2, "Z", "X"),
                port(f"{prefix}basis_{number}", WINDOW, 2 * RANK),
            ]
    return inputs[: 3 if active else 4], outputs


def card(active: int = 0, **changes: Any) -> ClutterCard:
    images = PortRow(name="image", shape=(2, 0, 0), unit=("noise",))
    basis = PortRow(name="basis", shape=(2 * RANK,))
    outputs = [
        PortRow(name=f"{prefix}{name}_{number}", shape=row.shape, unit=row.unit)
        for prefix in (("", "new_") if active else ("",))
        for number in range(1, LAYERS + 1)
        for name, row in (("sparse", images), ("tissue", images), ("basis", basis))
    ]
    sparse = PortRow(name="sparse", shape=images.shape, unit=images.unit)
    values = {
        "name": "tiny-corona",
        "package": "0.1.0",
        "sha256": "0" * 64,
        "known_failures": ("It was never trained.",),
        "training": TrainingTable(
            recipe="none",
            seed=0,
            split="train",
            command="python -m tests.clutter.tiny",
            minutes=0.0,
            iterations=0,
        ),
        "inputs": (images, sparse, basis, PortRow(name="first", shape=()))[
            : 3 if active else 4
        ],
        "active": active,
        "outputs": tuple(outputs),
        "window": WINDOW,
        "rank": RANK,
        "layers": LAYERS,
        "tile": TILE,
        "guard_limit": 0.55,
        "guard_mean": 0.1,
        "guard_std": 0.05,
        "metrics": (
            NmseRow(
                case="none",
                row="corona",
                nmse_db=-1.5,
                gain_db=0.25,
                low_db=0.125,
                high_db=0.5,
                patches=2,
            ),
        ),
        **changes,
    }
    return ClutterCard(**values)


def main() -> None:
    write_artifact(FOLDER, card(), model())


if __name__ == "__main__":
    main()
