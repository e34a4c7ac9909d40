"""decide against what its sums mean, and its rows against their company."""

import numpy as np
import pytest

from streamproc_kernels import pick

POINTS = {1: np.array([[-1.0], [1.0]]), 2: np.array([[0.6, -0.8], [-1.0, 0.5]])}
MEMORY = 3


def given(n=200, dims=1, seed=0):
    """Arguments by name: a channel of MEMORY taps, and noise."""
    rng = np.random.default_rng([n, dims, seed])
    symbols = np.full(MEMORY - 1 + n, 77, np.int8)
    symbols[: MEMORY - 1] = 1
    return {
        "odds": 4 * rng.normal(size=(n, 2)),
        "evidence": rng.normal(size=n),
        "y": rng.normal(size=(n, dims)),
        "means": rng.normal(size=(2**MEMORY, dims)),
        "points": POINTS[dims],
        "most": 1e3,
        "symbols": symbols,
        "posterior": np.full((n, 2), 77.0),
        "sums": np.full(2 + MEMORY * dims, 77.0),
    }


def decide(args, device="cpu"):
    pick("decide", device)(*args.values())
    return args


def of_taps(taps, dims):
    """Class means (C, D), the newest symbol's tap first."""
    digits = np.arange(2**MEMORY)[:, None] // 2 ** np.arange(MEMORY) % 2
    points = POINTS[dims].view(complex if dims == 2 else float)[:, 0]
    return (points[digits] @ taps)[:, None].view(float)


@pytest.mark.parametrize("device", ["ref", "cpu"])
@pytest.mark.parametrize("dims", [1, 2])
def test_slopes_are_those_of_the_squared_error_over_the_taps(device, dims):
    taps = np.array([1.0, 0.5, -0.3]) * (1 if dims == 1 else 1 - 0.4j)

    def error(taps):
        args = decide({**given(dims=dims), "means": of_taps(taps, dims)}, device)
        at = np.convolve(args["symbols"], 2 ** np.arange(MEMORY), "valid")
        return np.square(args["y"] - args["means"][at]).sum() / 2

    args = decide({**given(dims=dims), "means": of_taps(taps, dims)}, device)
    slopes = args["sums"][2:].reshape(MEMORY, dims)[::-1]  # the newest tap first
    for k in range(MEMORY):
        for part, unit in enumerate((1.0, 1j)[:dims]):
            step = 1e-6 * unit * (np.arange(MEMORY) == k)
            slope = (error(taps - step) - error(taps + step)) / 2e-6
            turn = -1 if part else 1  # of the conjugate residual
            np.testing.assert_allclose(turn * slopes[k, part], slope, rtol=1e-6)


@pytest.mark.parametrize("size", [1, 7, 160])
def test_a_decision_does_not_depend_on_its_company_bit_for_bit(size):
    whole = decide(given())
    posterior, symbols, sums = [], [whole["symbols"][:2]], []
    for first in range(0, 200, size):
        args = given()
        for name in ("odds", "evidence", "y", "posterior"):
            args[name] = args[name][first : first + size]
        args["symbols"] = np.concatenate(
            [np.concatenate(symbols)[-2:], np.full(len(args["y"]), 77, np.int8)]
        )
        decide(args)
        posterior.append(args["posterior"])
        symbols.append(args["symbols"][2:])
        sums.append(args["sums"])
    np.testing.assert_array_equal(np.concatenate(posterior), whole["posterior"])
    np.testing.assert_array_equal(np.concatenate(symbols), whole["symbols"])
    np.testing.assert_allclose(np.sum(sums, axis=0), whole["sums"], rtol=1e-12)


@pytest.mark.parametrize("device", ["ref", "cpu"])
def test_one_sample_pulls_no_more_than_the_most(device):
    args = given(1)
    args["y"][...], args["means"][...], args["most"] = 1e6, 0.0, 2.5
    decide(args, device)
    points = POINTS[1][args["symbols"], 0]
    np.testing.assert_allclose(args["sums"][2:], 2.5 * points)


@pytest.mark.parametrize("device", ["ref", "cpu", "emulated"])
@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("odds", (200,)),
        ("evidence", (199,)),
        ("y", (200, 3)),
        ("means", (6, 1)),
        ("points", (2, 2)),
        ("symbols", (200,)),
        ("posterior", (200, 3)),
        ("sums", (4,)),
    ],
)
def test_what_does_not_agree_is_refused(device, name, shape):
    args = {**given(), name: np.zeros(shape, np.int8 if name == "symbols" else float)}
    with pytest.raises(ValueError, match=rf"decide\.{name}: expected shape"):
        decide(args, device)
