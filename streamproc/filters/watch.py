"""Whether a filter's innovations are as large as it says, track by track."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
# mypy: disallow-untyped-decorators=False

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import boolean, float64, int64, njit, types, void

from streamproc.errors import ConfigError
from streamproc.filters.chi_square import exceeded
from streamproc.frame import Array
from streamproc.on_demand import on_demand

OUTLIER = 1e-3  # a nis rarer than that counts as one just so rare
ALARM = 1e-9  # probability of the windowed sum of a true filter: what real noise,
# heavier in its tails and not quite white, leaves of it is far below 1e-4
CALM = 1e-3  # probability, of a true filter, of a sum too large to trust it again

_LOOKS, _LAG, _POWER = range(3)  # columns of `sums`

_SEE: Any = void(
    types.Array(float64, 1, "C", readonly=True),
    types.Array(float64, 2, "C", readonly=True),
    types.Array(int64, 1, "C", readonly=True),
    types.Tuple(
        [types.Array(float64, 1, "C", readonly=True)] * 4,
    ),
    types.Array(float64, 3, "C"),
    types.Array(float64, 2, "C"),
    types.Array(float64, 2, "C"),
    types.Array(float64, 1, "C"),
    types.Array(boolean, 2, "C"),
)


class Watch:
    """Sums of the last `window` nis of N tracks, against chi-squared thresholds.

    Each nis counts at most as much as a true one of thousand, so that single
    outliers move little and only innovations that stay too large reach `alarm`.
    What a gate of parts refused counts as such an outlier, of unknown size.
    [windowed nis: Bar-Shalom, Li, Kirubarajan, 2001, section 5.4.2]

    R (m, m): what innovations are scaled by where their repetition is judged.
    alarm, calm (N,) b1: after the last `see`, the sum is above the upper threshold;
    the window is full and its sum below the lower one.
    """

    def __init__(self, R: Array, tracks: int, window: int = 12) -> None:
        m = len(R)
        if window < 2:
            raise ConfigError(f"guard: window: expected at least 2, got {window}")
        degrees = range(1, window * m + 1)
        most = [0.0, *(exceeded(OUTLIER, k) for k in range(1, m + 1))]
        above = [np.inf, *(exceeded(ALARM, k) for k in degrees)]
        below = [0.0, *(exceeded(CALM, k) for k in degrees)]
        scale = 1 / np.maximum(np.diagonal(R), 1e-300)
        self._limits = tuple(map(np.asarray, (most, above, below, scale)))
        self.window = window
        self._ring = np.zeros((tracks, window, 3))  # nis, degrees, refused
        self._sums = np.zeros((tracks, 3))
        self._last = np.full((tracks, m), np.nan)
        self._told = np.zeros((2, tracks), np.bool_)
        self._ratio = np.ones(tracks)

    @property
    def alarm(self) -> Array:
        return np.asarray(self._told[0])

    @property
    def calm(self) -> Array:
        return np.asarray(self._told[1])

    @property
    def ratio(self) -> Array:
        """nis by degree over the window (N,), outliers in full; 1 before the first.

        What was refused says nothing of it.
        """
        return self._ratio

    @property
    def repeats(self) -> Array:
        """Correlation of innovations with those one step before, (N,).

        About zero or less for a filter that trusts what it sees enough; near one
        where the model is wrong. [Mehra, IEEE TAC 1970]
        """
        lag, power = self._sums[:, _LAG], self._sums[:, _POWER]
        return np.asarray(lag / np.maximum(power, 1e-300))

    def see(self, nis: Array, innovation: Array, refused: Array | None = None) -> None:
        """Take in one step: nis (N,) and innovation (N, m), NaN where not seen.

        refused (N,): components that a gate of parts shut out.
        """
        if refused is None:
            refused = np.zeros(len(nis), np.int64)
        _see()(
            nis, innovation, refused, self._limits, self._ring,
            self._sums, self._last, self._ratio, self._told,
        )  # fmt: skip

    def forget(self, which: Any) -> None:
        """Judge some tracks (indices or mask) by what comes from now on."""
        self._ring[which], self._sums[which] = 0.0, 0.0
        self._last[which], self._ratio[which] = np.nan, 1.0
        self._told[:, which] = False

    def adopt(self, which: Any, other: Watch) -> None:
        """Go on, for some tracks, from what another has seen of them."""
        for mine, its in zip(self._memory(), other._memory(), strict=True):
            mine[which] = its[which]

    def _memory(self) -> tuple[Array, ...]:
        return self._ring, self._sums, self._last, self._ratio

    @property
    def state(self) -> dict[str, Array]:
        """Copies of all that `see` depends on."""
        return {
            "ring": self._ring.copy(),
            "sums": self._sums.copy(),
            "last": self._last.copy(),
            "ratio": self._ratio.copy(),
            "told": self._told.copy(),
        }

    @state.setter
    def state(self, state: dict[str, Array]) -> None:
        for name, own in (
            ("ring", self._ring),
            ("sums", self._sums),
            ("last", self._last),
            ("ratio", self._ratio),
            ("told", self._told),
        ):
            own[...] = state[name]


@on_demand(njit(cache=True, nogil=True, error_model="numpy"), _SEE)
def _see(nis, innovation, refused, limits, ring, sums, last, ratio, told):
    most, above, below, scale = limits
    tracks, window, _ = ring.shape
    keep = 1.0 - 1.0 / window
    for t in range(tracks):
        degrees, lag, power = 0, 0.0, 0.0
        for k in range(innovation.shape[1]):
            v = innovation[t, k]
            if v == v:
                # what no noise can be counts as the largest that can
                reach = math.sqrt(most[1] / scale[k])
                v = min(max(v, -reach), reach)
                degrees += 1
                if last[t, k] == last[t, k]:
                    lag += v * last[t, k] * scale[k]
                    power += v * v * scale[k]
            last[t, k] = v
        sums[t, _LAG] = keep * sums[t, _LAG] + lag
        sums[t, _POWER] = keep * sums[t, _POWER] + power
        if degrees + refused[t] == 0:
            continue
        at = int64(sums[t, _LOOKS]) % window
        sums[t, _LOOKS] += 1.0
        # what is not finite is as bad as can be, but must not stay in the sums
        size = nis[t] if nis[t] < 1e12 else 1e12
        ring[t, at, 0] = size if degrees else 0.0
        ring[t, at, 1] = degrees
        ring[t, at, 2] = refused[t]
        total, full, degrees, shut = 0.0, 0.0, 0, 0
        for i in range(window):
            here, away = int64(ring[t, i, 1]), int64(ring[t, i, 2])
            total += min(ring[t, i, 0], most[here]) + most[away]
            full += ring[t, i, 0]
            degrees += here
            shut += away
        ratio[t] = full / degrees if degrees else 1.0
        told[0, t] = total > above[degrees + shut]
        told[1, t] = sums[t, _LOOKS] >= window and total < below[degrees + shut]
