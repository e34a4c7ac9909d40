"""A filter unrolled over a chunk, differentiable through the user's own functions.

`f` and `h` are compiled for the engine; here their compiled Jacobians carry the
gradient back, so that any state-space model can be trained with, and none has to be
written again in torch.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from streamproc.filters.parts import Part, judged, parts_of
from streamproc.models.network import (
    Features,
    NetworkConfig,
    Scales,
    Weights,
    covariance_factor,
    first_states,
    gain_step,
)
from streamproc.statespace.compiled import Compiled, compiled, flow_into, look_into
from streamproc.statespace.model import StateSpace

TURN = 2 * np.pi


class Chunk(NamedTuple):
    """What a filter is unrolled over: (seed, track, ...), f4."""

    start: Tensor  # (n): estimate one step before the first frame
    first: Tensor  # (m): what was seen with it
    y: Tensor  # (time, m): NaN where not seen
    truth: Tensor  # (time, n): NaN where not known


class Carry(NamedTuple):
    """All that one step hands to the next."""

    x: Tensor  # (n)
    last: Tensor  # (m): last seen, each component
    evolution: Tensor  # (n)
    update: Tensor  # (n)
    states: tuple[Tensor, ...]
    base_P: Tensor  # (n, n): of the base, f8
    refused: Tensor  # (): looks in a row that its gates shut out


class Rollout(NamedTuple):
    """Estimates of a chunk: (seed, track, time, ...)."""

    x: Tensor  # (n)
    factor: Tensor  # (n, n): lower, P = factor factor'
    innovation: Tensor  # (m): zero where not seen
    prior_jacobian: Tensor  # (n, n): of f, along the way
    look_jacobian: Tensor  # (m, n)
    carry: Carry  # of the last step


class Dynamics:
    """f and h of a model on tensors (..., n), with gradients; keeps Jacobians."""

    def __init__(self, model: StateSpace) -> None:
        self.model = model
        self._code: Compiled = compiled(model)
        self._wrapped = torch.tensor([i in model.angles for i in range(model.m)])
        turning = [i in model.state_angles for i in range(model.n)]
        self._state_wrapped = torch.tensor(turning)

    def flow(self, x: Tensor, dt_s: float) -> tuple[Tensor, Tensor]:
        """f(x, dt) and its Jacobian (..., n, n)."""
        X = _host(x, self.model.n)
        X_next, F = np.empty_like(X), np.empty((len(X), self.model.n, self.model.n))
        flow_into(self._code, X, dt_s, X_next, F)
        return _linked(x, X_next, F)

    def look(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """h(x) and its Jacobian (..., m, n)."""
        X = _host(x, self.model.n)
        Y = np.empty((len(X), self.model.m))
        H = np.empty((len(X), self.model.m, self.model.n))
        look_into(self._code, X, Y, H)
        return _linked(x, Y, H)

    def difference(self, a: Tensor, b: Tensor) -> Tensor:
        """a - b of two observations, angles wrapped to [-pi, pi)."""
        return _wrapped(a - b, self._wrapped)

    def state_difference(self, a: Tensor, b: Tensor) -> Tensor:
        """a - b of two states, angles wrapped."""
        return _wrapped(a - b, self._state_wrapped)


def _wrapped(gap: Tensor, angles: Tensor) -> Tensor:
    if not angles.any():
        return gap
    return torch.where(angles, gap - TURN * torch.floor(gap / TURN + 0.5), gap)


class _Linked(torch.autograd.Function):
    """A value computed elsewhere, whose Jacobian is known."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, value: Tensor, jacobian: Tensor) -> Tensor:
        ctx.save_for_backward(jacobian)
        return value

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (jacobian,) = ctx.saved_tensors
        return (grads[0][..., None, :] @ jacobian)[..., 0, :], None, None


def _host(x: Tensor, n: int) -> Any:
    return x.detach().numpy().astype(np.float64).reshape(-1, n)


def _linked(x: Tensor, value: Any, jacobian: Any) -> tuple[Tensor, Tensor]:
    lead = x.shape[:-1]
    made = torch.from_numpy(value.astype(np.float32)).reshape(*lead, -1)
    slope = torch.from_numpy(jacobian.astype(np.float32))
    slope = slope.reshape(*lead, *jacobian.shape[1:])
    linked: Tensor = _Linked.apply(x, made, slope)  # type: ignore[no-untyped-call]
    return linked, slope


class BaseGain:
    """The gain of an EKF at the estimates of whoever asks; no gradient through it.

    "none" is zero throughout. Its covariance begins as that of a track just begun.
    """

    def __init__(
        self, model: StateSpace, config: NetworkConfig, tracks: tuple[int, ...]
    ) -> None:
        self._on, self._scaled = config.base != "none", config.base == "scaled"
        self._parts: tuple[Part, ...] = ()
        if config.gate is not None:
            self._parts = parts_of(config.gate_parts, config.gate, model.m)
        self._zero = torch.zeros(*tracks, model.n, model.m)
        matrices = (model.Q, model.R, model.begin(np.zeros(model.m))[1])
        self._Q, self._R, P = (torch.from_numpy(np.array(c)) for c in matrices)
        self.P = P.expand(*tracks, -1, -1)
        self.refused = torch.zeros(tracks, dtype=torch.int64)

    def passed(self, F: Tensor, H: Tensor, innovation: Tensor, seen: Tensor) -> Tensor:
        """What of the next observation is seen (..., m), and passes its part's gate.

        What was refused for long passes, as with a filter in service.
        """
        if not self._parts:
            return seen
        F, H = F.double(), H.double()
        S = H @ (F @ self.P @ F.mT + self._Q) @ H.mT + self._R
        v = torch.where(seen, innovation.detach().double(), torch.nan)
        *tracks, m = seen.shape
        noise = S.reshape(-1, m, m).numpy(), self._R.numpy()
        rows = self.refused.reshape(-1).numpy()
        told = judged(v.reshape(-1, m).numpy(), noise, self._parts, rows)
        shut, growth, refused = map(torch.from_numpy, (told.shut, *told[2:]))
        self.P = self.P * growth.reshape(*tracks, 1, 1)
        self.refused = refused.reshape(tracks)
        return seen & ~shut.reshape(seen.shape)

    def step(self, F: Tensor, H: Tensor, seen: Tensor, raw: Tensor) -> Tensor:
        """Gain (..., n, m) for the next observation; zero columns where not seen.

        raw (..., m): what the network says of the scale of each sensor's.
        """
        if not self._on:
            return self._zero
        F, H = F.double(), torch.where(seen[..., None], H, 0.0).double()
        prior = F @ self.P @ F.mT + self._Q
        both = seen[..., :, None] & seen[..., None, :]
        R = torch.where(both, self._R, torch.eye(len(self._R), dtype=torch.float64))
        across = prior @ H.mT
        S = H @ across + R
        gain = torch.linalg.solve(S, across, left=False)
        keep = torch.eye(F.shape[-1], dtype=torch.float64) - gain @ H
        self.P = keep @ prior @ keep.mT + gain @ R @ gain.mT
        gain = torch.where(seen[..., None, :], gain, 0.0)
        if not self._scaled:
            return gain.float()
        scale = self._scale(raw)[..., None, :]
        rest = gain * (1 - scale.detach())
        self.P = self.P + rest @ S @ rest.mT
        return (gain * scale).float()

    def _scale(self, raw: Tensor) -> Tensor:
        """As the engine's `scales`, with a gradient."""
        for part in self._parts:
            at = torch.zeros(raw.shape[-1], dtype=torch.bool)
            at[list(part.components)] = True
            mean = raw[..., at].mean(-1, keepdim=True)
            raw = torch.where(at, mean, raw)
        return 1 + torch.tanh(raw.double() / 2)


def unroll(
    weights: Weights,
    config: NetworkConfig,
    scales: Scales,
    dynamics: Dynamics,
    chunk: Chunk,
    carry: Carry | None = None,
) -> Rollout:
    """KalmanNet over every track of a chunk, as the engine will run it.

    carry: of the chunk before this one, to go on from; its start then says nothing.
    """
    model = dynamics.model
    tracks = chunk.start.shape[:-1]
    base = BaseGain(model, config, tuple(tracks))
    ratio = scales.error[:, None] / scales.observation
    if carry is None:
        still = torch.zeros_like(chunk.start)
        states = first_states(config, model.n, model.m, tuple(tracks))
        now = base.P, base.refused
        carry = Carry(chunk.start, chunk.first, still, still, states, *now)
    x, last, evolution, update, states, base.P, base.refused = carry
    seen_all = torch.isfinite(chunk.y)
    made: list[tuple[Tensor, ...]] = []
    for t in range(chunk.y.shape[-2]):
        prior, F = dynamics.flow(x, model.step_s)
        looked, H = dynamics.look(prior)
        seen = seen_all[..., t, :]
        y = torch.where(seen, chunk.y[..., t, :], looked.detach())
        innovation = dynamics.difference(y, looked)
        seen = base.passed(F, H, innovation, seen)
        innovation = torch.where(seen, innovation, 0.0)
        walked = torch.where(seen, dynamics.difference(y, last), 0.0)
        features = Features(walked, innovation, evolution, update, seen.float(), prior)
        out = gain_step(weights, config, scales, features, states)
        states, moved = out.states, out.update
        known = base.step(F, H, seen, (out.gain / ratio).mean(-2))
        if config.base == "scaled":
            moved = torch.zeros_like(moved)
        update = moved + (known @ innovation[..., None])[..., 0]
        evolution, x = prior + update - x, prior + update
        last = torch.where(seen, y, last)
        made.append((x, out.told, innovation, F, H))
    axis = len(tracks)
    columns = (torch.stack(column, axis) for column in zip(*made, strict=True))
    walk, told, innovations, F_all, H_all = columns
    factor = _factors(weights, scales, told)
    carry = Carry(x, last, evolution, update, states, base.P, base.refused)
    return Rollout(walk, factor, innovations, F_all, H_all, carry)


def _factors(weights: Weights, scales: Scales, told: Tensor) -> Tensor:
    """Factors of all steps at once: (..., track, time, .) as one row of tracks."""
    flat = told.flatten(-3, -2)
    factor = covariance_factor(weights, scales, flat)
    every: Tensor = factor.view(*told.shape[:-1], *factor.shape[-2:])
    return every


def nll(error: Tensor, factor: Tensor) -> Tensor:
    """-log N(error; 0, factor factor') less its constant, (...)."""
    white = torch.linalg.solve_triangular(factor, error[..., None], upper=False)
    spread = torch.diagonal(factor, dim1=-2, dim2=-1).log().sum(-1)
    made: Tensor = 0.5 * (white[..., 0] ** 2).sum(-1) + spread
    return made


def innovation_nll(rollout: Rollout, Q: Tensor, R: Tensor, seen: Tensor) -> Tensor:
    """-log p(y_t | what came before), (seed, track, time - 1): needs no truth.

    The prior covariance is that of the estimate before, moved by the Jacobian of f.
    Components not seen take no part: their rows of S become those of an identity.
    """
    F, H = rollout.prior_jacobian[..., 1:, :, :], rollout.look_jacobian[..., 1:, :, :]
    spread = F @ rollout.factor[..., :-1, :, :]
    S = H @ (spread @ spread.mT + Q) @ H.mT + R
    both = seen[..., 1:, :, None] & seen[..., 1:, None, :]
    S = torch.where(both, S, torch.eye(S.shape[-1]))
    factor = torch.linalg.cholesky(S)
    return nll(rollout.innovation[..., 1:, :], factor)
