"""A learned filter under guard: where it fails, its classical twin takes over."""

from __future__ import annotations

from typing import Any

import numpy as np

from streamproc.filters.adapt import NoiseEstimate
from streamproc.filters.ekf import Ekf
from streamproc.filters.filter import Estimate, Filter
from streamproc.filters.parts import Part
from streamproc.filters.watch import Watch
from streamproc.frame import Array
from streamproc.statespace.compiled import look_into

REPEATING = 0.35  # above it, innovations say that the model is wrong, not the noise
# Of the twin's P at each look: an EKF that is told of loud noise trusts its model for
# longer than a model may be trusted [fading memory: Sorenson, Sacks, Inf. Sci. 3, 1971]
FADING = 1.1
LARGEST = 1e4  # growth of P at a fall, at most


class Guarded(Filter):
    """The learned filter's estimate, or the twin's for tracks that have fallen.

    A track falls when its windowed nis alarms, what its gate refuses included, or its
    estimate is lost. The twin, an extended Kalman filter of the same model and with the
    same gates of parts, but none for the whole, takes over from the learned estimate
    of one step before, its P as much larger as the innovations were. Where these are
    white, the twin's R follows them; where they repeat themselves the model is wrong,
    and R goes back to what was told. P and R grow for what is seen alone; where all
    components are taken in, memory fades, and a twin that fails too gets a larger P
    now and then. Meanwhile the learned filter goes on, every second window anew from
    the twin's estimate; calm for a whole window, it is trusted again. While nothing
    has fallen the twin costs nothing.

    fallen (N,) b1: whose estimate is the twin's.  falls, fallen_steps: how often,
    and for how many steps of one track.
    """

    def __init__(self, learned: Filter, *, window: int = 12) -> None:
        model, tracks = learned.model, learned.tracks
        self.learned, self.twin = learned, Ekf(model, tracks)
        self._watch, self._second = (Watch(model.R, tracks, window) for _ in range(2))
        self._noise = NoiseEstimate(model.R, tracks, memory_steps=2 * window, every=4)
        self.parts = learned.parts
        self.fallen = np.zeros(tracks, np.bool_)
        self._since = np.zeros(tracks, np.int64)
        self.falls = self.fallen_steps = 0
        super().__init__(model, tracks, gate=learned.gate)

    @property
    def parts(self) -> tuple[Part, ...]:
        """By which learned filter and twin judge, each for itself."""
        return self.learned.parts

    @parts.setter
    def parts(self, parts: tuple[Part, ...]) -> None:
        self.learned.parts = self.twin.parts = parts

    def _through_gates(self, y: Array) -> Estimate:
        return self._advance(y)

    def _advance(self, y: Array) -> Estimate:
        x, P = self.learned.x, self.learned.kalman_P
        made = self.learned.step(y, self._dt_s)
        refused = _refused(y, made) if self.parts else None
        self._watch.see(made.nis, made.innovation, refused)
        failed = self._watch.alarm | made.lost
        if np.count_nonzero(failed) or np.count_nonzero(self.fallen):
            self._fall(np.flatnonzero(failed & ~self.fallen), x, P, made.innovation)
            made = self._shared(made, y)
        if self.parts:
            self.shut = np.where(self.fallen, self.twin.shut, self.learned.shut)
        self.x, self.P = made.x, made.P
        return made

    def _fall(self, new: Array, x: Array, P: Array, innovation: Array) -> None:
        """Let the twin take over tracks from x, P, their last estimates."""
        if not len(new):
            return
        ratio = np.clip(self._watch.ratio[new], 1.0, LARGEST)
        if not np.count_nonzero(self.fallen):
            white = self._watch.repeats[new] < REPEATING
            louder = float(np.median(np.where(white, ratio, 1.0)))
            seen = np.isfinite(innovation[new]).any(0)
            scale = np.where(seen, np.sqrt(louder), 1.0)
            self._noise.restart(self.model.R * scale * scale[:, None])
            self.twin.set_noise(R=self._noise.R)
        P_new = self._larger(x[new], P[new], ratio, innovation[new])
        self.twin.place(new, x[new], P_new)
        self._second.adopt(new, self._watch)
        self.fallen[new], self._since[new] = True, 0
        self.falls += len(new)

    def _shared(self, made: Estimate, y: Array) -> Estimate:
        """The step of the twin, and whose estimate counts."""
        told = self._twin_step(y)
        self._since[self.fallen] += 1
        recovered = self.fallen & self._watch.calm & ~made.lost
        self.fallen &= ~recovered
        window = self._watch.window
        phase = self._since % (2 * window)
        anew = self.fallen & ((phase == 0) | made.lost) & ~told.lost
        if np.count_nonzero(anew):
            self.learned.place(anew, told.x[anew], told.P[anew])
            self._watch.forget(anew)
        astray = self.fallen & (phase == window) & self._second.alarm & ~told.lost
        if np.count_nonzero(astray):
            self._widen(np.flatnonzero(astray), told)
        self.fallen_steps += int(np.count_nonzero(self.fallen))
        return _merged(self.fallen, told, made)

    def _widen(self, astray: Array, told: Estimate) -> None:
        """Let a twin that fails too trust what it sees more than itself."""
        ratio = np.clip(self._second.ratio[astray], 1.0, LARGEST)
        x, P = told.x[astray], told.P[astray]
        self.twin.place(astray, x, self._larger(x, P, ratio, told.innovation[astray]))
        self._second.forget(astray)

    def _larger(self, x: Array, P: Array, ratio: Array, innovation: Array) -> Array:
        """P of tracks at x whose innovations are as much larger than foreseen.

        Of what is seen, and of the rest as far as it hangs on that: wheels that slip
        say nothing of a position of which there is no fix.
        """
        H = np.empty((*innovation.shape, self.model.n))
        look_into(self._code, x, np.empty_like(innovation), H)
        H = np.where(np.isfinite(innovation)[..., None], H, 0.0)
        across = P @ H.mT
        S = H @ across
        S = np.where(np.isfinite(S), S, 0.0)  # of a lost track
        told = across @ np.linalg.pinv(S, hermitian=True) @ across.mT
        return np.asarray(P + (ratio - 1)[:, None, None] * told)

    def _twin_step(self, y: Array) -> Estimate:
        """The twin looks at fallen tracks; its R follows innovations that are white."""
        S = self.twin.foresee(self._dt_s)[1]
        told = self.twin.step(y, self._dt_s)
        fading = self.fallen & np.isfinite(told.innovation).all(1)
        self.twin.P = self.twin.P * np.where(fading, FADING, 1.0)[:, None, None]
        innovation = np.where(self.fallen[:, None], told.innovation, np.nan)
        self._second.see(told.nis, innovation)
        white = self._second.repeats < REPEATING
        if self._noise.add(innovation, told.nis, S, white):
            self.twin.set_noise(R=self._noise.R)
        return told

    def foresee(self, dt_s: float) -> tuple[Array, Array]:
        mean, S = self.learned.foresee(dt_s)
        if np.count_nonzero(self.fallen):
            twin_mean, twin_S = self.twin.foresee(dt_s)
            mean = np.where(self.fallen[:, None], twin_mean, mean)
            S = np.where(self.fallen[:, None, None], twin_S, S)
        return mean, S

    def _foresee(self) -> tuple[Array, Array]:
        return self.foresee(self._dt_s)

    def start(self, which: Any, y: Array) -> None:
        self.learned.start(which, y)
        self._take(which)

    def place(self, which: Any, x: Array, P: Array) -> None:
        self.learned.place(which, x, P)
        self._take(which)

    def _take(self, which: Any) -> None:
        indices = self._indices(which)
        self._watch.forget(indices)
        self.fallen[indices] = False
        fallen = self.fallen
        self.x = np.where(fallen[:, None], self.x, self.learned.x)
        self.P = np.where(fallen[:, None, None], self.P, self.learned.P)

    def _use(self, told: dict[str, Array]) -> None:
        super()._use(told)
        self.learned.set_noise(**told)
        self.twin.set_noise(**told)
        self._noise.restart(self.model.R)

    def _set_step(self, dt_s: float) -> None:
        super()._set_step(dt_s)
        self.learned.gate = self._gate

    def _parts(self) -> dict[str, Any]:
        return {
            "learned": self.learned,
            "twin": self.twin,
            "watch": self._watch,
            "second": self._second,
            "noise": self._noise,
        }

    def _kept(self) -> dict[str, Array]:
        whole = {
            f"{part}.{name}": array
            for part, owner in self._parts().items()
            for name, array in owner.state.items()
        }
        counts = np.array([self.falls, self.fallen_steps], np.int64)
        mine = {"fallen": self.fallen.copy(), "since": self._since.copy()}
        return {**super()._kept(), **whole, **mine, "counts": counts}

    def _restore(self, state: dict[str, Array]) -> None:
        super()._restore(state)
        for part, owner in self._parts().items():
            start = f"{part}."
            owner.state = {
                name.removeprefix(start): array
                for name, array in state.items()
                if name.startswith(start)
            }
        self.fallen = self._restored(state, "fallen", self.fallen)
        self._since = self._restored(state, "since", self._since)
        self.falls, self.fallen_steps = map(int, state["counts"])


def _refused(y: Array, made: Estimate) -> Array:
    """How many components of each track were seen, but shut out as parts, (N,)."""
    return np.asarray((np.isfinite(y) & np.isnan(made.innovation)).sum(1))


def _merged(fallen: Array, told: Estimate, made: Estimate) -> Estimate:
    """Fields of the twin's estimate where fallen, elsewhere of the learned one."""
    fields = zip(told, made, strict=True)
    return Estimate(
        *(
            np.where(fallen.reshape(-1, *[1] * (twin.ndim - 1)), twin, learned)
            for twin, learned in fields
        )
    )
