"""The lives of bubbles: birth, a curved path or a vessel's, death."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from streamproc.frame import Array
from streamproc.sims.vessels import NEAREST, Vessels

MARGIN_PX = 3.0  # how far outside the image a bubble may be before it is gone
TURN_RAD = 0.05  # largest turn per frame
BIRTHS = 0.1  # per frame while there is room

# Columns of one bubble; a dead one's amplitude is 0. The last three are used in
# vessels only: number of the tube, how far along it and how far off its axis, px.
Z, X, HEADING, SPEED, TURN, REAL, IMAG, NAME, TUBE, ARC, OFFSET = range(11)
COLUMNS = 11


@dataclass(frozen=True, slots=True, kw_only=True)
class Habitat:
    """How many bubbles, where, how bright and how fast. Speeds in px per frame.

    vessels: with them, bubbles are born in their lumens and flow along.
    """

    count: tuple[int, int]
    shape: tuple[int, int]
    amplitude: tuple[float, float]
    speed_px: tuple[float, float]
    life_frames: float
    vessels: Vessels | None = None


def first_bubbles(rng: np.random.Generator, habitat: Habitat) -> Array:
    """(slot, column) f8 with a random number of them alive."""
    least, most = habitat.count
    bubbles = np.zeros((most, COLUMNS))
    alive = int(rng.integers(least, most + 1))
    bubbles[:alive] = _newborn(rng, habitat, alive)
    bubbles[:alive, NAME] = np.arange(alive)
    return bubbles


def live(
    rng: np.random.Generator, habitat: Habitat, bubbles: Array, frames: range
) -> Array:
    """Their columns in every frame, (frame, slot, column) f8; `bubbles` goes along.

    frames: which ones of the scene, for names: no two bubbles of it share one.
    """
    path = np.empty((len(frames), *bubbles.shape))
    spare = _newborn(rng, habitat, (len(frames), len(bubbles)))
    slots = len(bubbles)
    chances = rng.random((len(frames), 1 + slots))
    for n, frame in enumerate(frames):
        spare[n, :, NAME] = (1 + frame) * slots + np.arange(slots)
        _move(bubbles, habitat)
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
    born = np.zeros((*size, COLUMNS))
    born[..., Z] = rng.uniform(0, habitat.shape[0] - 1, size)
    born[..., X] = rng.uniform(0, habitat.shape[1] - 1, size)
    born[..., HEADING] = rng.uniform(0, 2 * np.pi, size)
    born[..., SPEED] = rng.uniform(*habitat.speed_px, size)
    born[..., TURN] = rng.uniform(-TURN_RAD, TURN_RAD, size)
    phase = rng.uniform(0, 2 * np.pi, size)
    bright = rng.uniform(*habitat.amplitude, size)
    born[..., REAL], born[..., IMAG] = bright * np.cos(phase), bright * np.sin(phase)
    if habitat.vessels:
        share, across = rng.random(size), rng.uniform(-NEAREST, NEAREST, size)
        tube, born[..., ARC] = habitat.vessels.place(share)
        born[..., TUBE] = tube
        born[..., OFFSET] = across * habitat.vessels.radius_px[tube]
        _flow_along(born, habitat.vessels)
    return born


def _move(bubbles: Array, habitat: Habitat) -> None:
    if habitat.vessels:
        before = bubbles[:, TUBE].astype(np.int64), bubbles[:, ARC], bubbles[:, OFFSET]
        after = habitat.vessels.follow(*before)
        bubbles[:, TUBE], bubbles[:, ARC], bubbles[:, OFFSET] = after
        _flow_along(bubbles, habitat.vessels)
        return
    bubbles[:, HEADING] += bubbles[:, TURN]
    bubbles[:, Z] += bubbles[:, SPEED] * np.sin(bubbles[:, HEADING])
    bubbles[:, X] += bubbles[:, SPEED] * np.cos(bubbles[:, HEADING])


def _flow_along(bubbles: Array, vessels: Vessels) -> None:
    """Where a bubble is and how it moves, from its place in its tube."""
    tube = bubbles[..., TUBE].astype(np.int64)
    place = vessels.where(tube, bubbles[..., ARC], bubbles[..., OFFSET])
    for column, values in zip((Z, X, HEADING, SPEED), place, strict=True):
        bubbles[..., column] = values


def _die(bubbles: Array, chance: Array, habitat: Habitat) -> None:
    rows, columns = habitat.shape
    lost = np.abs(bubbles[:, Z] - (rows - 1) / 2) > (rows - 1) / 2 + MARGIN_PX
    lost |= np.abs(bubbles[:, X] - (columns - 1) / 2) > (columns - 1) / 2 + MARGIN_PX
    lost |= chance * habitat.life_frames < 1
    if habitat.vessels:
        end = habitat.vessels.length_px[bubbles[:, TUBE].astype(np.int64)]
        lost |= (bubbles[:, ARC] < 0) | (bubbles[:, ARC] > end)
    bubbles[lost] = 0


def _be_born(bubbles: Array, spare: Array, chance: float, habitat: Habitat) -> None:
    """Up to the least number at once, beyond it now and then."""
    room = np.flatnonzero(~alive(bubbles))
    missing = habitat.count[0] - (len(bubbles) - len(room))
    born = max(missing, int(chance < BIRTHS and len(room) > 0))
    slots = room[:born]
    bubbles[slots] = spare[slots]
