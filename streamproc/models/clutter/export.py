"""The clutter filter as an ONNX graph: no SVD inside, state in and out.

Two branches, each with an answer at every depth k = 1, 2, ...:

    image (T, 2, Z, X), sparse (T, 2, Z, X), basis (T, 2 r)
        -> sparse_k, tissue_k (T, 2, Z, X), basis_k (T, 2 r)        whole windows
    recent (F, 2, Z, X), hear (R, 2, Z, X), say (R, 2, Z, X)
        -> live_sparse_k, live_tissue_k (1, 2, Z, X)                the newest frame
for any Z and X, everything float32. A complex column of the basis is two columns: its
real part, and r further on its imaginary part.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from streamproc.frame import Array
from streamproc.models.clutter import weights as beside
from streamproc.models.clutter.graph import Graph, Shape
from streamproc.models.clutter.network import (
    FLOOR,
    TINY,
    Corona,
    Layer,
    LayerConfig,
    Live,
    Unfolded,
)

TURN = np.array([[0.0, -1.0], [1.0, 0.0]])  # i times a complex number


def export(network: Corona, live: Live, rank: int) -> bytes:
    """The graph of two networks. rank: R, of the subspace that `live` is given."""
    graph = Graph()
    inputs: dict[str, Shape] = {}
    outputs: dict[str, Shape] = {}
    images = (2, "height", "width")
    config = network.config
    frames, columns = config.window, 2 * config.rank
    inputs |= {"image": (frames, *images), "sparse": (frames, *images)}
    inputs |= {"basis": (frames, columns)}
    for k in range(1, config.layers + 1):
        outputs |= {f"sparse_{k}": (frames, *images), f"tissue_{k}": (frames, *images)}
        outputs |= {f"basis_{k}": (frames, columns)}
    _unfold_windows(graph, network)
    recent, followed = (live.config.recent, *images), (rank, *images)
    inputs |= {"recent": recent, "hear": followed, "say": followed}
    for k in range(1, live.config.layers + 1):
        outputs |= {f"live_sparse_{k}": (1, *images), f"live_tissue_{k}": (1, *images)}
    _unfold_live(graph, live, rank)
    model = graph.model(inputs, outputs)
    beside.keep(model, network, live)
    return bytes(model.SerializeToString())


def _unfold_windows(graph: Graph, network: Corona) -> None:
    window = _Windows(graph, network)
    for k, layer in enumerate(_layers(network)):
        made = window.layer(layer, network.config.ranks[k])
        for name, value in zip(("sparse", "tissue", "basis"), made, strict=True):
            graph.name(value, f"{name}_{k + 1}")


def _unfold_live(graph: Graph, live: Live, rank: int) -> None:
    newest = _Newest(graph, live, rank)
    for k, layer in enumerate(_layers(live)):
        for name, value in zip(("sparse", "tissue"), newest.layer(layer), strict=True):
            graph.name(value, f"live_{name}_{k + 1}")


def _layers(network: Unfolded) -> list[Layer]:
    return [layer for layer in network.layers if isinstance(layer, Layer)]


class _Branch(ABC):
    """What both branches share: everything but the tissue.

    Inside, images are rows: (2 T, P), real and imaginary parts in turn.

    frames: that are estimated.
    """

    def __init__(
        self, graph: Graph, config: LayerConfig, first: str, frames: int
    ) -> None:
        self.g, self.frames = graph, frames
        self._config = config
        self.sizes = graph.add("Shape", first, start=2)
        self._hidden: str | None = None
        self.image = self.sparse = ""  # rows

    def like_images(self, x: str, *leading: int) -> str:
        """With the height and width of this branch's images behind these sizes."""
        sizes = self.g.constant(np.array(leading))
        shape = self.g.add("Concat", sizes, self.sizes, axis=0)
        return self.g.add("Reshape", x, shape)

    @abstractmethod
    def tissue(self, clean: str) -> str:
        """Of images without bubbles, rows."""

    @abstractmethod
    def around(self, levels: list[str]) -> list[str]:
        """Other frames' planes that gates see."""

    def unfold(self, layer: Layer) -> tuple[str, str]:
        """Bubbles and tissue (T, 2, Z, X)."""
        g = self.g
        tissue = self.tissue(g.add("Sub", self.image, self.sparse))
        seen = self.filtered(layer, g.add("Sub", self.image, tissue), self.frames)
        gates = self._gates(layer, seen, tissue)
        self.sparse = self._gated(gates, seen)
        for step in layer.step.detach().numpy():
            tissue = self.tissue(g.add("Sub", self.image, self.sparse))
            rest = g.add("Sub", self.image, tissue)
            again = self._gated(gates, self.filtered(layer, rest, self.frames))
            change = g.add("Sub", again, self.sparse)
            change = g.add("Mul", change, g.constant(step))
            self.sparse = g.add("Add", self.sparse, change)
        sparse, tissue = (
            self.like_images(x, self.frames, 2) for x in (self.sparse, tissue)
        )
        return sparse, tissue

    def filtered(
        self, layer: Layer, rest: str, frames: int, only_last: bool = False
    ) -> list[str]:
        """Each kernel's images (1, 2 T, Z, X)."""
        kernels, parts = layer.kernels, 2 * frames
        images = self.like_images(rest, 1, parts)
        pads = [kernels.taps // 2] * 4
        made = []
        for z, x in list(zip(kernels.z, kernels.x, strict=True))[-only_last:]:
            # Conv correlates, as the banded matrices of the network do; frames as
            # channels, each for itself, are what ONNX Runtime is quickest at
            tap = (z[:, None] * x[None]).detach().numpy()
            weight = self.g.constant(np.broadcast_to(tap, (parts, 1, *tap.shape)))
            made.append(self.g.add("Conv", images, weight, pads=pads, group=parts))
        return made

    def log_level(self, images: str, frames: int) -> str:
        """log power (T, 1, Z, X); halves of it are folded into the weights."""
        g = self.g
        parts = self.like_images(images, frames, 2)
        axis = g.constant(np.array([1]))
        power = g.add("ReduceSum", g.add("Mul", parts, parts), axis, keepdims=1)
        if self._config.pooled:
            pool = {"kernel_shape": [2, 2], "strides": [2, 2], "pads": [0, 0, 1, 1]}
            power = g.add("AveragePool", power, **pool, count_include_pad=1)
        return g.add("Log", g.add("Add", power, g.constant(FLOOR)))

    def _gates(self, layer: Layer, seen: list[str], tissue: str) -> list[str]:
        """(T, 1, Z, X) for each kernel."""
        g, config = self.g, self._config
        levels = [self.log_level(images, self.frames) for images in seen]
        planes = [*levels, *self.around(levels)]
        planes += [self.log_level(x, self.frames) for x in (tissue, self.sparse)]
        x = g.add("Concat", *planes, axis=1)
        coarse = {} if config.pooled else {"pads": [2, 2, 3, 3], "strides": [2, 2]}
        x = self._convolved(x, layer.encode, self._folded(), **coarse)
        if layer.middle is not None:
            if self._hidden is not None:
                x = g.add("Concat", x, self._hidden, axis=1)
            x = self._hidden = self._convolved(x, layer.middle)
        weight, bias = _constants(g, layer.head)
        x = g.add("Conv", x, weight, bias, pads=[config.head // 2] * 4)
        x = g.add("DepthToSpace", x, blocksize=2, mode="CRD")
        corner, axes = g.constant(np.zeros(2, np.int64)), g.constant(np.array([2, 3]))
        x = g.add("Slice", x, corner, self.sizes, axes)  # where a size is odd
        gain = layer.gain.detach().numpy().reshape(1, -1, 1, 1)
        x = g.add("Mul", g.add("Sigmoid", x), g.constant(gain))
        return g.split(x, 1, (1,) * len(seen)) if len(seen) > 1 else [x]

    def _folded(self) -> Array:
        """What log powers are to be multiplied with, plane by plane."""
        halves = np.full(self._config.features, 0.5)
        halves[-2] = 0.25
        return halves[None, :, None, None]

    def _convolved(
        self, x: str, layer: Any, fold: Array | float = 1.0, **attributes: Any
    ) -> str:
        """A convolution at half the resolution, and its rectifier."""
        weight, bias = _constants(self.g, layer, fold)
        attributes = {"pads": [1] * 4, **attributes}
        return self.g.add("Relu", self.g.add("Conv", x, weight, bias, **attributes))

    def _gated(self, gates: list[str], seen: list[str]) -> str:
        """sum_j g_j Y_j, rows."""
        g, total = self.g, ""
        for gate, images in zip(gates, seen, strict=True):
            one = g.add("Mul", gate, self.like_images(images, self.frames, 2))
            total = g.add("Add", total, one) if total else one
        return g.reshaped(total, 2 * self.frames, -1)


class _Windows(_Branch):
    """A complex vector over frames is a real one (2 T,), parts in turn; `turn` times
    it is i times it.
    """

    def __init__(self, graph: Graph, network: Corona) -> None:
        config = network.config
        frames, rank = config.window, config.rank
        super().__init__(graph, config, "image", frames)
        g = self.g
        self._offsets, self._reach = config.offsets, config.context
        self._rank = rank
        self._turn = g.constant(np.kron(np.eye(frames), TURN))
        self.image = g.reshaped("image", 2 * frames, -1)
        self.sparse = g.reshaped("sparse", 2 * frames, -1)
        self._basis = g.reshaped("basis", 2 * frames, rank)
        self._both = ""

    def layer(self, layer: Layer, rank: int) -> tuple[str, str, str]:
        self._follow(self.g.add("Sub", self.image, self.sparse), rank)
        sparse, tissue = self.unfold(layer)
        return sparse, tissue, self.g.reshaped(self._basis, self.frames, -1)

    def tissue(self, clean: str) -> str:
        heard = self.g.add("Gemm", self._both, clean, transA=1)
        return self.g.add("MatMul", self._both, heard)

    def around(self, levels: list[str]) -> list[str]:
        """Frames before and after, zeros where the window has none."""
        g, reach = self.g, self._reach
        if not reach:
            return []
        pads = np.array([reach, 0, 0, 0, reach, 0, 0, 0])
        padded = g.add("Pad", levels[-1], g.constant(pads))
        starts = (reach + offset for offset in self._offsets)
        return [g.rows(padded, start, start + self.frames) for start in starts]

    def _follow(self, clean: str, rank: int) -> None:
        """One orthogonal iteration of the basis on D - S."""
        g = self.g
        leading, rest = self._basis, ""
        if rank < self._rank:
            leading, rest = g.split(self._basis, 1, (rank, self._rank - rank))
        both = g.add("Concat", leading, g.add("MatMul", self._turn, leading), axis=1)
        weights = g.add("Gemm", both, clean, transA=1)  # V^H X, real then imaginary
        products = g.add("Gemm", clean, weights, transB=1)
        re, im = g.split(products, 1, (rank, rank))
        powered = g.add("Sub", re, g.add("MatMul", self._turn, im))
        leading = self._orthonormal(powered, rank)
        self._basis = g.add("Concat", leading, rest, axis=1) if rest else leading

    def _orthonormal(self, columns: str, rank: int) -> str:
        """Modified Gram-Schmidt, twice; kept with i times each column."""
        g = self.g
        done: list[str] = []
        turned: list[str] = []
        parts = g.split(columns, 1, (1,) * rank) if rank > 1 else [columns]
        for column in parts:
            if done:
                before = g.add("Concat", *done, *turned, axis=1)
                for _ in range(2):
                    part = g.add("Gemm", before, column, transA=1)
                    column = g.add("Sub", column, g.add("MatMul", before, part))
            norm = g.add("ReduceL2", column, axes=[0], keepdims=1)
            column = g.add("Div", column, g.add("Add", norm, g.constant(TINY)))
            done.append(column)
            turned.append(g.add("MatMul", self._turn, column))
        self._both = g.add("Concat", *done, *turned, axis=1)
        return g.add("Concat", *done, axis=1) if rank > 1 else done[0]


class _Newest(_Branch):
    """Tissue by the rows that are followed: conj(hear) x is two real products."""

    def __init__(self, graph: Graph, live: Live, rank: int) -> None:
        config = live.config
        super().__init__(graph, config, "recent", 1)
        g, count = self.g, config.recent
        self._hear, self._say = (g.reshaped(x, 2 * rank, -1) for x in ("hear", "say"))
        self._rank = rank
        rows = g.reshaped("recent", 2 * count, -1)
        self.image = g.rows(rows, 2 * count - 2, 2 * count)
        self.sparse = g.add("Sub", self.image, self.image)
        self._past: list[str] = []
        if count > 1:
            self._past = [self._levels(_layers(live)[0], rows, count - 1)]

    def layer(self, layer: Layer) -> tuple[str, str]:
        return self.unfold(layer)

    def around(self, levels: list[str]) -> list[str]:
        return self._past

    def tissue(self, clean: str) -> str:
        return self._tissue(clean, 1)

    def _tissue(self, clean: str, frames: int) -> str:
        """sum_k say_k (conj(hear_k) x), rows (2 T, P)."""
        g, rank = self.g, self._rank
        products = g.add("Gemm", clean, self._hear, transB=1)  # (2 T, 2 R) real ones
        parts = g.reshaped(products, frames, 2, rank, 2)
        # Re = re re + im im, Im = im re - re im of x and hear
        mix = np.zeros((4, 2))
        mix[0, 0] = mix[3, 0] = 1.0
        mix[2, 1], mix[1, 1] = 1.0, -1.0
        parts = g.add("Transpose", parts, perm=[0, 2, 1, 3])  # (T, R, part x, part h)
        parts = g.reshaped(parts, frames * rank, 4)
        heard = g.add("MatMul", parts, g.constant(mix))  # (T R, 2)
        return self._said(heard, frames)

    def _said(self, heard: str, frames: int) -> str:
        """Complex weights (T R, 2) times the rows of `say`."""
        g, rank = self.g, self._rank
        # weights of re and im of say, for each part of the answer
        spread = np.array([[1.0, 0, 0, 1.0], [0, -1.0, 1.0, 0]])
        weights = g.add("MatMul", heard, g.constant(spread))  # (T R, part, part say)
        weights = g.reshaped(weights, frames, rank, 2, 2)
        weights = g.add("Transpose", weights, perm=[0, 2, 1, 3])
        weights = g.reshaped(weights, 2 * frames, 2 * rank)
        return g.add("MatMul", weights, self._say)

    def _levels(self, first: Layer, rows: str, frames: int) -> str:
        """Of the frames before the newest, as planes of it (1, F - 1, Z, X)."""
        g = self.g
        before = g.rows(rows, 0, 2 * frames)
        rest = g.add("Sub", before, self._tissue(before, frames))
        seen = self.filtered(first, rest, frames, only_last=True)[0]
        level = self.log_level(seen, frames)
        return g.add("Transpose", level, perm=[1, 0, 2, 3])


def _constants(g: Graph, layer: Any, fold: Array | float = 1.0) -> tuple[str, str]:
    weight, bias = (one.detach().numpy() for one in (layer.weight, layer.bias))
    return g.constant(weight * np.float32(fold)), g.constant(bias)
