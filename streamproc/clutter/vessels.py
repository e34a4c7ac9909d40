"""From tracks of bubbles to a map of vessels finer than the image.

Fine pixel i of a map `scale` times as fine is centred at (i + 0.5) / scale - 0.5 px.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from streamproc.frame import Array

STATES = ("id", "count", "coast", "x", "gain", "drawn")
UNMOVED = 1e-9  # of a state against its forecast, relative: nothing was detected


class Segments(NamedTuple):
    """Straight parts of paths: places (segment, [z, x]) f8 one frame apart."""

    start: Array
    stop: Array


class Motion(NamedTuple):
    """How a track moves: x after = F x + noise of covariance Q; both (n, n)."""

    F: Array
    Q: Array


class Paths:
    """Tracks as they come, smoothed by what is seen of them `lag` frames later.

    What a track foresaw after its last detection is no path of it.

    places: of tracks in a frame. least: frames of the shortest path that counts, at
    most lag + 1. The first two components of a state are its place.

        x_s(t) = x(t) + C(t) (x_s(t+1) - F x(t)),  C = P F' (F P F' + Q)^-1
    [Rauch, Tung, Striebel, AIAA J. 3(8), 1965]
    """

    def __init__(self, motion: Motion, places: int, lag: int, least: int) -> None:
        self._motion, self._least, n = motion, least, len(motion.F)
        self._id = np.full(places, -1, np.int64)
        self._count = np.zeros(places, np.int64)  # frames in the buffer
        self._coast = np.zeros(places, np.int64)  # frames since the last detection
        self._x = np.zeros((lag + 1, places, n))  # oldest first
        self._gain = np.zeros((lag + 1, places, n, n))
        self._drawn = np.full((places, 2), np.nan)  # where a path was drawn to

    def push(self, x: Array, P: Array, name: Array) -> Segments:
        """Tracks x (place, n), P (place, n, n), name (place,), below 0 where none is.

        What is now known of their paths.
        """
        made = [self._rest(k) for k in _places((self._id != name) & self._begun)]
        self._take(x, P, name)
        due = np.flatnonzero(self._count == len(self._x))
        if len(due):
            made.append(self._oldest(due))
        return _joined(made)

    def finish(self) -> Segments:
        """What is left of all paths, which end here."""
        made = [self._rest(place) for place in _places(self._begun)]
        self._id[:], self._count[:], self._drawn[:] = -1, 0, np.nan
        return _joined(made)

    @property
    def _begun(self) -> Array:
        return np.asarray(self._id >= 0)

    def _take(self, x: Array, P: Array, name: Array) -> None:
        F, Q = self._motion
        there = name >= 0
        goes_on = there & (self._id == name)
        for buffer in (self._x, self._gain):
            buffer[:-1] = buffer[1:]
        self._x[-1] = now = np.where(there[:, None], x, 0.0)
        forecast = self._x[-2] @ F.T
        largest = np.abs(now[np.isfinite(now).all(1)]).max(initial=0)
        alike = np.isclose(now, forecast, UNMOVED, UNMOVED * largest)
        self._coast = np.where(goes_on & alike.all(1), self._coast + 1, 0)
        spread = np.where(there[:, None, None], P, np.eye(len(F)))
        foreseen = F @ spread @ F.T + Q
        self._gain[-1] = np.linalg.solve(foreseen, F @ spread).swapaxes(1, 2)
        before = np.where(goes_on, self._count, 0)
        self._count = np.where(there, np.minimum(before + 1, len(self._x)), 0)
        self._drawn[~goes_on] = np.nan
        self._id = np.array(name, np.int64)

    def _oldest(self, due: Array) -> Segments:
        """To the oldest place in the buffer, of paths that fill it.

        One that nothing was detected since is foreseen only: a path breaks off there.
        """
        foreseen = self._coast[due] >= len(self._x)
        self._drawn[due[foreseen]] = np.nan
        due = due[~foreseen]
        *_, place = self._backward(due, len(self._x))
        begun = np.isfinite(self._drawn[due, 0])
        made = Segments(self._drawn[due[begun]], place[begun])
        self._drawn[due] = place
        return made

    def _rest(self, place: int) -> Segments:
        """What is not drawn of a path that has ended; nothing of a short one."""
        count, drawn = int(self._count[place]), np.isfinite(self._drawn[place, 0])
        skip = int(self._coast[place])
        if count - skip < (1 if drawn else self._least):
            return _joined([])
        path = np.concatenate(self._backward(np.array([place]), count, skip))[::-1]
        if drawn:
            path[0] = self._drawn[place]
        return Segments(path[:-1], path[1:])

    def _backward(self, which: Array, count: int, skip: int = 0) -> list[Array]:
        """Smoothed places (which, 2) of `count` frames, newest first, less `skip`."""
        F, x, gain = self._motion.F, self._x[:, which], self._gain[:, which]
        smooth = x[-1 - skip]
        out = [smooth[:, :2]]
        for k in range(2 + skip, count + 1):
            miss = smooth - x[-k] @ F.T
            smooth = x[-k] + (gain[-k] @ miss[..., None])[..., 0]
            out.append(smooth[:, :2])
        return out

    @property
    def state(self) -> dict[str, Array]:
        return {name: getattr(self, f"_{name}") for name in STATES}

    @state.setter
    def state(self, state: dict[str, Array]) -> None:
        for name in STATES:
            setattr(self, f"_{name}", np.array(state[name]))


def _places(which: Array) -> list[int]:
    return [int(place) for place in np.flatnonzero(which)]


def _joined(made: list[Segments]) -> Segments:
    if not made:
        return Segments(np.empty((0, 2)), np.empty((0, 2)))
    start, stop = zip(*made, strict=True)
    return Segments(np.concatenate(start), np.concatenate(stop))


class Canvas:
    """How many bubbles have passed each fine pixel, and how fast.

    shape (z, x): of the image, px. density (z * scale, x * scale) f4: passages.
    """

    def __init__(self, shape: tuple[int, int], scale: int) -> None:
        self._shape, self._scale = (shape[0] * scale, shape[1] * scale), scale
        self.density = np.zeros(self._shape, np.float32)
        self._moves = np.zeros((*self._shape, 2), np.float32)

    def draw(self, segments: Segments) -> None:
        """Straight lines, px; each fine pixel that one enters is passed once.

        None is drawn that is longer than the image, or not finite.
        """
        move = segments.stop - segments.start
        sound = np.abs(move).max(1, initial=0) * self._scale <= max(self._shape)
        start, move = segments.start[sound], move[sound]
        if not len(start):
            return
        longest = np.abs(move).max() * self._scale
        share = np.linspace(0, 1, 2 + int(2 * longest))[:, None, None]
        fine = np.floor((start + share * move + 0.5) * self._scale).astype(np.int64)
        entered = (fine[1:] != fine[:-1]).any(2)
        entered &= ((fine[1:] >= 0) & (fine[1:] < self._shape)).all(2)
        at = tuple(fine[1:][entered].T)
        np.add.at(self.density, at, np.float32(1))
        whose = np.broadcast_to(move.astype(np.float32), fine[1:].shape)
        np.add.at(self._moves, at, whose[entered])

    def velocity(self) -> Array:
        """Mean (z, x, axis [z, x]) f4, px per frame; NaN where nothing has passed."""
        with np.errstate(invalid="ignore"):
            return np.asarray(self._moves / self.density[..., None])

    @property
    def state(self) -> dict[str, Array]:
        return {"density": self.density, "moves": self._moves}

    @state.setter
    def state(self, state: dict[str, Array]) -> None:
        self.density, self._moves = np.array(state["density"]), np.array(state["moves"])
