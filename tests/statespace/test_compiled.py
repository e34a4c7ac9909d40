"""Compiled models: the same numbers as plain Python, Jacobians, addresses, mistakes."""

from __future__ import annotations

import gc
import math
import os
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamproc.errors import ConfigError
from streamproc.frame import Array
from streamproc.statespace import StateSpace, model
from streamproc.statespace.compiled import (
    compiled,
    flow,
    flow_into,
    look,
    look_into,
    wrap_angle,
)
from streamproc.statespace.model import difference, state_difference

from .flock import EVERY_MODEL, states

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


def plain_flow(space: StateSpace, x: Array) -> Array:
    out = np.empty(space.n)
    space.f(x, space.step_s, out)
    return out


def plain_look(space: StateSpace, x: Array) -> Array:
    out = np.empty(space.m)
    space.h(x, out)
    return out


def extrapolated(ahead: Any, x: Array, scale: Array) -> Array:
    """Jacobian of `ahead(x, y) = g(x) - g(y)` by Richardson's extrapolation."""
    columns = []
    for i, size in enumerate(scale):
        slopes = []
        for k in range(4):
            step = np.zeros(len(x))
            step[i] = 2e-3 * size / 2**k
            slopes.append(ahead(x + step, x - step) / (2 * step[i]))
        for order in range(1, 4):
            weight = 4.0**order
            slopes = [
                (weight * fine - coarse) / (weight - 1)
                for coarse, fine in pairwise(slopes)
            ]
        columns.append(slopes[0])
    return np.array(columns).T


def relative(found: Array, wanted: Array) -> float:
    """Largest error of a Jacobian's row against that row's largest entry."""
    size = np.abs(wanted).max(-1, keepdims=True)
    return float((np.abs(found - wanted) / np.maximum(size, 1e-12)).max())


@EVERY_MODEL
def test_machine_code_says_what_plain_python_says(model: StateSpace) -> None:
    X = states(model, 20)
    X_next, _ = flow(model, X, model.step_s)
    Y, _ = look(model, X)
    size = np.abs(X).max()
    plain = [plain_flow(model, x) for x in X]
    np.testing.assert_allclose(X_next, plain, rtol=1e-12, atol=1e-13 * size)
    np.testing.assert_allclose(Y, [plain_look(model, x) for x in X], rtol=1e-12)


@EVERY_MODEL
def test_jacobians_are_the_derivatives(model: StateSpace) -> None:
    X, scale = states(model, 10), np.sqrt(np.diag(model.P0))
    F, H = flow(model, X, model.step_s)[1], look(model, X)[1]
    for x, found_f, found_h in zip(X, F, H, strict=True):
        wanted = extrapolated(
            lambda a, b: state_difference(
                model, plain_flow(model, a), plain_flow(model, b)
            ),
            x,
            scale,
        )
        assert relative(found_f, wanted) < 1e-7
        wanted = extrapolated(
            lambda a, b: difference(model, plain_look(model, a), plain_look(model, b)),
            x,
            scale,
        )
        assert relative(found_h, wanted) < 1e-7


@EVERY_MODEL
def test_automatic_jacobians_are_good_to_eight_digits(model: StateSpace) -> None:
    bare = replace(model, f_jacobian=None, h_jacobian=None)
    X = states(model, 200)
    ours, found = flow(model, X, model.step_s)[1], flow(bare, X, model.step_s)[1]
    assert relative(found, ours) < 1e-8
    ours, found = look(model, X)[1], look(bare, X)[1]
    # not beside a pole of the sensor's own, where its derivatives have no bound
    tame = np.abs(ours).max((1, 2)) < 10
    assert tame.sum() > 150
    assert relative(found[tame], ours[tame]) < 1e-8


def test_automatic_jacobians_do_not_see_the_jump_of_an_angle() -> None:
    radar = model("range_bearing")
    bare = replace(radar, f_jacobian=None, h_jacobian=None)
    X = np.array([[-1000.0, 1e-3, 0, 0], [-1000.0, -1e-3, 0, 0], [-1000.0, 0, 0, 0]])
    np.testing.assert_allclose(look(bare, X)[1], look(radar, X)[1], atol=1e-11)


def test_f_alone_and_rows_of_larger_arrays() -> None:
    space = model("lorenz")
    code, X = compiled(space), states(space, 9)
    X_next, Y = np.full((9, 3), np.nan), np.full((9, 3), np.nan)
    flow_into(code, X[:4], 0.02, X_next[:4])
    look_into(code, X[:4], Y[:4])
    np.testing.assert_array_equal(X_next[:4], flow(space, X[:4], 0.02)[0])
    np.testing.assert_array_equal(Y[:4], look(space, X[:4])[0])
    assert np.isnan(X_next[4:]).all() and np.isnan(Y[4:]).all()


def test_shapes_and_dtypes_that_do_not_fit_are_refused() -> None:
    code, X = compiled(model("lorenz")), np.zeros((4, 3))
    F, four = np.zeros((4, 3, 3)), np.zeros((4, 4))
    for mistake in ((four, X, F), (X, four, F), (X, X, F[:3]), (X, X, F[:, :2])):
        ours, X_next, stack = mistake
        with pytest.raises(ValueError, match="shape"):
            flow_into(code, ours, 0.02, np.ascontiguousarray(X_next), stack.copy())
    with pytest.raises(ValueError, match=r"X \(N, n\) and Y \(N, m\)"):
        look_into(code, X, four)
    with pytest.raises(ValueError, match="shape"):
        look_into(code, X, X.copy(), np.zeros((4, 3, 2)))
    with pytest.raises(TypeError):
        flow_into(code, X.astype(np.float32), 0.02, X.copy())


def test_a_model_is_compiled_once_and_its_functions_for_all_its_noises() -> None:
    space = model("lorenz")
    assert model("lorenz") is space and compiled(space) is compiled(space)
    louder = space.with_noise(Q=2 * space.Q, R=3 * space.R)
    assert compiled(louder) is not compiled(space)
    assert compiled(louder).f == compiled(space).f
    assert compiled(louder).model is louder


def test_addresses_live_as_long_as_the_compiled_model() -> None:
    def made() -> StateSpace:
        return replace(model("pendulum"), name="short-lived")

    code = compiled(made())
    gc.collect()
    X, X_next = np.array([[0.3, 0.1]]), np.empty((1, 2))
    flow_into(code, X, 0.02, X_next)
    np.testing.assert_array_equal(X_next, flow(model("pendulum"), X, 0.02)[0])


KERNEL = """
import sys
import numpy as np
from numba import njit
from streamproc.statespace import model
from streamproc.statespace.compiled import call_flow, call_look, compiled

@njit(cache=True)
def turn(f, h, x, dt_s, steps, y):
    here, there = x.copy(), np.empty_like(x)
    for _ in range(steps):
        call_flow(f, here, dt_s, there)
        here, there = there, here
    call_look(h, here, y)

if __name__ == "__main__":
    space = model(*sys.argv[1:])
    code, y = compiled(space), np.empty(space.m)
    turn(code.f, code.h, space.x0 + 1.0, space.step_s, 3, y)
    hits = sum(turn.stats.cache_hits.values())
    sys.stdout.write(f"{hits} {' '.join(map(repr, y.tolist()))}")
"""


def test_code_cached_by_one_process_takes_the_addresses_of_another(
    tmp_path: Path,
) -> None:
    script = tmp_path / "kernel.py"
    script.write_text(KERNEL)
    path = os.pathsep.join([str(ROOT), str(ROOT / "kernels")])

    def run(name: str) -> tuple[int, Array]:
        done = subprocess.run(
            [sys.executable, str(script), name],
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=True,
        )
        hits, *numbers = done.stdout.split()
        return int(hits), np.array(numbers, np.float64)

    def wanted(name: str) -> Array:
        space = model(name)
        x = space.x0 + 1.0
        for _ in range(3):
            x = plain_flow(space, x)
        return plain_look(space, x)

    # another process, another model of other sizes, the same machine code
    for before, name in enumerate(["lorenz", "pendulum"]):
        hits, found = run(name)
        assert hits == before
        np.testing.assert_allclose(found, wanted(name), rtol=1e-12)


def test_angles_are_wrapped_and_left_alone_inside() -> None:
    assert [wrap_angle(a) for a in (-math.pi, 0.1, 3.0)] == [-math.pi, 0.1, 3.0]
    assert wrap_angle(math.pi) == -math.pi
    for turns in (-3, 1, 7):
        assert wrap_angle(0.5 + turns * 2 * math.pi) == pytest.approx(0.5, abs=1e-13)


def mistaken(**changes: Any) -> str:
    space = replace(model("pendulum"), name="mine", **changes)
    with pytest.raises(ConfigError) as caught:
        compiled(space)
    return str(caught.value)


def f_that_returns(x: Any, dt_s: float, out: Any) -> Any:
    return x + dt_s


def f_that_is_long(x: Any, dt_s: float, out: Any) -> None:
    for i in range(3):
        out[i] = x[0]


def f_that_is_short(x: Any, dt_s: float, out: Any) -> None:
    out[0] = x[0]


def f_that_writes_x(x: Any, dt_s: float, out: Any) -> None:
    x[0] += 1.0
    out[:] = x


def f_that_numba_cannot(x: Any, dt_s: float, out: Any) -> None:
    out[:] = np.fft.ifft(np.fft.fft(x)).real


class Callable:
    def __call__(self, x: Any, out: Any) -> None:
        out[0] = x[0]


def test_what_numba_cannot_compile_is_said_in_one_line_with_its_place() -> None:
    told = mistaken(f=f_that_numba_cannot)
    assert told.startswith("state-space model 'mine': f: Numba ")
    assert "cannot compile f_that_numba_cannot" in told and "test_compiled.py:" in told
    assert told.endswith(
        "use numbers, `math`, loops and NumPy functions that Numba knows"
    )
    assert "\n" not in told and len(told) < 500


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"f": f_that_returns}, "f: it returns a value; write into `out` instead"),
        ({"f": f_that_is_long}, "f: at x0 it raises IndexError: index 2 is out of"),
        ({"f": f_that_is_short}, r"f: it leaves out\[1\] unwritten"),
        ({"f": f_that_writes_x}, "f: it changes x; write into `out` only"),
        ({"h": f_that_is_short}, "h: at x0 it raises TypeError: .*missing"),
        ({"h": Callable()}, "h: .*Callable.* is no function; give a plain one"),
        ({"h_jacobian": lambda x, out: None}, r"h_jacobian: it leaves out\[0, 0\]"),
    ],
)
def test_mistakes_in_functions_are_found_before_they_write_anywhere(
    changes: dict[str, Any], told: str
) -> None:
    import re

    assert re.search(f"^state-space model 'mine': {told}", mistaken(**changes))
