"""The lives of bubbles: birth, a curved path, death."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streamproc.frame import Array

MARGIN_PX = 3.0  # how far outside the image a bubble may be before it is gone
TURN_RAD = 0.05  # largest turn per frame
BIRTHS = 0.1  # per frame while there is room

# Columns of one bubble; a dead one's amplitude is 0.
Z, X, HEADING, SPEED, TURN, REAL, IMAG = range(7)


@dataclass(frozen=True, slots=True, kw_only=True)
class Habitat:
    """How many bubbles, where, how bright and how fast. Speeds in px per frame."""

    count: tuple[int, int]
    shape: tuple[int, int]
    amplitude: tuple[float, float]
    speed_px: tuple[float, float]
    life_frames: float


def first_bubbles(rng: np.random.Generator, habitat: Habitat) -> Array:
    """(slot, 7) f8 with a random number of them alive."""
    least, most = habitat.count
    bubbles = np.zeros((most, 7))
    alive = int(rng.integers(least, most + 1))
    bubbles[:alive] = _newborn(rng, habitat, alive)
    return bubbles


def live(
    rng: np.random.Generator, habitat: Habitat, bubbles: Array, frames: int
) -> Array:
    """Their columns in every frame, (frame, slot, 7) f8; `bubbles` goes along."""
    path = np.empty((frames, *bubbles.shape))
    spare = _newborn(rng, habitat, (frames, len(bubbles)))
    chances = rng.random((frames, 1 + len(bubbles)))
    for n in range(frames):
        _move(bubbles)
        _die(bubbles, chances[n, 1:], habitat)
        _be_born(bubbles, spare[n], chances[n, 0], habitat)
        path[n] = bubbles
    return path


def alive(bubbles: Array) -> Array:
    """Which slots hold a bubble."""
    return np.asarray(bubbles[..., REAL] ** 2 + bubbles[..., IMAG] ** 2 > 0)


def _newborn(
    rng: np.random.Generator, habitat: Habitat, count: int | tuple[int, int]
) -> Array:
    size = (count,) if isinstance(count, int) else count
    born = np.empty((*size, 7))
    born[..., Z] = rng.uniform(0, habitat.shape[0] - 1, size)
    born[..., X] = rng.uniform(0, habitat.shape[1] - 1, size)
    born[..., HEADING] = rng.uniform(0, 2 * np.pi, size)
    born[..., SPEED] = rng.uniform(*habitat.speed_px, size)
    born[..., TURN] = rng.uniform(-TURN_RAD, TURN_RAD, size)
    phase = rng.uniform(0, 2 * np.pi, size)
    bright = rng.uniform(*habitat.amplitude, size)
    born[..., REAL], born[..., IMAG] = bright * np.cos(phase), bright * np.sin(phase)
    return born


def _move(bubbles: Array) -> None:
    bubbles[:, HEADING] += bubbles[:, TURN]
    bubbles[:, Z] += bubbles[:, SPEED] * np.sin(bubbles[:, HEADING])
    bubbles[:, X] += bubbles[:, SPEED] * np.cos(bubbles[:, HEADING])


def _die(bubbles: Array, chance: Array, habitat: Habitat) -> None:
    rows, columns = habitat.shape
    lost = np.abs(bubbles[:, Z] - (rows - 1) / 2) > (rows - 1) / 2 + MARGIN_PX
    lost |= np.abs(bubbles[:, X] - (columns - 1) / 2) > (columns - 1) / 2 + MARGIN_PX
    lost |= chance * habitat.life_frames < 1
    bubbles[lost] = 0


def _be_born(bubbles: Array, spare: Array, chance: float, habitat: Habitat) -> None:
    """Up to the least number at once, beyond it now and then."""
    room = np.flatnonzero(~alive(bubbles))
    missing = habitat.count[0] - (len(bubbles) - len(room))
    born = max(missing, int(chance < BIRTHS and len(room) > 0))
    slots = room[:born]
    bubbles[slots] = spare[slots]
