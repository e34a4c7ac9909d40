"""KalmanNet's networks in torch: features in, update, gain and covariance out.

Every weight has a leading seed dimension, so that several seeds train at once for
little more than the price of one: a step is some hundred small operations, whose
dispatch costs more than their arithmetic. Without it (`one_seed`) the same code is
exported.
[Revach et al., "KalmanNet", IEEE TSP 2022: architecture #1, fig. 3; #2, fig. 4]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import torch
from torch import Tensor

from streamproc.errors import ConfigError
from streamproc.schema import Above, Min

Weights = dict[str, Tensor]

# A track's first gain, before any training, is nearly none: an untrained network
# would diverge within a hundred steps.
FIRST_GAIN = 0.02
HEAD_WIDTH = 32
LEAST_VARIANCE = 1e-4  # of a component, in units of its scale: a floor under P


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkConfig:
    """Which network, how wide.

    architecture: 1, one GRU; 2, three GRUs that stand for Q, Sigma and S.
    in_mult: width of a feature's layer, per component.
    out_mult: width of the layer before the gain, per input of it.
    hidden: width of architecture 1's GRU, per entry of P and S.
    base: ekf, the network's gain is added to that of an extended Kalman filter with
    the model's noise, which it thus begins as; scaled, that filter's gain is
    multiplied by 0 to 2, sensor by sensor, and its P is that of the gain in use,
    for those who have little to learn from; none, as in the paper.
    gate, gate_parts: as a tracker has them, for parts of the observation which the
    base judges; what does not pass counts as not seen, in training as in service.
    position: components of f(x) that the network is told besides the paper's four
    features, for models whose error depends on where they are.
    """

    architecture: Literal[1, 2] = 2
    in_mult: Annotated[int, Min(1)] = 5
    out_mult: Annotated[int, Min(1)] = 40
    hidden: Annotated[int, Min(1)] = 10
    base: Literal["none", "ekf", "scaled"] = "none"
    position: tuple[int, ...] = ()
    gate: Annotated[float, Above(0)] | None = None
    gate_parts: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        if (self.gate is None) == bool(self.gate_parts):
            raise ConfigError("gate and gate_parts: expected both or neither")
        if self.gate_parts and self.base == "none":
            raise ConfigError(
                'gate_parts: expected base "ekf" or "scaled" with it, which judges, '
                'got "none"'
            )


class Features(NamedTuple):
    """What a step sees, (..., tracks, m or n) each; zero where not seen."""

    observation_step: Tensor  # F1: y - last y
    innovation: Tensor  # F2: y - h(f(x))
    evolution_step: Tensor  # F3: last x - the one before
    update_step: Tensor  # F4: last x - its prediction
    seen: Tensor  # 1 where a component was seen, else 0
    prior: Tensor  # (n): f(x); looked at only if the config names `position`


class Made(NamedTuple):
    """What a step gives, (..., tracks, ...)."""

    update: Tensor  # (n): x = f(x) + update
    gain: Tensor  # (n, m)
    factor: Tensor  # (n, n): lower, P = factor factor'
    states: tuple[Tensor, ...]


class Scales(NamedTuple):
    """Typical sizes, by which features are divided and outputs multiplied."""

    observation: Tensor  # (m)
    evolution: Tensor  # (n)
    error: Tensor  # (n)
    center: Tensor  # (n): of x, for `position`
    spread: Tensor  # (n)


def state_names(config: NetworkConfig) -> tuple[str, ...]:
    """Names of the recurrent states, in the order of `Made.states`."""
    return ("h",) if config.architecture == 1 else ("h_q", "h_sigma", "h_s")


def layers(config: NetworkConfig, n: int, m: int) -> dict[str, tuple[int, int]]:
    """(inputs, outputs) of every layer; a GRU's outputs are its hidden width."""
    told = 3 * m + 2 * n + len(config.position)
    if config.architecture == 1:
        wide = config.in_mult * (n + m) * 4
        hidden = config.hidden * (n * n + m * m)
        return {
            "fc_in": (told, wide),
            "gru": (wide, hidden),
            "fc_out": (hidden, config.out_mult * n),
            "fc_gain": (config.out_mult * n, n * m),
            **_head(hidden + told, n),
        }
    nn, mm, into = n * n, m * m, config.in_mult
    gain_in = nn + mm
    return {
        "fc5": (n + len(config.position), n * into),
        "gru_q": (n * into, nn),
        "fc6": (n, n * into),
        "gru_sigma": (nn + n * into, nn),
        "fc1": (nn, mm),
        "fc7": (3 * m, 2 * m * into),
        "gru_s": (mm + 2 * m * into, mm),
        "fc2": (gain_in, config.out_mult * gain_in),
        "fc_gain": (config.out_mult * gain_in, n * m),
        "fc3": (mm + n * m, nn),
        "fc4": (2 * nn, nn),
        **_head(gain_in + told, n),
    }


def _head(inputs: int, n: int) -> dict[str, tuple[int, int]]:
    return {
        "head": (inputs, HEAD_WIDTH),
        "head_factor": (HEAD_WIDTH, n * (n + 1) // 2),
    }


def initial(
    config: NetworkConfig, n: int, m: int, seeds: tuple[int, ...]
) -> tuple[Weights, int]:
    """Random weights, (seed, in, out), and how many there are per seed."""
    weights: dict[str, list[Tensor]] = {}
    for seed in seeds:
        rng = torch.Generator().manual_seed(seed)
        for name, (inputs, outputs) in layers(config, n, m).items():
            for key, shape, bound in _shapes(name, inputs, outputs):
                drawn = (2 * torch.rand(shape, generator=rng) - 1) * bound
                weights.setdefault(key, []).append(drawn)
    stacked = {key: torch.stack(drawn) for key, drawn in weights.items()}
    return stacked, sum(w[0].numel() for w in stacked.values())


def _shapes(
    name: str, inputs: int, outputs: int
) -> list[tuple[str, tuple[int, int], float]]:
    if name.startswith("gru"):
        bound = outputs**-0.5
        return [
            (f"{name}.w", (inputs, 3 * outputs), bound),
            (f"{name}.u", (outputs, 3 * outputs), bound),
            (f"{name}.b", (1, 3 * outputs), bound),
            (f"{name}.c", (1, 3 * outputs), bound),
        ]
    bound = inputs**-0.5 * (FIRST_GAIN if name in ("fc_gain", "head_factor") else 1.0)
    return [(f"{name}.w", (inputs, outputs), bound), (f"{name}.b", (1, outputs), bound)]


def one_seed(weights: Weights, index: int) -> Weights:
    """The weights of one seed, without the seed dimension."""
    return {key: weight[index].detach().clone() for key, weight in weights.items()}


def first_states(
    config: NetworkConfig, n: int, m: int, tracks: tuple[int, ...]
) -> tuple[Tensor, ...]:
    """States of new tracks: identity matrices, as the paper starts P and S."""
    if config.architecture == 1:
        return (torch.zeros(*tracks, config.hidden * (n * n + m * m)),)
    eye_n, eye_m = torch.eye(n).flatten(), torch.eye(m).flatten()
    return tuple(e.expand(*tracks, -1) for e in (eye_n, eye_n, eye_m))


def magnitude_kept(v: Tensor) -> Tensor:
    """v / |v| log(1 + |v|): bounded in practice, yet it tells large from small.

    Unit vectors, as in the paper's code, would make of a tiny innovation pure noise.
    """
    size = torch.sqrt((v * v).sum(-1, keepdim=True) + 1e-12)
    return v * (torch.log1p(size) / size)


class Moved(NamedTuple):
    """What the gain's part of a step gives, and what the covariance's part is told."""

    update: Tensor
    gain: Tensor
    told: Tensor
    states: tuple[Tensor, ...]


def step(
    weights: Weights,
    config: NetworkConfig,
    scales: Scales,
    features: Features,
    states: tuple[Tensor, ...],
) -> Made:
    """One step of all tracks."""
    moved = gain_step(weights, config, scales, features, states)
    factor = covariance_factor(weights, scales, moved.told)
    return Made(moved.update, moved.gain, factor, moved.states)


def gain_step(
    weights: Weights,
    config: NetworkConfig,
    scales: Scales,
    features: Features,
    states: tuple[Tensor, ...],
) -> Moved:
    """One step without its covariance, which nothing later depends on."""
    seen = features.seen
    looked = torch.cat(
        (
            magnitude_kept(features.observation_step / scales.observation),
            magnitude_kept(features.innovation / scales.observation),
            seen,
        ),
        -1,
    )
    moved = magnitude_kept(features.evolution_step / scales.evolution)
    if config.position:
        where = list(config.position)
        at = (features.prior[..., where] - scales.center[where]) / scales.spread[where]
        moved = torch.cat((moved, at), -1)
    updated = magnitude_kept(features.update_step / scales.error)
    network = _one_gru if config.architecture == 1 else _three_grus
    raw, states, inner = network(weights, looked, moved, updated, states)
    n, m = updated.shape[-1], seen.shape[-1]
    ratio = scales.error[:, None] / scales.observation
    gain = raw.reshape(*raw.shape[:-1], n, m) * ratio * seen[..., None, :]
    update = (gain * features.innovation[..., None, :]).sum(-1)
    told = torch.cat((inner, looked, moved, updated), -1).detach()
    return Moved(update, gain, told, states)


def _three_grus(
    w: Weights,
    looked: Tensor,
    moved: Tensor,
    updated: Tensor,
    states: tuple[Tensor, ...],
) -> tuple[Tensor, tuple[Tensor, ...], Tensor]:
    h_q, h_sigma, h_s = states
    h_q = _gru(w, "gru_q", _relu(w, "fc5", moved), h_q)
    into = torch.cat((h_q, _relu(w, "fc6", updated)), -1)
    h_sigma = _gru(w, "gru_sigma", into, h_sigma)
    into = torch.cat((_relu(w, "fc1", h_sigma), _relu(w, "fc7", looked)), -1)
    h_s = _gru(w, "gru_s", into, h_s)
    inner = torch.cat((h_sigma, h_s), -1)
    gain = _affine(w, "fc_gain", _relu(w, "fc2", inner))
    back = _relu(w, "fc3", torch.cat((h_s, gain), -1))
    h_sigma = _relu(w, "fc4", torch.cat((h_sigma, back), -1))
    return gain, (h_q, h_sigma, h_s), inner


def _one_gru(
    w: Weights,
    looked: Tensor,
    moved: Tensor,
    updated: Tensor,
    states: tuple[Tensor, ...],
) -> tuple[Tensor, tuple[Tensor, ...], Tensor]:
    into = torch.cat((looked, moved, updated), -1)
    h = _gru(w, "gru", _relu(w, "fc_in", into), states[0])
    return _affine(w, "fc_gain", _relu(w, "fc_out", h)), (h,), h


def _affine(w: Weights, name: str, x: Tensor) -> Tensor:
    return x @ w[f"{name}.w"] + w[f"{name}.b"]


def _relu(w: Weights, name: str, x: Tensor) -> Tensor:
    return torch.relu(_affine(w, name, x))


def _gru(w: Weights, name: str, x: Tensor, h: Tensor) -> Tensor:
    """Gates reset, update, new, as everywhere else in torch and ONNX."""
    given = x @ w[f"{name}.w"] + w[f"{name}.b"]
    kept = h @ w[f"{name}.u"] + w[f"{name}.c"]
    size = h.shape[-1]
    gates = torch.sigmoid(given[..., : 2 * size] + kept[..., : 2 * size])
    reset, renew = gates[..., :size], gates[..., size:]
    new = torch.tanh(given[..., 2 * size :] + reset * kept[..., 2 * size :])
    return new + renew * (h - new)


def covariance_factor(w: Weights, scales: Scales, told: Tensor) -> Tensor:
    """Lower Cholesky factor (..., n, n) of P in units of x; told: by gain_step."""
    n = scales.error.shape[0]
    raw = _affine(w, "head_factor", _relu(w, "head", told))
    rows = []
    zero = torch.zeros_like(raw[..., :1])
    first = 0
    for row in range(n):
        below = raw[..., first : first + row]
        on = torch.sqrt(
            torch.exp(2 * raw[..., first + row : first + row + 1]) + LEAST_VARIANCE
        )
        rows.append(torch.cat((below, on, *[zero] * (n - row - 1)), -1))
        first += row + 1
    return torch.stack(rows, -2) * scales.error[:, None]
