"""A network's step as an ONNX file: few nodes, states in and out, weights told.

The arithmetic is `network.step`'s, arranged for a runtime whose price is per node, not
per multiplication: all features get their magnitude together, all first layers are one
matrix, and so are all recurrent ones. What the arrangement adds is zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from streamproc.frame import Array
from streamproc.models.network import (
    LEAST_VARIANCE,
    NetworkConfig,
    Scales,
    Weights,
    first_states,
    state_names,
)

OPSET = 20
FEATURES = (
    "observation_step",
    "innovation",
    "evolution_step",
    "update_step",
    "seen",
)
LAYERS = {1: ("fc_in",), 2: ("fc5", "fc6", "fc7")}  # that see features only
GRUS = {1: {"h": "gru"}, 2: {"h_q": "gru_q", "h_sigma": "gru_sigma", "h_s": "gru_s"}}


class Trained(NamedTuple):
    """A network of one seed, for a state of n and an observation of m components."""

    config: NetworkConfig
    n: int
    m: int
    scales: Scales
    weights: Weights


def input_names(config: NetworkConfig) -> tuple[str, ...]:
    """Inputs of the graph, in its order; `prior` only if the network is told of it."""
    prior = ("prior",) if config.position else ()
    return (*FEATURES, *prior, *state_names(config))


def output_names(config: NetworkConfig) -> tuple[str, ...]:
    """Outputs of the graph but for its weights."""
    return ("update", "gain", "P", *(f"{name}_out" for name in state_names(config)))


def export(network: Trained, path: Path) -> None:
    """Write the step of `network` to `path`, (tracks, ...) f4 throughout.

    Weights are outputs too, `weight.NAME`, so that who runs the file can have them.
    """
    config, n, m = network.config, network.n, network.m
    graph = Graph(network).eval()
    names = input_names(config)
    sizes = dict(zip(FEATURES, (m, m, n, n, m), strict=True), prior=n)
    states = dict(
        zip(state_names(config), first_states(config, n, m, (3,)), strict=True)
    )
    given = tuple(
        states[k].clone() if k in states else torch.ones(3, sizes[k]) for k in names
    )
    tracks = torch.export.Dim("tracks", min=1)
    program = torch.onnx.export(
        graph,
        given,
        dynamo=True,
        opset_version=OPSET,
        input_names=names,
        output_names=output_names(config),
        dynamic_shapes=(tuple({0: tracks} for _ in names),),
        external_data=False,
        verbose=False,
    )
    if program is None:
        raise RuntimeError("torch.onnx.export made nothing")
    weights = {key: weight.numpy() for key, weight in network.weights.items()}
    model = _with_weights(program.model_proto, weights)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def _with_weights(model: Any, weights: dict[str, Array]) -> Any:
    """The model with every weight as an output; those it holds already, renamed."""
    graph = model.graph
    held = {numpy_helper.to_array(one).tobytes(): one for one in graph.initializer}
    renamed = {}
    for name, weight in weights.items():
        told = f"weight.{name}"
        one = held.pop(weight.tobytes(), None)
        if one is not None and tuple(one.dims) == weight.shape:
            renamed[one.name] = told
            one.name = told
        else:
            graph.initializer.append(numpy_helper.from_array(weight, told))
        graph.output.append(
            onnx.helper.make_tensor_value_info(
                told, onnx.TensorProto.FLOAT, weight.shape
            )
        )
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    del graph.value_info[:]
    return model


class Graph(nn.Module):
    """`network.step` for export: from `input_names` to `output_names`."""

    def __init__(self, network: Trained) -> None:
        super().__init__()
        config, n, m = network.config, network.n, network.m
        self.architecture = config.architecture
        self.n, self.m = n, m
        self.sizes = [s.shape[-1] for s in first_states(config, n, m, (1,))]
        self._look(network.scales, config.position)
        self._fold(network)
        self._fold_gain(network.scales)
        self._fold_head(network)

    def _keep(self, name: str, value: Tensor) -> None:
        self.register_buffer(name, value.to(torch.float32).contiguous().clone())

    def _look(self, scales: Scales, position: tuple[int, ...]) -> None:
        """Features in the order F1, F2, F3, F4, seen, position."""
        n, m = self.n, self.m
        look, error = scales.observation, scales.error
        self._keep("unit", 1 / torch.cat((look, look, scales.evolution, error)))
        sizes = (m, m, n, n)
        ones = [torch.ones(size, size) for size in sizes]
        self._keep("together", torch.block_diag(*ones))  # type: ignore[no-untyped-call]
        self._keep("together_b", torch.full((1, 2 * (m + n)), 1e-12))
        ends = np.cumsum((0, *sizes, m, len(position))).tolist()
        f1, f2, f3, f4, seen, at = (list(range(*pair)) for pair in pairwise(ends))
        self.looked, self.moved, self.updated = f1 + f2 + seen, f3 + at, f4
        self.features = ends[-1]
        self.told = bool(position)
        where = torch.zeros(n, len(position))
        for column, component in enumerate(position):
            where[component, column] = 1 / scales.spread[component]
        self._keep("where", where)
        self._keep("where_b", -(scales.center @ where)[None])

    def _fold(self, network: Trained) -> None:
        w, told = network.weights, self.looked + self.moved + self.updated
        of = {"fc_in": told, "fc5": self.moved, "fc6": self.updated, "fc7": self.looked}
        layers = LAYERS[self.architecture]
        wide = [w[f"{layer}.w"].shape[1] for layer in layers]
        first = torch.zeros(self.features, sum(wide))
        at = dict(zip(layers, np.cumsum((0, *wide)).tolist(), strict=False))
        for layer, size in zip(layers, wide, strict=True):
            first[of[layer], at[layer] : at[layer] + size] = w[f"{layer}.w"]
        self._keep("first", first)
        self._keep("first_b", torch.cat([w[f"{layer}.b"] for layer in layers], 1))
        self._fold_recurrent(w, at, sum(wide))
        for layer in ("fc1", "fc2", "fc3", "fc4", "fc_out", "fc_gain"):
            if f"{layer}.w" in w:
                self._keep(layer, w[f"{layer}.w"])
                self._keep(f"{layer}_b", w[f"{layer}.b"])

    def _fold_recurrent(self, w: Weights, at: dict[str, int], wide: int) -> None:
        """One matrix from first layers and states to what every GRU is given and keeps.

        Of each: gates (both sums), new as given, new as kept. What a later GRU is
        given by an earlier one is added later, by `further`.
        """
        fed = {"gru": "fc_in", "gru_q": "fc5", "gru_sigma": "fc6", "gru_s": "fc7"}
        rows = wide + sum(self.sizes)
        parts, biases = [], []
        state = wide
        for gru, size in zip(GRUS[self.architecture].values(), self.sizes, strict=True):
            given, kept = w[f"{gru}.w"], w[f"{gru}.u"]
            part, bias = torch.zeros(rows, 4 * size), torch.zeros(1, 4 * size)
            extra = size if gru in ("gru_sigma", "gru_s") else 0
            if extra:
                extra = self.sizes[0] if gru == "gru_sigma" else self.sizes[-1]
                self._keep(f"further_{gru}", given[:extra])
            start = at[fed[gru]]
            part[start : start + len(given) - extra, : 3 * size] = given[extra:]
            part[state : state + size, : 2 * size] = kept[:, : 2 * size]
            part[state : state + size, 3 * size :] = kept[:, 2 * size :]
            bias[:, : 3 * size] = w[f"{gru}.b"]
            bias[:, : 2 * size] += w[f"{gru}.c"][:, : 2 * size]
            bias[:, 3 * size :] = w[f"{gru}.c"][:, 2 * size :]
            parts.append(part)
            biases.append(bias)
            state += size
        self._keep("recurrent", torch.cat(parts, 1))
        self._keep("recurrent_b", torch.cat(biases, 1))

    def _fold_gain(self, scales: Scales) -> None:
        """Which entry of the gain is of which component, in its units."""
        n, m = self.n, self.m
        ratio = scales.error[:, None] / scales.observation
        self._keep("unit_of_gain", torch.eye(m).repeat(1, n) * ratio.reshape(1, -1))

    def _fold_head(self, network: Trained) -> None:
        n, w, error = self.n, network.weights, network.scales.error
        told = w["head.w"]
        inner = len(told) - self.features
        head = torch.zeros(self.features, told.shape[1])
        head[self.looked + self.moved + self.updated] = told[inner:]
        self._keep("head", torch.cat((told[:inner], head)))
        self._keep("head_b", w["head.b"])
        below = torch.zeros(w["head_factor.w"].shape[1], n * n + n)
        for entry, (i, j) in enumerate(zip(*np.tril_indices(n), strict=True)):
            if i == j:
                below[entry, n * n + i] = 2
            else:
                below[entry, i * n + j] = error[i]
        self._keep("factor", w["head_factor.w"] @ below)
        self._keep("factor_b", w["head_factor.b"] @ below)
        on = torch.zeros(n, n * n)
        on[range(n), range(0, n * n, n + 1)] = error
        self._keep("on", on)

    def _buffer(self, name: str) -> Tensor:
        return self.get_buffer(name)

    def _affine(self, layer: str, x: Tensor) -> Tensor:
        return torch.addmm(self._buffer(f"{layer}_b"), x, self._buffer(layer))

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        count = len(FEATURES) + self.told
        *moves, seen = given[: len(FEATURES)]
        innovation, states = moves[1], given[count:]
        scaled = torch.cat(moves, 1) * self._buffer("unit")
        size = torch.sqrt(self._affine("together", scaled * scaled))
        kept = scaled * (torch.log(1 + size) / size)
        seen_and_at = [seen]
        if self.told:
            seen_and_at.append(self._affine("where", given[count - 1]))
        features = torch.cat((kept, *seen_and_at), 1)
        first = torch.relu(self._affine("first", features))
        seed = torch.cat((first, *states), 1)
        recurrent = self._affine("recurrent", seed)
        network = self._one_gru if self.architecture == 1 else self._three_grus
        raw, made, inner = network(recurrent, states)
        gain = (raw * (seen @ self._buffer("unit_of_gain"))).reshape(-1, self.n, self.m)
        update = (gain @ innovation[:, :, None]).squeeze(-1)
        return update, gain, self._covariance(torch.cat((inner, features), 1)), *made

    def _one_gru(
        self, recurrent: Tensor, states: Sequence[Tensor]
    ) -> tuple[Tensor, tuple[Tensor, ...], Tensor]:
        size = self.sizes[0]
        gates, new, kept = torch.split(recurrent, [2 * size, size, size], 1)
        h = _gru(gates, new, kept, states[0])
        hidden = torch.relu(self._affine("fc_out", h))
        return self._affine("fc_gain", hidden), (h,), h

    def _three_grus(
        self, recurrent: Tensor, states: Sequence[Tensor]
    ) -> tuple[Tensor, tuple[Tensor, ...], Tensor]:
        nn_, _, mm = self.sizes
        parts = [2 * nn_, nn_, nn_, 3 * nn_, nn_, 3 * mm, mm]
        gates, new, kept, sigma, kept_sigma, s, kept_s = torch.split(
            recurrent, parts, 1
        )
        h_q = _gru(gates, new, kept, states[0])
        sigma = torch.addmm(sigma, h_q, self._buffer("further_gru_sigma"))
        gates, new = torch.split(sigma, [2 * nn_, nn_], 1)
        h_sigma = _gru(gates, new, kept_sigma, states[1])
        one = torch.relu(self._affine("fc1", h_sigma))
        s = torch.addmm(s, one, self._buffer("further_gru_s"))
        gates, new = torch.split(s, [2 * mm, mm], 1)
        h_s = _gru(gates, new, kept_s, states[2])
        inner = torch.cat((h_sigma, h_s), 1)
        hidden = torch.relu(self._affine("fc2", inner))
        gain = self._affine("fc_gain", hidden)
        back = torch.cat((h_s, gain), 1)
        back = torch.relu(self._affine("fc3", back))
        back = torch.cat((h_sigma, back), 1)
        h_sigma = torch.relu(self._affine("fc4", back))
        return gain, (h_q, h_sigma, h_s), inner

    def _covariance(self, told: Tensor) -> Tensor:
        hidden = torch.relu(self._affine("head", told))
        raw = self._affine("factor", hidden)
        below, on = torch.split(raw, [self.n * self.n, self.n], 1)
        on = torch.sqrt(torch.exp(on) + LEAST_VARIANCE)
        factor = torch.addmm(below, on, self._buffer("on")).reshape(-1, self.n, self.n)
        return factor @ factor.mT


def _gru(gates: Tensor, new: Tensor, kept: Tensor, h: Tensor) -> Tensor:
    reset, renew = torch.sigmoid(gates).chunk(2, 1)
    made = torch.tanh(new + reset * kept)
    return made + renew * (h - made)
