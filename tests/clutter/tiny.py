"""Makes tests/artifacts/tiny-corona: `python -m tests.clutter.tiny`. Nothing learned.

Each layer takes tissue of the given components from image - sparse, and what is above
1.5 times the noise for bubbles: robust PCA by Gauss-Seidel, of windows and live.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from streamproc.artifact import write_artifact
from streamproc.card import (
    ClutterCard,
    MemoryTable,
    NmseRow,
    PortRow,
    TrainingTable,
)

FOLDER = Path(__file__).parents[1] / "artifacts" / "tiny-corona"
WINDOW, RANK, LAYERS, TILE = 8, 2, 3, 16
RECENT, LIVE_LAYERS = 4, 2
MEMORY = MemoryTable(
    rank=5, forget=0.95, threshold=1.2, smooth_z_px=0.6, smooth_x_px=0.9, tile_px=16
)
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


def images(g: Graph, real: str, imaginary: str, like: str) -> str:
    """Planes (frame, 2, z, x) from parts (frame, pixel)."""
    flat = [g("Unsqueeze", one, "columns") for one in (real, imaginary)]
    return g("Reshape", g("Concat", *flat, axis=1), g("Shape", like))


def shrunk(g: Graph, image: str, tissue: str, to: str) -> str:
    """What is no tissue, less the threshold."""
    left = g("Sub", image, tissue)
    energy = g("ReduceSum", g("Mul", left, left), "columns", keepdims=1)
    size = g("Max", g("Sqrt", energy), "tiny")
    kept = g("Relu", g("Sub", "one", g("Div", "threshold", size)))
    return g("Mul", left, kept, to=to)


def whole_layer(g: Graph, number: int, sparse: str) -> str:
    """Outputs of a layer, from the estimate of the one before; its own."""
    basis = tuple(
        g("Slice", "basis", g.held(f"from{n}", [n * RANK], np.int64),
          g.held(f"to{n}", [(n + 1) * RANK], np.int64), "columns")
        for n in (0, 1)
    )  # fmt: skip
    turned = tuple(g("Transpose", one, perm=[1, 0]) for one in basis)
    conjugate = turned[0], g("Neg", turned[1])
    rest = parts(g, g("Sub", "image", sparse))
    low = product(g, basis, product(g, conjugate, rest))  # type: ignore[arg-type]
    tissue = images(g, *low, "image")
    g("Identity", tissue, to=f"tissue_{number}")
    g("Identity", "basis", to=f"basis_{number}")
    return shrunk(g, "image", tissue, f"sparse_{number}")


def live_layer(g: Graph, number: int, newest: str, sparse: str) -> str:
    """Likewise of the newest image, whose tissue is  say^T (conj(hear) x)."""
    real, imaginary = parts(g, g("Sub", newest, sparse) if sparse else newest)
    rest = tuple(g("Transpose", one, perm=[1, 0]) for one in (real, imaginary))
    hear, say = parts(g, "hear"), parts(g, "say")
    weights = product(g, (hear[0], g("Neg", hear[1])), rest)  # type: ignore[arg-type]
    turned = tuple(g("Transpose", one, perm=[1, 0]) for one in weights)
    tissue = images(g, *product(g, turned, say), newest)  # type: ignore[arg-type]
    g("Identity", tissue, to=f"live_tissue_{number}")
    return shrunk(g, newest, tissue, f"live_sparse_{number}")


def model(
    layers: int = LAYERS, spoil: int = 0, live_layers: int = LIVE_LAYERS
) -> bytes:
    """The graph. spoil: a layer whose nodes fail when they run."""
    g = Graph()
    for name, value in {"threshold": THRESHOLD, "one": 1.0, "tiny": TINY}.items():
        g.held(name, value)
    for name, at in {"frames": [0], "columns": [1], "end": [RECENT]}.items():
        g.held(name, at, np.int64)
    sparse = "sparse"
    for number in range(1, layers + 1):
        if number == spoil:
            far = g.held("far", [1 << 20], np.int64)
            sparse = g("Add", sparse, g("Gather", sparse, far, axis=0))
        sparse = whole_layer(g, number, sparse)
    if live_layers:
        last = g.held("last", [RECENT - 1], np.int64)
        newest, sparse = g("Slice", "recent", last, "end", "frames"), ""
        for number in range(1, live_layers + 1):
            sparse = live_layer(g, number, newest, sparse)
    ports = signature(layers, live_layers)
    made = helper.make_model(
        helper.make_graph(g.nodes, "tiny", *ports, list(g.constants.values())),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR,
    )
    onnx.checker.check_model(made)
    return bytes(made.SerializeToString())


def signature(layers: int, live_layers: int) -> tuple[list[Any], list[Any]]:
    """Inputs and outputs of the graph."""

    def port(name: str, *shape: Any) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    def planes(name: str, frames: int) -> Any:
        return port(name, frames, 2, "Z", "X")

    inputs = [
        planes("image", WINDOW),
        planes("sparse", WINDOW),
        port("basis", WINDOW, 2 * RANK),
    ]
    outputs = []
    for number in range(1, layers + 1):
        outputs += [planes(f"{name}_{number}", WINDOW) for name in ("sparse", "tissue")]
        outputs.append(port(f"basis_{number}", WINDOW, 2 * RANK))
    if live_layers:
        inputs.append(planes("recent", RECENT))
        inputs += [planes(name, MEMORY.rank) for name in ("hear", "say")]
    for number in range(1, live_layers + 1):
        outputs += [planes(f"live_{n}_{number}", 1) for n in ("sparse", "tissue")]
    return inputs, outputs


def rows(names: list[str]) -> tuple[PortRow, ...]:
    """Ports as a card has them."""
    made = []
    for name in names:
        basis = name.startswith("basis")
        shape = (2 * RANK,) if basis else (2, 0, 0)
        noise = not basis and name not in ("hear", "say")
        made.append(PortRow(name=name, shape=shape, unit=("noise",) if noise else ()))
    return tuple(made)


def card(live_layers: int = LIVE_LAYERS, **changes: Any) -> ClutterCard:
    inputs, outputs = signature(LAYERS, live_layers)
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
        "inputs": rows([port.name for port in inputs]),
        "outputs": rows([port.name for port in outputs]),
        "window": WINDOW,
        "rank": RANK,
        "layers": LAYERS,
        "tile": TILE,
        "recent": RECENT,
        "live_layers": live_layers,
        "memory": MEMORY if live_layers else None,
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
