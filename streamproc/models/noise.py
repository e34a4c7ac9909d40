"""Tuning of Q and R: by a grid, or all of both by gradient through an EKF.

The fair rival of a learned gain is a filter whose covariances were learned from the
same data. [Greenberg et al., "Optimization or Architecture", NeurIPS 2023]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from streamproc.errors import ConfigError
from streamproc.evaluation.recording import Recording
from streamproc.evaluation.tracking import decibels
from streamproc.filters.filter import Filter
from streamproc.frame import Array
from streamproc.models.data import draw_starts
from streamproc.models.rollout import Dynamics, nll
from streamproc.schema import Above, Min
from streamproc.statespace.model import StateSpace, state_difference

Progress = Callable[[int, int, str], None]  # (done, of, what)
Make = Callable[[StateSpace, int], Filter]  # (model, tracks)

LEAST_SHARE = 1e-6  # of a covariance's largest variance: a floor under where L starts


@dataclass(frozen=True, eq=False, kw_only=True)
class Tuned:
    """Q (n, n), R (m, m), the loss they reach, and all losses on the way there."""

    Q: Array
    R: Array
    loss: float
    losses: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientConfig:
    """How Q and R descend.

    objective: mse, of the estimates against truth; innovation, -log p(y), no truth.
    frames: of a chunk.
    settle: frames at a chunk's start that are not scored.
    batch: chunks per iteration.
    iterations: of Adam.
    rate: of Adam at its start; it falls to nothing along a cosine.
    seed: of which chunks are drawn.
    """

    objective: Literal["mse", "innovation"] = "mse"
    frames: Annotated[int, Min(2)] = 100
    settle: Annotated[int, Min(0)] = 20
    batch: Annotated[int, Min(1)] = 64
    iterations: Annotated[int, Min(1)] = 200
    rate: Annotated[float, Above(0)] = 0.05
    seed: Annotated[int, Min(0)] = 0

    def __post_init__(self) -> None:
        if self.settle >= self.frames:
            raise ConfigError(
                f"settle: expected less than frames = {self.frames}, got {self.settle}"
            )


def mean_square(filter_: Filter, recording: Recording, settle: int = 20) -> float:
    """Mean squared error per component; filters start at the first observation.

    Infinite where the filter is lost on the way.
    """
    truth, y = recording
    model = filter_.model
    filter_.start(np.arange(len(y)), y[:, 0])
    total, count = 0.0, 0
    for t in range(1, y.shape[1]):
        made = filter_.step(y[:, t], model.step_s)
        if made.lost.any():
            return float("inf")
        if t >= settle:
            error = state_difference(model, made.x, truth[:, t])
            total, count = total + float((error * error).sum()), count + error.size
    return total / count if count else float("inf")


def grid(
    make: Make,
    model: StateSpace,
    recording: Recording,
    q2: Sequence[float],
    r2: Sequence[float] = (),
    progress: Progress | None = None,
) -> Tuned:
    """Q = q2 I and R = r2 I of least squared error; without r2, R of the model."""
    pairs = [(q, r) for q in q2 for r in (r2 or (None,))]
    best: Tuned | None = None
    losses: list[float] = []
    for done, (q, r) in enumerate(pairs):
        Q = q * np.eye(model.n)
        R = model.R if r is None else r * np.eye(model.m)
        noisy = model.with_noise(Q, R)
        losses.append(mean_square(make(noisy, len(recording.y)), recording))
        if best is None or losses[-1] < best.loss:
            best = Tuned(Q=Q, R=R, loss=losses[-1], losses=())
        if progress is not None:
            progress(done + 1, len(pairs), f"q2 {q:g}: {decibels(losses[-1]):.2f} dB")
    if best is None:
        raise ConfigError("grid: expected at least one q2, got none")
    return Tuned(Q=best.Q, R=best.R, loss=best.loss, losses=tuple(losses))


def descend(
    model: StateSpace,
    recording: Recording,
    config: GradientConfig,
    progress: Progress | None = None,
) -> Tuned:
    """All of Q and R, from the model's own, by Adam through a differentiable EKF.

    Their Cholesky factors are what moves. Jacobians count as constants, so only f and
    h carry the gradient from step to step. Losses are those of each batch; a batch on
    which the filter diverges is left out (NaN).
    """
    dynamics = Dynamics(model)
    rng = np.random.default_rng(config.seed)
    parts = [p for M in (model.Q, model.R) for p in _parts(M)]
    optimiser = torch.optim.Adam(parts, lr=config.rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, config.iterations)
    losses: list[float] = []
    for done in range(config.iterations):
        chunk = _draw(model, recording, config, rng)
        loss = _loss(dynamics, chunk, _covariances(parts), config)
        optimiser.zero_grad()
        if torch.isfinite(loss):
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(parts, 1.0)
            optimiser.step()
        schedule.step()
        losses.append(float(loss.detach()))
        if progress is not None:
            progress(done + 1, config.iterations, f"loss {losses[-1]:.4g}")
    Q, R = (_host(M) for M in _covariances(parts))
    late = losses[-max(1, config.iterations // 10) :]
    return Tuned(Q=Q, R=R, loss=float(np.nanmean(late)), losses=tuple(losses))


class _Chunk(NamedTuple):
    x: Tensor  # (B, n) one frame before the first
    P: Tensor  # (B, n, n)
    y: Tensor  # (B, T, m)
    truth: Tensor  # (B, T, n)


def _draw(
    model: StateSpace,
    recording: Recording,
    config: GradientConfig,
    rng: np.random.Generator,
) -> _Chunk:
    """Chunks at random places; filters start at the observation before."""
    truth, y = recording
    room = y.shape[1] - config.frames
    if room < 1:
        raise ConfigError(
            f"frames: expected less than the {y.shape[1]} of the recording, "
            f"got {config.frames}"
        )
    which, first = draw_starts(y[:, :room], config.batch, rng)
    rows = which[:, None], first[:, None] + 1 + np.arange(config.frames)
    begun = [model.begin(row) for row in y[which, first]]
    arrays = np.array([x for x, _ in begun]), np.array([P for _, P in begun])
    return _Chunk(*(_tensor(a) for a in (*arrays, y[rows], truth[rows])))


def _loss(
    dynamics: Dynamics,
    chunk: _Chunk,
    covariances: tuple[Tensor, Tensor],
    config: GradientConfig,
) -> Tensor:
    model = dynamics.model
    supervised = config.objective == "mse"
    x, P, terms = chunk.x, chunk.P, []
    for t in range(config.frames):
        x, P, surprise = _step(dynamics, x, P, chunk.y[:, t], covariances)
        if t < config.settle:
            continue
        if supervised:
            error = _wrapped(x - chunk.truth[:, t], model.state_angles)
            terms.append((error * error).mean())
        else:
            terms.append(surprise.mean())
    loss = torch.stack(terms).mean()
    # the gradient of a squared error depends on its unit: relative to R it does not
    return loss / float(np.trace(model.R) / model.m) if supervised else loss


def _step(
    dynamics: Dynamics,
    x: Tensor,
    P: Tensor,
    y: Tensor,
    covariances: tuple[Tensor, Tensor],
) -> tuple[Tensor, Tensor, Tensor]:
    """One step of an EKF: x, P and -log p(y). What is not seen moves nothing."""
    Q, R = covariances
    model = dynamics.model
    prior, F = dynamics.flow(x, model.step_s)
    looked, H = dynamics.look(prior)
    P = F @ P @ F.mT + Q
    seen = torch.isfinite(y)
    v = torch.where(
        seen, dynamics.difference(torch.where(seen, y, looked), looked), 0.0
    )
    H = H * seen[..., None]
    both = seen[..., :, None] & seen[..., None, :]
    R = torch.where(both, R, torch.eye(model.m, dtype=R.dtype))
    factor, failed = torch.linalg.cholesky_ex(H @ P @ H.mT + R)
    factor = torch.where((failed > 0)[..., None, None], torch.nan, factor)
    K = torch.cholesky_solve(H @ P, factor).mT
    rest = torch.eye(model.n, dtype=P.dtype) - K @ H
    P = rest @ P @ rest.mT + K @ R @ K.mT
    return prior + (K @ v[..., None])[..., 0], P, nll(v, factor)


def _parts(M: Array) -> tuple[Tensor, Tensor]:
    """log diag(L), and the rest of L in units of that: M = L L'."""
    variances = np.diag(M)
    floor = LEAST_SHARE * max(float(variances.max()), 1e-12)
    L = np.linalg.cholesky(M + floor * np.eye(len(M)))
    size = np.diag(L)
    below = np.tril(L, -1) / size[:, None]
    made = _tensor(np.log(size)), _tensor(below)
    return made[0].requires_grad_(), made[1].requires_grad_()


def _covariances(parts: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Q and R."""
    made = []
    for log_size, below in (parts[:2], parts[2:]):
        unit = torch.eye(len(below), dtype=below.dtype) + torch.tril(below, -1)
        L = log_size.exp()[:, None] * unit
        made.append(L @ L.mT)
    return made[0], made[1]


def _wrapped(gap: Tensor, angles: tuple[int, ...]) -> Tensor:
    if not angles:
        return gap
    turning = torch.tensor([i in angles for i in range(gap.shape[-1])])
    turn = 2 * np.pi
    return torch.where(turning, gap - turn * torch.floor(gap / turn + 0.5), gap)


def _tensor(array: Array) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, np.float32))


def _host(M: Tensor) -> Array:
    made = M.detach().numpy().astype(np.float64)
    return np.asarray((made + made.T) / 2)
