"""What a run's picture shows of a comparison: a trail, images, or symbols.

Each keeps a bounded part of what passes, gives it back as state, and as plain values
with a `form` that says how to draw them. `names`: whose values stand side by side.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from streamproc.frame import FREE, Array, ArraySpec

SIDES = ("observation", "truth", "learned", "classical")
LEAST_PX = 8  # sides of what is taken for an image; a longer vector is a waveform
MOST_ROWS = 400  # steps of a trail
MOST_PX = 128  # side of an image that is shown; larger ones are thinned out
MOST_SYMBOLS = 1024
REACH, BINS = 30.0, 120  # LLRs in nats; those beyond stand in the outer bins

Sides = dict[str, Array]


class Exhibit(Protocol):
    """What is kept to be shown."""

    def add(self, sides: Sides) -> None:
        """One frame of each side."""

    @property
    def state(self) -> Sides:
        """Everything kept, as arrays."""

    @state.setter
    def state(self, state: Sides) -> None: ...

    def plain(self) -> dict[str, Any]:
        """Values and `form`; empty as long as nothing came."""


class Trail:
    """The last steps of a vector: where it was, where it was seen, where it was put."""

    def __init__(self) -> None:
        self._rows: dict[str, list[Array]] = {}

    def add(self, sides: Sides) -> None:
        for name, array in sides.items():
            row, rows = _row(array), self._rows.setdefault(name, [])
            if rows and rows[-1].shape != row.shape:
                rows.clear()
            rows.append(row)
            del rows[:-MOST_ROWS]

    @property
    def state(self) -> Sides:
        return {name: np.array(rows) for name, rows in self._rows.items()}

    @state.setter
    def state(self, state: Sides) -> None:
        self._rows = {name: list(rows) for name, rows in state.items()}

    def plain(self) -> dict[str, Any]:
        return {"form": "trail", **_lists(self.state)} if self._rows else {}


class Newest:
    """The last frame of each side: images, or waveforms."""

    def __init__(self, form: str) -> None:
        self._form = form
        self._thin = _THIN[form]
        self._kept: Sides = {}

    def add(self, sides: Sides) -> None:
        # Copies: frames may lie in memory that their producer writes to again.
        self._kept = {name: self._thin(array).copy() for name, array in sides.items()}

    @property
    def state(self) -> Sides:
        return dict(self._kept)

    @state.setter
    def state(self, state: Sides) -> None:
        self._kept = dict(state)

    def plain(self) -> dict[str, Any]:
        if not self._kept:
            return {}
        form = "trail" if self._form == "waveform" else self._form
        return {"form": form, **_lists(self._kept)}


class Symbols:
    """The last symbols as they were seen and sent, and a histogram of their LLRs.

    Of LLRs, (side 2, sent 2, bin): learned and classical, by the symbol that was sent.
    """

    def __init__(self, soft: bool) -> None:
        self._soft = soft
        self._newest = Newest("symbols")
        self._counts = np.zeros((2, 2, BINS))

    def add(self, sides: Sides) -> None:
        self._newest.add(sides)
        if not self._soft:
            return
        truth = sides["truth"]
        for counts, name in zip(self._counts, SIDES[2:], strict=True):
            llr = np.clip(sides[name], -REACH, REACH * (1 - 1e-9))
            at = np.floor((llr + REACH) * (BINS / (2 * REACH))).astype(int)
            for sent in (0, 1):
                counts[sent] += np.bincount(at[truth == sent], minlength=BINS)

    @property
    def state(self) -> Sides:
        return {"counts": self._counts, **self._newest.state}

    @state.setter
    def state(self, state: Sides) -> None:
        rest = dict(state)
        self._counts = np.array(rest.pop("counts"))
        self._newest.state = rest

    def plain(self) -> dict[str, Any]:
        kept = self._newest.state
        if not kept:
            return {}
        shown: dict[str, Any] = {"form": "symbols"}
        for name, array in kept.items():
            split = array.dtype.kind == "c"
            parts = [array.real, array.imag] if split else array
            shown[name] = np.array(parts).tolist()
        if self._soft:
            shown |= {"counts": self._counts.tolist(), "reach": REACH}
        return shown


def exhibit_of(metric: str, truth: ArraySpec, estimate: ArraySpec) -> Exhibit | None:
    """What suits a metric and sizes; None for more than two dims: no picture then."""
    if metric == "ser":
        return Symbols(soft=estimate.dtype in ("f4", "f8")) if truth.shape else None
    if len(truth.shape) > 2:
        return None
    large = [size == FREE or size >= LEAST_PX for size in truth.shape]
    if len(large) == 2 and all(large):
        return Newest("images")
    return Newest("waveform") if large == [True] else Trail()


def _row(array: Array) -> Array:
    """A vector as it is; of many tracks, the first."""
    vectors = array.reshape(-1, array.shape[-1]) if array.ndim else array.reshape(1, 1)
    return np.array(_real(vectors[0])) if len(vectors) else np.zeros(0)


def _column(array: Array) -> Array:
    return _real(array).reshape(-1, 1)[:MOST_ROWS]


def _real(array: Array) -> Array:
    return array.real if array.dtype.kind == "c" else array


def _thinned(array: Array) -> Array:
    """Magnitudes of an image, every n-th pixel of a large one."""
    if array.ndim != 2:
        return np.zeros((0, 0))
    steps = [max(1, -(-size // MOST_PX)) for size in array.shape]
    return np.abs(array[:: steps[0], :: steps[1]])


def _first_symbols(array: Array) -> Array:
    return array.reshape(-1)[:MOST_SYMBOLS]


_THIN = {"images": _thinned, "waveform": _column, "symbols": _first_symbols}


def _lists(arrays: Sides) -> dict[str, Any]:
    """Six digits are enough to draw, and short to send."""
    return {
        name: [[float(f"{v:.6g}") for v in row] for row in np.atleast_2d(array)]
        for name, array in arrays.items()
    }
