"""Any state-space model as a scene: it moves and is seen with its own noise."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
from numba import njit

from streamproc.errors import ConfigError, FrameError
from streamproc.frame import Array, Signature
from streamproc.schema import Max, Min
from streamproc.sims.scene import LARGEST_SEED, Carry, Scene, Split
from streamproc.statespace import Params, model
from streamproc.statespace.compiled import call_flow, call_look, compiled
from streamproc.statespace.model import difference

CHUNK_FRAMES = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class StateSpaceConfig:
    """A model and where its state begins.

    model: a state-space model's name, or module:object for one of your own.
    params: of the model, its noise among them.
    seed: of everything random.
    split: which of three disjoint sets of random numbers.
    x0: state before the first frame; "model" draws it from the model's prior,
    "attractor" lets such a one run first, without noise.
    A given x0 without process noise is the same trajectory in every split, and so
    is refused but for tests (ConfigError).
    burn_in: least number of steps of that run; at most twice as many.
    """

    model: str = "lorenz"
    params: Params = field(default_factory=dict)
    seed: Annotated[int, Min(0), Max(LARGEST_SEED)] = 0
    split: Split = "test"
    x0: tuple[float, ...] | Literal["model", "attractor"] = "model"
    burn_in: Annotated[int, Min(1)] = 1000


class StateSpaceSim(Scene):
    """Ports observation (component m) and truth (component n), f8.

    The first frame is one step of the model's step_s after x0, for a filter predicts
    before it looks. Observed angles lie in [-pi, pi); those of the state are as f
    leaves them. GraphError, ConfigError as streamproc.statespace.model raises them;
    FrameError where the truth grows without bound.
    """

    def __init__(self, config: StateSpaceConfig) -> None:
        self.config = config
        self.model = model(config.model, **config.params)
        self._push, self._blur = _root(self.model.Q), _root(self.model.R)
        self._check_start()
        super().__init__(config.seed, config.split, CHUNK_FRAMES)

    def _check_start(self) -> None:
        x0, n = self.config.x0, self.model.n
        if isinstance(x0, str):
            return
        if len(x0) != n:
            names = ", ".join(self.model.state)
            raise ConfigError(f"x0: expected {n} numbers ({names}), got {len(x0)}")
        if self.config.split != "test" and not self.model.Q.any():
            raise ConfigError(
                f"x0: {x0} without process noise is the same trajectory in every "
                f"split; for {self.config.split!r} use x0 = 'model' or a model with Q"
            )

    def signatures(self) -> dict[str, Signature]:
        seen, state = self.model.observation_units, self.model.state_units
        return {
            "observation": _signature(self.model.m, seen),
            "truth": _signature(self.model.n, state),
        }

    def _begin(self, rng: np.random.Generator) -> Carry:
        if not isinstance(self.config.x0, str):
            return {"x": np.array(self.config.x0, np.float64)}
        spread = _root(self.model.P0)
        x = self.model.x0 + spread @ rng.standard_normal(self.model.n)
        if self.config.x0 == "attractor":
            steps = int(rng.integers(self.config.burn_in, 2 * self.config.burn_in + 1))
            x = self._walk(x, np.zeros((steps, self.model.n)), 0)[0][-1].copy()
        return {"x": x}

    def _draw(
        self, rng: np.random.Generator, carry: Carry, first: int, frames: int
    ) -> tuple[dict[str, Array], Carry]:
        pushes = rng.standard_normal((frames, self.model.n)) @ self._push.T
        truth, looks = self._walk(carry["x"], pushes, first)
        noise = rng.standard_normal((frames, self.model.m)) @ self._blur.T
        # a difference from minus the noise: their sum, with angles wrapped
        seen = difference(self.model, looks, -noise)
        return {"observation": seen, "truth": truth}, {"x": truth[-1].copy()}

    def _walk(self, start: Array, pushes: Array, first: int) -> tuple[Array, Array]:
        code = compiled(self.model)
        truth, looks = np.empty_like(pushes), np.empty((len(pushes), self.model.m))
        _walk((code.f, code.h), start, self.model.step_s, pushes, truth, looks)
        if not np.isfinite(truth).all():
            raise FrameError(
                f"the truth of state-space model {self.model.name!r} grows without "
                f"bound within {len(pushes)} frames of frame {first}; take a shorter "
                "step, less noise or another x0"
            )
        return truth, looks


def _signature(size: int, units: tuple[str, ...]) -> Signature:
    unit = units[0] if len(set(units)) == 1 else ""
    return Signature.of("f8", {"component": size}, unit=unit)


def _root(covariance: Array) -> Array:
    """A matrix A with A A' = covariance, which may be singular."""
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))


@njit(cache=True)
def _walk(
    code: Any, start: Array, step: float, pushes: Array, truth: Array, looks: Array
) -> None:
    x = start.copy()
    for t in range(len(pushes)):
        call_flow(code[0], x, step, truth[t])
        for i in range(len(x)):
            truth[t, i] += pushes[t, i]
            x[i] = truth[t, i]
        call_look(code[1], x, looks[t])
