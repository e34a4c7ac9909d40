"""KalmanNet's weights laid out for its Numba step: one run of f4, one plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from streamproc.errors import ArtifactError
from streamproc.filters import kalmannet_step as steps
from streamproc.frame import Array

VECTOR = 16  # f4 in a vector of 64 bytes
ORDER = {
    1: ("head", "head_factor", "fc_gain", "fc_in", "gru", "gru_u", "fc_out"),
    2: (
        *("head", "head_factor", "fc_gain", "fc5", "gru_q", "gru_q_u", "fc6"),
        *("gru_sigma", "gru_sigma_u", "fc1", "fc7", "gru_s", "gru_s_u"),
        *("fc2", "fc3", "fc4"),
    ),
}  # of layers after sizes and scales, as `kalmannet_step` counts them
TALL = ("fc_gain", "head_factor")


class Scales(NamedTuple):
    """Typical sizes, by which features are divided and outputs multiplied."""

    observation: Sequence[float]  # (m)
    evolution: Sequence[float]  # (n)
    error: Sequence[float]  # (n)
    center: Sequence[float]  # (n): of x, where the network is told of f(x)
    spread: Sequence[float]  # (n)

    def ratio(self) -> Array:
        """Unit of the gain's entries, (n, m)."""
        error, look = np.array(self.error), np.array(self.observation)
        return np.asarray(error[:, None] / look)


class Planned(NamedTuple):
    """Weights (f4, starting at a cache line) and where each layer's stand."""

    w: Array
    plan: Array


class States(NamedTuple):
    """Recurrent states of a track by name: real sizes and first values."""

    sizes: dict[str, int]
    first: dict[str, Array]


def architecture_of(weights: Mapping[str, Array]) -> int:
    return 1 if "gru.w" in weights else 2


def first_states(weights: Mapping[str, Array]) -> States:
    """Identity matrices for P and S, as the paper starts them; zeros for #1."""
    if architecture_of(weights) == 1:
        size = weights["gru.u"].shape[0]
        return States({"h": size}, {"h": np.zeros(size, np.float32)})
    layers = {"h_q": "gru_q", "h_sigma": "gru_sigma", "h_s": "gru_s"}
    sizes = {name: weights[f"{gru}.u"].shape[0] for name, gru in layers.items()}
    eyes = {
        k: np.eye(round(v**0.5), dtype=np.float32).ravel() for k, v in sizes.items()
    }
    return States(sizes, eyes)


def padded(size: int, to: int = VECTOR) -> int:
    return -(-size // to) * to


class Network(NamedTuple):
    """A network as data. weights: as it names them, `fc5.w` (in, out), `gru_q.u`, ...

    position: components of f(x) that it is told.
    """

    weights: Mapping[str, Array]
    scales: Scales
    position: tuple[int, ...] = ()


def planned(network: Network, lanes: bool) -> Planned:
    """Lay weights out. lanes: for many tracks at once, else for one.

    ArtifactError if a weight is missing, has a shape that does not fit, or is not
    finite: the compiled step trusts all of it.
    """
    weights, position = network.weights, network.position
    scales = _scales_run(network.scales)
    n, m = len(network.scales.error), len(network.scales.observation)
    columns = max(9, len(position))
    rows = [[], [0, *[len(scales)] * 4], [*position]]
    runs = [np.pad(scales, (0, -len(scales) % VECTOR))]
    expected, made = _inputs(network), _outputs(network)
    for layer in ORDER[architecture_of(weights)]:
        w, b = _of(weights, layer)
        wanted = (expected[layer], made.get(layer, b.size))
        if w.shape != wanted:
            raise ArtifactError(
                f"weight '{layer}.w': expected {wanted[0]} inputs and {wanted[1]} "
                f"outputs, got {w.shape[0]} and {w.shape[1]}; export the network "
                "again, or correct its card"
            )
        run, inputs, outputs = _laid(layer, w, b, lanes)
        rows.append([sum(map(len, runs)), *w.shape, inputs, outputs])
        runs.append(run)
    plan = np.array([row + [0] * (columns - len(row)) for row in rows], np.int64)
    sizes = list(first_states(weights).sizes.values())
    wide = [size if lanes else padded(size) for size in (sizes[0], sizes[-1])]
    most = int(plan[steps.HEAD :, 1:5].max()) + sizes[0] + sizes[-1]
    widest = padded(max(most + 4 * VECTOR, n + n * m + n * n))
    moves = n + len(position)
    architecture = architecture_of(weights)
    plan[steps.SIZES, :9] = (
        *(architecture, n, m, moves, widest, sizes[0], sizes[-1]),
        *wide,
    )
    return Planned(aligned(np.concatenate(runs)), plan)


def _scales_run(scales: Scales) -> Array:
    """Reciprocals of what divides, then what multiplies, as the step reads them."""
    look, moved, error, center, spread = (np.asarray(s, np.float64) for s in scales)
    run = (1 / look, 1 / moved, 1 / error, error, 1 / spread, center)
    return np.concatenate(run).astype(np.float32)


def _inputs(network: Network) -> dict[str, int]:
    """Inputs of every layer, as those before it and the features have them."""
    weights, k = network.weights, len(network.position)
    n, m = len(network.scales.error), len(network.scales.observation)
    outs = {
        layer: _of(weights, layer)[1].size for layer in ORDER[architecture_of(weights)]
    }
    told, sizes = 3 * m + 2 * n + k, first_states(weights).sizes
    inner = sum(list(sizes.values())[-2:])
    both = {"head": inner + told, "head_factor": outs["head"]}
    if architecture_of(weights) == 1:
        h = sizes["h"]
        return both | {
            "fc_in": told, "gru": outs["fc_in"], "gru_u": h, "fc_out": h,
            "fc_gain": outs["fc_out"],
        }  # fmt: skip
    q, s = n * n, m * m
    return both | {
        "fc5": n + k, "gru_q": outs["fc5"], "gru_q_u": q,
        "fc6": n, "gru_sigma": q + outs["fc6"], "gru_sigma_u": q,
        "fc1": q, "fc7": 3 * m, "gru_s": s + outs["fc7"], "gru_s_u": s,
        "fc2": q + s, "fc_gain": outs["fc2"], "fc3": s + n * m, "fc4": 2 * q,
    }  # fmt: skip


def _outputs(network: Network) -> dict[str, int]:
    """Outputs of every layer but those whose number is free: who reads them counts."""
    sizes = first_states(network.weights).sizes
    n, m = len(network.scales.error), len(network.scales.observation)
    both = {"head_factor": n * (n + 1) // 2, "fc_gain": n * m}
    if architecture_of(network.weights) == 1:
        return both | {"gru": 3 * sizes["h"], "gru_u": 3 * sizes["h"]}
    q, s = n * n, m * m
    return both | {
        "gru_q": 3 * q, "gru_q_u": 3 * q, "gru_sigma": 3 * q, "gru_sigma_u": 3 * q,
        "fc1": s, "gru_s": 3 * s, "gru_s_u": 3 * s, "fc3": q, "fc4": q,
    }  # fmt: skip


def _of(weights: Mapping[str, Array], layer: str) -> tuple[Array, Array]:
    """A layer's matrix and bias; of a GRU `gru`, or `gru_u` for what it keeps."""
    base, kept = layer.removesuffix("_u"), layer.endswith("_u")
    names = (f"{base}.u", f"{base}.c") if kept else (f"{base}.w", f"{base}.b")
    for name in names:
        if name not in weights:
            raise ArtifactError(f"weight {name!r} is missing; export the network again")
    w, b = weights[names[0]], weights[names[1]].reshape(-1)
    if w.ndim != 2 or b.shape != w.shape[1:]:
        raise ArtifactError(
            f"weights {names[0]!r} {w.shape} and {names[1]!r} {b.shape} do not fit; "
            "expected (in, out) and (out); export the network again"
        )
    for name in names:
        kind = weights[name].dtype
        if kind != np.float32 or not np.isfinite(weights[name]).all():
            raise ArtifactError(
                f"weight {name!r}: expected finite numbers of f4, got others or "
                f"{kind}; export the network again"
            )
    return w, b


def _laid(layer: str, w: Array, b: Array, lanes: bool) -> tuple[Array, int, int]:
    """One layer's run, and its inputs and outputs as padded there."""
    inputs, outputs = w.shape
    if lanes:
        return np.concatenate((b, w.T.ravel())), inputs, outputs
    if layer in TALL:
        rows = padded(inputs)
        run = np.concatenate((b, np.pad(w.T, ((0, 0), (0, rows - inputs))).ravel()))
        return np.pad(run, (0, -len(run) % VECTOR)), rows, outputs
    if layer.startswith("gru"):  # each gate a whole number of vectors
        gate = outputs // 3
        w = np.pad(w.reshape(inputs, 3, gate), ((0, 0), (0, 0), (0, -gate % VECTOR)))
        b = np.pad(b.reshape(3, gate), ((0, 0), (0, -gate % VECTOR)))
        w, b = w.reshape(inputs, -1), b.ravel()
    rows, width = padded(inputs, 4), padded(w.shape[1])
    w = np.pad(w, ((0, rows - inputs), (0, width - w.shape[1])))
    b = np.pad(b, (0, width - len(b)))
    return np.concatenate((b, w.ravel())), rows, width


def aligned(values: Array) -> Array:
    """A copy that starts at a cache line."""
    room = np.zeros(len(values) + VECTOR, np.float32)
    first = -room.ctypes.data // 4 % VECTOR
    room[first : first + len(values)] = values
    return room[first : first + len(values)]
