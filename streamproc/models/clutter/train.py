"""Training of the clutter filter: on known bubbles, or without any labels."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from streamproc.frame import Array
from streamproc.models.clutter.followed import Moments
from streamproc.models.clutter.network import (
    Corona,
    Live,
    LiveConfig,
    NetworkConfig,
)
from streamproc.models.clutter.windows import planes, windows
from streamproc.schema import Above, Max, Min
from streamproc.sims.patches import Patches

CLIP = 1.0  # norm of the gradient above which it is scaled down
WARM_STEPS, LAST_RATE = 50, 0.02  # of the first rate
SHALLOW = 0.3  # weight of the loss of each depth but the deepest
CURVE = 20  # steps between points of the learning curve
ROBUST = 4.0  # in units of the noise: larger differences count by their size
INJECTED_DB = (12.0, 32.0)  # peak of an injected bubble over the noise

Told = Callable[[int, int, str], None]  # (done, of, what)
ModuleT = TypeVar("ModuleT", bound=nn.Module)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingConfig:
    """How a network is trained, by Adam, its rate falling along half a cosine.

    steps: batches seen.
    batch: windows in each.
    rate: learning rate at first.
    most_minutes: of processor time; the cosine ends by then at the latest.
    """

    steps: Annotated[int, Min(1)] = 1150
    batch: Annotated[int, Min(1), Max(256)] = 8
    rate: Annotated[float, Above(0)] = 6e-3
    most_minutes: Annotated[float, Above(0)] = 8.3


class Trained(NamedTuple, Generic[ModuleT]):
    """history: loss of the deepest layer, every CURVE steps.  steps: taken."""

    network: ModuleT
    history: Array
    steps: int
    minutes: float


class Lesson(NamedTuple):
    """One batch: images and target (B, T, Z, X) c8, and the mean energy of targets.

    robust: whether large differences count by their size, not their square.
    counts: (B, T, Z, X) f4, weights of pixels; None: 1 everywhere.
    """

    images: Array
    target: Array
    energy: float
    robust: bool
    counts: Array | None = None


Lessons = Callable[[Corona, np.random.Generator], Lesson]


def supervised(patches: Patches, batch: int) -> Lessons:
    """Windows whose bubbles are known."""
    energy = _mean_energy(patches.truth)

    def draw(_: Corona, rng: np.random.Generator) -> Lesson:
        at = rng.integers(0, len(patches.image), batch)
        return Lesson(patches.image[at], patches.truth[at], energy, robust=False)

    return draw


def label_free(images: Array, occupied: Array, bubbles: Array, batch: int) -> Lessons:
    """Windows whose own bubbles nobody knows, with known ones laid over them.

    images, bubbles: (N, T, Z, X) c8.  occupied: b1, where a filter that nobody trained
    finds bubbles of the images' own: there, nobody is asked. Elsewhere the target is
    what was laid over, and a robust loss forgives bubbles that it missed.
    """

    def draw(network: Corona, rng: np.random.Generator) -> Lesson:
        at = rng.integers(0, len(images), batch)
        own = images[at]
        scale = windows(own, network.config.rank).scale.numpy()
        noise = np.median(scale, axis=(1, 2, 3, 4))
        laid = bubbles[rng.integers(0, len(bubbles), batch)]
        peak = np.abs(laid).max((1, 2, 3), keepdims=True)
        level = 10 ** (rng.uniform(*INJECTED_DB, (batch, 1, 1, 1)) / 20)
        laid = laid * (level * noise[:, None, None, None] / np.maximum(peak, 1e-20))
        laid = laid.astype(np.complex64)
        counts = (~occupied[at]).astype(np.float32)
        energy = _mean_energy(laid * counts)
        return Lesson(own + laid, laid, energy, robust=True, counts=counts)

    return draw


class Answer(NamedTuple):
    """Squared errors (B,) of each depth, and what they are held against (B,)."""

    errors: list[Tensor]
    reference: Tensor


Ask = Callable[[ModuleT, np.random.Generator, int], Answer]  # step by step


def train(
    network: ModuleT,
    training: TrainingConfig,
    ask: Ask[ModuleT],
    seed: int,
    told: Told | None = None,
) -> Trained[ModuleT]:
    """Change the network's weights. Deterministic by its seed, unless most_minutes
    cut it short.
    """
    began, busy = time.monotonic(), time.process_time()
    rng = np.random.default_rng((seed, 5))
    adam = torch.optim.Adam(network.parameters(), lr=training.rate, betas=(0.9, 0.99))
    losses: list[float] = []
    for step, share in _steps(training, busy):
        rate = LAST_RATE + (1 - LAST_RATE) * (1 + math.cos(math.pi * share)) / 2
        rate *= min(1.0, (step + 1) / WARM_STEPS)
        for group in adam.param_groups:
            group["lr"] = training.rate * rate
        errors, reference = ask(network, rng, step)
        each = torch.stack([(error / reference).mean() for error in errors])
        adam.zero_grad()
        loss = each[-1] + SHALLOW * each[:-1].sum()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP)
        adam.step()
        losses.append(float(each[-1].detach()))
        if told and step % 10 == 9:
            told(step + 1, training.steps, f"loss {np.mean(losses[-50:]):.3f}")
    whole = len(losses) // CURVE * CURVE
    history = np.reshape(losses[:whole], (-1, CURVE)).mean(1)
    return Trained(network, history, len(losses), (time.monotonic() - began) / 60)


def window_network(config: NetworkConfig, seed: int) -> Corona:
    """Not trained yet."""
    torch.manual_seed(seed)
    return Corona(config)


def live_network(config: LiveConfig, seed: int) -> Live:
    """Not trained yet."""
    torch.manual_seed(seed)
    return Live(config)


def on_windows(lessons: Lessons) -> Ask[Corona]:
    """Errors of whole windows that are cold."""

    def ask(network: Corona, rng: np.random.Generator, step: int) -> Answer:
        lesson = _flipped(lessons(network, rng), step)
        image, scale, basis = windows(lesson.images, network.config.rank)
        target = planes(lesson.target)
        bubbles, _, _ = network(image, torch.zeros_like(image), basis)
        counts = None if lesson.counts is None else torch.from_numpy(lesson.counts)
        errors = [
            _error(one * scale, target, scale, lesson.robust, counts) for one in bubbles
        ]
        return Answer(errors, _reference(target, scale, lesson.energy))

    return ask


def on_moments(given: Moments, batch: int) -> Ask[Live]:
    """Errors of the newest frames of streams."""
    energy = _mean_energy(given.truth)

    def ask(network: Live, rng: np.random.Generator, step: int) -> Answer:
        at = rng.integers(0, len(given.recent), batch)
        some = Moments(*(_turned(rows[at], step) for rows in given))
        target = planes(some.truth)[:, None]
        scale = torch.from_numpy(some.scale)[:, None, None]
        errors = [_error(one, target, scale, False) for one in _live(network, some)]
        return Answer(errors, _reference(target, scale, energy))

    return ask


def _live(network: Live, some: Moments) -> list[Tensor]:
    """Bubbles (B, 1, 2, Z, X) of every depth."""
    scale = torch.from_numpy(some.scale)[:, None, None]
    rows = planes(some.rows)
    bubbles, _ = network(planes(some.recent) / scale, rows * scale, rows / scale)
    return [one * scale for one in bubbles]


def _mean_energy(truth: Array) -> float:
    return float((abs(truth) ** 2).sum(tuple(range(1, truth.ndim))).mean())


def _reference(target: Tensor, scale: Tensor, energy: float) -> Tensor:
    """The energy there is to find, and some more where there is little."""
    own = (target**2).sum((1, 2, 3, 4))
    noise = (scale**2).mean((1, 2, 3, 4)) * target[0].numel() / 2
    return own + energy + noise / 10


def _steps(training: TrainingConfig, busy: float) -> Iterator[tuple[int, float]]:
    """Numbers of steps, and how much of the schedule is over."""
    for step in range(training.steps):
        spent = (time.process_time() - busy) / (60 * training.most_minutes)
        if spent >= 1:
            return
        yield step, max(spent, step / training.steps)


def _flipped(lesson: Lesson, step: int) -> Lesson:
    images, target = (_turned(one, step) for one in (lesson.images, lesson.target))
    counts = None if lesson.counts is None else _turned(lesson.counts, step)
    return lesson._replace(images=images, target=target, counts=counts)


def _turned(images: Array, step: int) -> Array:
    """Left is as good as right, and up as down where magnitudes decide."""
    ways = [axis for bit, axis in ((1, -1), (2, -2)) if step & bit]
    return np.ascontiguousarray(np.flip(images, tuple(ways))) if ways else images


def _error(
    found: Tensor,
    target: Tensor,
    scale: Tensor,
    robust: bool,
    counts: Tensor | None = None,
) -> Tensor:
    square = ((found - target) ** 2).sum(2, keepdim=True)
    if robust:
        edge = (ROBUST * scale) ** 2
        huber = 2 * torch.sqrt(edge * square.clamp(min=1e-20)) - edge
        square = torch.where(square > edge, huber, square)
    if counts is not None:
        square = square * counts[:, :, None]
    return square.sum((1, 2, 3, 4))


def estimate(network: Corona, images: Array, depth: int = 0) -> Array:
    """Bubbles (B, T, Z, X) c8 of cold windows; depth 0: of all layers."""
    with torch.no_grad():
        image, scale, basis = windows(images, network.config.rank)
        found, _, _ = network(image, torch.zeros_like(image), basis)
        parts = (found[depth - 1] * scale).numpy()
    return np.asarray(parts[:, :, 0] + 1j * parts[:, :, 1], np.complex64)
