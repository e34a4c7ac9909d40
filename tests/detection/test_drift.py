"""Taps on arcs, window after window, against least squares over all samples."""

from __future__ import annotations

import numpy as np
import pytest

from streamproc.detection.drift import BELIEVED, MOVES, LocalLine
from streamproc.frame import Array
from tests.detection.channels import trellis

HORIZON, WINDOW = 300.0, 50


def drawn(
    name: str, rng: np.random.Generator
) -> tuple[Array, Array, Array, Array, Array]:
    """Points (C, L), taps (L,), offset (C,), samples (n,) and weights (n, C)."""
    on = trellis(name, 2)
    real = on.constellation.real
    points = on.points.real if real else on.points
    made = [rng.standard_normal(n) + 0j for n in (2, on.classes, 4 * WINDOW)]
    if not real:
        made = [one + 1j * rng.standard_normal(one.shape) for one in made]
    taps, offset, z = (one.real.copy() if real else one for one in made)
    return points, taps, offset, z, rng.random((len(z), on.classes))


@pytest.mark.parametrize("name", ["bpsk", "qpsk"])
def test_recursion_is_weighted_least_squares(name: str) -> None:
    points, taps, offset, z, weight = drawn(name, np.random.default_rng(1))
    precision = np.full(len(points), 2.0)
    line = LocalLine(points, taps, precision, HORIZON)
    for first in range(0, len(z), WINDOW):
        part = slice(first, first + WINDOW)
        line.age(WINDOW)
        powers = line.span(WINDOW).powers
        line.add(z[part], powers, weight[part], offset)
    found = line.line()
    ago = (len(z) - 1.0 - np.arange(len(z)))[:, None, None] / HORIZON
    parts = points * np.array([1.0, -1.0, 0.5])[:, None, None]
    f = parts[:, None] * ago ** np.arange(3)[:, None, None, None]
    # (parts, n, C, L) as rows of n C samples with 3 L unknowns
    f = np.broadcast_to(f, (3, len(z), *points.shape))
    f = np.moveaxis(f, 0, 2).reshape(-1, 3 * points.shape[1])
    w = (weight * np.exp(-ago[:, 0])).ravel()
    gram, rest = (f.conj().T * w) @ f, (z[:, None] - offset).ravel()
    moment = f.conj().T @ (w * rest)
    # the first taps, as of BELIEVED samples in the beginning, aged in the same way
    old = len(z) / HORIZON
    start = np.concatenate([k * points for k in (1.0, -old, old**2 / 2)], axis=1)
    share = np.exp(-old) * 2.0 * BELIEVED / len(points)
    gram = gram + share * start.conj().T @ start
    moment = moment + share * start.conj().T @ (points @ taps)
    moves = np.repeat(np.square(MOVES), 2) * np.mean(np.abs(taps) ** 2)
    gram = gram + np.diag(np.concatenate([np.zeros(2), 1 / moves]))
    want = np.linalg.solve(gram, moment)
    np.testing.assert_allclose(np.concatenate(found), want, rtol=1e-8)
    assert line.samples == pytest.approx(
        BELIEVED * np.exp(-old) + np.exp(-ago[:, 0, 0]).sum()
    )


def test_many_errors_cost_what_each_does() -> None:
    points, taps, offset, z, weight = drawn("qpsk", np.random.default_rng(2))
    line = LocalLine(points, taps, np.ones(len(points)), HORIZON)
    line.add(z, line.span(len(z)).powers, weight, offset)
    rng = np.random.default_rng(3)
    aparts = rng.standard_normal((5, 2)) + 1j * rng.standard_normal((5, 2))
    want = [line.excess(one) for one in aparts]
    np.testing.assert_allclose(line.excesses(aparts), want, rtol=1e-12)
