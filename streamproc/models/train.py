"""Training of KalmanNet: several seeds at once, resumable, the same every time."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from streamproc.errors import ArtifactError
from streamproc.evaluation.recording import Recording
from streamproc.filters.ekf import Ekf
from streamproc.frame import Array
from streamproc.models.checkpoint import Progress, Score, load, save
from streamproc.models.data import Drawing, Pool, chunks, pool
from streamproc.models.network import Scales, Weights, initial
from streamproc.models.noise import grid
from streamproc.models.recipe import Recipe
from streamproc.models.rollout import (
    Carry,
    Chunk,
    Dynamics,
    Rollout,
    innovation_nll,
    nll,
    unroll,
)
from streamproc.statespace.model import StateSpace, state_difference

SHARES = tuple(float(share) for share in np.logspace(-6, 0, 25))  # of q2 in r2
# Scenes of the training and of the validation set begin at these seeds.
TRAIN_SEED = 1000
VALIDATION_SEED = 2000
VALIDATION_TRACKS = 10
VALIDATION_STEPS = 600
FIRST_RATE, LAST_RATE = 1 / 10, 1 / 1000  # of the highest
WARM_SHARE = 0.3  # of the iterations, in which the rate rises
SETTLED = 20  # steps of a validation track that are not scored


class Setting(NamedTuple):
    """What does not change while a network is trained."""

    recipe: Recipe
    seeds: tuple[int, ...]
    model: StateSpace
    dynamics: Dynamics
    scales: Scales
    train: Pool
    validation: Chunk

    @property
    def told(self) -> str:
        """Which recipe and seeds, for a checkpoint."""
        return repr((self.recipe, self.seeds))


def on_one_thread() -> None:
    """A step is many small operations: threads would only wait for each other."""
    torch.set_num_threads(1)


def prepare(recipe: Recipe, seeds: tuple[int, ...]) -> Setting:
    """Data, model and scales of a recipe.

    The observations of the validation set are the same for every seed.
    ArtifactError where data and model do not fit each other.
    """
    config = recipe.training
    train = pool(recipe.data, "train", config.trajectories, config.length, TRAIN_SEED)
    tracks = min(VALIDATION_TRACKS, config.trajectories)
    steps = min(VALIDATION_STEPS, config.length)
    held = pool(recipe.data, "val", tracks, steps + 1, VALIDATION_SEED)
    made = recipe.model.made()
    _check_fit(recipe, made, train)
    _check_enough(recipe, train, held)
    rng = np.random.default_rng(VALIDATION_SEED)
    if recipe.model.tune and train.truth is not None:
        made = _tuned(made, train.truth, train.seen(rng))
    validation = _whole(held, made, held.seen(rng), len(seeds))
    scales = _scales(made, train, rng)
    return Setting(recipe, seeds, made, Dynamics(made), scales, train, validation)


def _check_fit(recipe: Recipe, model: StateSpace, data: Pool) -> None:
    for what, array, size in (
        ("observation", data.clean, model.m),
        ("truth", data.truth, model.n),
    ):
        if array is not None and array.shape[-1] != size:
            raise ArtifactError(
                f"recipe {recipe.name!r}: {what}: expected {size} components, as "
                f"model {model.name!r} has, got {array.shape[-1]}"
            )
    if data.truth is None and recipe.training.objective == "supervised":
        raise ArtifactError(
            f"recipe {recipe.name!r}: training.objective: expected 'innovation' where "
            "there is no truth, got 'supervised'"
        )


def _check_enough(recipe: Recipe, train: Pool, held: Pool) -> None:
    """Trajectories that are longer than a chunk, and something to validate on."""
    steps, chunk = train.shape[1], recipe.training.settle + recipe.training.chunk
    if steps <= chunk:
        raise ArtifactError(
            f"recipe {recipe.name!r}: expected training trajectories of more than "
            f"{chunk} frames (training.settle and chunk), got {steps}; record longer "
            "ones, or train on shorter chunks"
        )
    if not np.isfinite(held.clean[:, SETTLED + 2 :]).any():
        raise ArtifactError(
            f"recipe {recipe.name!r}: expected observations to validate on, got none "
            f"behind frame {SETTLED + 1} of the validation part; record longer"
        )


def _tuned(model: StateSpace, truth: Array, y: Array) -> StateSpace:
    """The model with the Q that its classical twin needs."""
    q2 = [share * float(np.trace(model.R)) / model.m for share in SHARES]
    best = grid(Ekf, model, Recording(truth, y), q2)
    return model.with_noise(Q=best.Q)


def _whole(data: Pool, model: StateSpace, y: Array, seeds: int) -> Chunk:
    """Whole trajectories, from their first observation on, the same for every seed."""
    start = np.array([model.begin(first)[0] for first in y[:, 0]])
    truth = (
        np.full((*y.shape[:2], model.n), np.nan) if data.truth is None else data.truth
    )
    first = np.where(np.isfinite(y[:, 0]), y[:, 0], 0.0)
    parts = (start, first, y[:, 1:], truth[:, 1:])
    tensors = [torch.from_numpy(np.array(part, np.float32)) for part in parts]
    return Chunk(*(t.expand(seeds, *t.shape).contiguous() for t in tensors))


def _scales(model: StateSpace, data: Pool, rng: np.random.Generator) -> Scales:
    """Sizes as the classical twin meets them on the training set."""
    y = data.seen(rng)
    twin = Ekf(model, len(y))
    twin.start(slice(None), y[:, 0])
    estimates = np.array(
        [twin.step(row, model.step_s).x for row in y.swapaxes(0, 1)[1:]]
    )
    if data.truth is None:
        error = np.sqrt(np.diagonal(twin.P, axis1=1, axis2=2).mean(0))
    else:
        gap = state_difference(model, estimates, data.truth.swapaxes(0, 1)[1:])
        error = np.sqrt(np.median(gap**2, (0, 1)) / 0.455)  # of a Gaussian's square
    walked = state_difference(model, estimates[1:], estimates[:-1])
    sizes = (
        np.sqrt(np.diag(model.R)),
        np.sqrt(np.median(walked**2, (0, 1)) / 0.455) + 1e-3 * error,
        error,
        np.median(estimates, (0, 1)),
        estimates.std((0, 1)) + error,
    )
    return Scales(*(torch.from_numpy(np.array(size, np.float32)) for size in sizes))


def train(
    setting: Setting,
    checkpoint: Path | None = None,
    told: Callable[[int, Score | None], None] = lambda iteration, score: None,
) -> Progress:
    """Train until the iterations are over, or nothing gets better any more.

    checkpoint: .npz that a run interrupted before goes on from, to the same weights
    as an undisturbed one.  told: called after each iteration, with a score if there
    is a new one.
    """
    recipe, config = setting.recipe, setting.recipe.training
    progress = _begin(setting, checkpoint)
    for weight in progress.weights.values():
        weight.requires_grad_(True)
    adam = torch.optim.Adam(list(progress.weights.values()))
    _recall(adam, progress)
    began = time.monotonic() - progress.seconds
    while progress.iteration < config.iterations and not _settled(progress, recipe):
        loss = _iterate(setting, progress, adam)
        progress.iteration += 1
        progress.seconds = time.monotonic() - began
        score = None
        last = progress.iteration == config.iterations
        if progress.iteration % config.evaluate_every == 0 or last:
            score = _evaluate(setting, progress, loss)
            _remember(adam, progress)
            if checkpoint is not None:
                save(progress, checkpoint, setting.told)
        told(progress.iteration, score)
    return progress


def _settled(progress: Progress, recipe: Recipe) -> bool:
    """No seed has had a new best for a while, after the rate has begun to fall."""
    past = recipe.training.patience * recipe.training.evaluate_every
    if progress.iteration < 0.5 * recipe.training.iterations + past:
        return False
    errors = np.array([score.error_db for score in progress.history])
    recent = errors[-recipe.training.patience :]
    return bool((recent.min(0) > errors.min(0)).all())


def _begin(setting: Setting, checkpoint: Path | None) -> Progress:
    n, m = setting.model.n, setting.model.m
    weights, _ = initial(setting.recipe.network, n, m, setting.seeds)
    best = {name: weight.clone() for name, weight in weights.items()}
    progress = Progress(weights, best, np.full(len(setting.seeds), np.inf))
    if checkpoint is not None and checkpoint.exists():
        load(progress, checkpoint, setting.told)
    return progress


def rate_at(iteration: int, config: Any) -> float:
    """One cycle: up from a tenth, down to a thousandth, along cosines."""
    warm = max(1.0, WARM_SHARE * config.iterations)
    if iteration < warm:
        low, share = FIRST_RATE, iteration / warm
    else:
        low, share = LAST_RATE, 1 - (iteration - warm) / (config.iterations - warm)
    wave = 0.5 * (1 - np.cos(np.pi * share))
    return float(config.rate * (low + (1 - low) * wave))


def _iterate(
    setting: Setting, progress: Progress, adam: torch.optim.Adam
) -> tuple[float, ...]:
    config = setting.recipe.training
    short = progress.iteration < config.short_share * config.iterations
    steps = min(config.short_chunk, config.chunk) if short else config.chunk
    steps += config.settle
    drawing = Drawing(setting.model, config, setting.scales.error.double().numpy())
    rngs = [np.random.default_rng((seed, progress.iteration)) for seed in setting.seeds]
    chunk = chunks(setting.train, drawing, steps, rngs)
    losses = _loss(setting, progress.weights, chunk)
    adam.zero_grad()
    losses.sum().backward()  # type: ignore[no-untyped-call]
    _clip(progress.weights, config.clip)
    for group in adam.param_groups:
        group["lr"] = rate_at(progress.iteration, config)
    adam.step()
    return tuple(losses.tolist())


def _run(
    setting: Setting, weights: Weights, chunk: Chunk, carry: Carry | None = None
) -> Rollout:
    network = setting.recipe.network
    return unroll(weights, network, setting.scales, setting.dynamics, chunk, carry)


def _settled_run(
    setting: Setting, weights: Weights, chunk: Chunk
) -> tuple[Rollout, Chunk]:
    """What counts of a chunk: behind the steps in which the filter settles.

    Those have no gradient, but the errors they end with are those of a filter in
    service, slow ones too.
    """
    settle = setting.recipe.training.settle
    if not settle:
        return _run(setting, weights, chunk), chunk
    early = chunk._replace(y=chunk.y[:, :, :settle], truth=chunk.truth[:, :, :settle])
    rest = chunk._replace(y=chunk.y[:, :, settle:], truth=chunk.truth[:, :, settle:])
    with torch.no_grad():
        carry = _run(setting, weights, early).carry
    return _run(setting, weights, rest, carry), rest


def _loss(setting: Setting, weights: Weights, chunk: Chunk) -> Tensor:
    """One number for every seed.

    The likelihood trains the covariance alone: its errors are constants, so that the
    gain minimises the squared error and nothing else.
    """
    config = setting.recipe.training
    rollout, chunk = _settled_run(setting, weights, chunk)
    if config.objective == "innovation":
        square = (rollout.innovation / setting.scales.observation) ** 2
        fit = square.mean((1, 2, 3))
        loose = rollout._replace(innovation=rollout.innovation.detach())
        likelihood = _innovation_nll(setting, loose, chunk)
    else:
        error = setting.dynamics.state_difference(rollout.x, chunk.truth)
        square = (error / setting.scales.error) ** 2
        fit = square[..., list(_counted(setting))].mean((1, 2, 3))
        likelihood = nll(error.detach(), rollout.factor).mean((1, 2))
    return fit + config.nll * likelihood


def _counted(setting: Setting) -> tuple[int, ...]:
    """Components of the state whose error counts."""
    return setting.recipe.training.components or tuple(range(setting.model.n))


def _innovation_nll(setting: Setting, rollout: Rollout, chunk: Chunk) -> Tensor:
    Q, R = (
        torch.from_numpy(np.array(c, np.float32))
        for c in (setting.model.Q, setting.model.R)
    )
    return innovation_nll(rollout, Q, R, torch.isfinite(chunk.y)).mean((1, 2))


def _clip(weights: Weights, most: float) -> None:
    """Scale gradients down to a norm, each seed's by itself; none where not finite."""
    grads = [w.grad for w in weights.values() if w.grad is not None]
    norm = torch.stack([g.flatten(1).square().sum(1) for g in grads]).sum(0).sqrt()
    scale = (most / norm).clamp(max=1.0)
    scale = torch.where(torch.isfinite(norm), scale, torch.zeros_like(norm))
    for grad in grads:
        grad.nan_to_num_(0.0, 0.0, 0.0)
        grad.mul_(scale.reshape(-1, *[1] * (grad.dim() - 1)))


def _evaluate(setting: Setting, progress: Progress, loss: tuple[float, ...]) -> Score:
    with torch.no_grad():
        rollout = _run(setting, progress.weights, setting.validation)
    error, factor = _scored(setting, rollout)
    supervised = setting.recipe.training.objective == "supervised"
    counted = error[..., list(_counted(setting))] if supervised else error
    power = (counted**2).mean((1, 2, 3))
    white = torch.linalg.solve_triangular(factor, error[..., None], upper=False)
    anees = (white[..., 0] ** 2).mean((1, 2, 3))
    error_db = 10 * np.log10(power.double().numpy())
    error_db = np.where(np.isfinite(error_db), error_db, np.inf)
    for seed in np.flatnonzero(error_db < progress.best_db):
        progress.best_db[seed] = error_db[seed]
        for name, weight in progress.weights.items():
            progress.best[name][seed] = weight[seed].detach()
    score = Score(
        progress.iteration,
        round(progress.seconds, 1),
        loss,
        tuple(error_db.tolist()),
        tuple(anees.tolist()),
    )
    progress.history.append(score)
    return score


def _scored(setting: Setting, rollout: Rollout) -> tuple[Tensor, Tensor]:
    """What is scored of a validation run, and the factor of its covariance."""
    if setting.recipe.training.objective == "supervised":
        truth = setting.validation.truth
        error = setting.dynamics.state_difference(rollout.x, truth)
        return error[:, :, SETTLED:], rollout.factor[:, :, SETTLED:]
    Q, R = (
        torch.from_numpy(np.array(c, np.float32))
        for c in (setting.model.Q, setting.model.R)
    )
    F, H = rollout.prior_jacobian[:, :, 1:], rollout.look_jacobian[:, :, 1:]
    spread = F @ rollout.factor[:, :, :-1]
    S = H @ (spread @ spread.mT + Q) @ H.mT + R
    error = rollout.innovation[:, :, 1:] / setting.scales.observation
    ratio = torch.diag(1 / setting.scales.observation)
    factor = torch.linalg.cholesky(ratio @ S @ ratio)
    return error[:, :, SETTLED:], factor[:, :, SETTLED:]


def _remember(adam: torch.optim.Adam, progress: Progress) -> None:
    """Copy the optimiser's moments to where a checkpoint finds them."""
    for name, weight in progress.weights.items():
        for key, value in adam.state[weight].items():
            progress.moments[f"{name}:{key}"] = value


def _recall(adam: torch.optim.Adam, progress: Progress) -> None:
    for key, value in progress.moments.items():
        name, _, moment = key.rpartition(":")
        adam.state[progress.weights[name]][moment] = value
