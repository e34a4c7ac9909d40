"""Cases of every kernel, and the comparison of any twin with its reference."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamproc_kernels import KERNELS, Tolerance, Twin, pick, window_cases
from streamproc_kernels.case import Case, Rng, garbage


class TwinMismatch(AssertionError):
    """A twin and its reference differ; the text says where and by how much."""


def cases(name: str, dtype: str, seed: int = 0) -> Iterator[Case]:
    """The cases of a kernel in a dtype: random ones and the degenerate ones."""
    return _CASES[name](np.random.default_rng(seed), np.dtype(dtype))


def check_twin(name: str, twin: str | Twin, *args: Any) -> None:
    """Run a twin and `ref` on copies of the same arguments; compare every array.

    An array that ref leaves as it was, the twin must leave bit for bit; others
    must agree within the tolerance of the kernel's row for the first array's
    dtype, NaN where NaN. Two arguments that are one array stay one array.

    twin: a device, or a function on numpy arrays.
    TwinMismatch: argument, index, expected, got.
    """
    device = twin if isinstance(twin, str) else "cpu"
    function = pick(name, twin) if isinstance(twin, str) else twin
    wanted = run(pick(name, "ref"), "ref", args)
    got = run(function, device, args)
    tolerance = KERNELS[name].tolerances[_suffix(args[0])]
    for index, before in enumerate(args):
        if isinstance(before, np.ndarray):
            where = f"{name} on {twin}, argument {index}"
            _compare(where, before, wanted[index], got[index], tolerance)


def run(twin: Twin, device: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Call a twin on copies of host arguments; return them as it left them."""
    copies = {id(a): _to_device(a, device) for a in args if isinstance(a, np.ndarray)}
    passed = tuple(copies.get(id(a), a) for a in args)
    twin(*passed)
    return tuple(a.get() if hasattr(a, "get") else a for a in passed)


def smallest(name: str, dtype: str) -> Case:
    """The smallest case with something to compute: an empty one compiles nothing."""
    return min((c for c in cases(name, dtype) if c.args[0].size), key=_size)


def _size(case: Case) -> int:
    return sum(a.size for a in case.args if isinstance(a, np.ndarray))


def _to_device(array: NDArray[Any], device: str) -> Any:
    if device != "gpu":
        return array.copy()
    import cupy

    return cupy.asarray(array)


def _suffix(array: Any) -> str:
    return f"{array.dtype.kind}{array.dtype.itemsize}"


def _compare(
    where: str, before: Any, wanted: Any, got: Any, tolerance: Tolerance
) -> None:
    if np.array_equal(before, wanted, equal_nan=True):
        if not np.array_equal(before, got, equal_nan=True):
            raise TwinMismatch(f"{where}: an input was written to")
        return
    if not np.array_equal(np.isnan(wanted), np.isnan(got)):
        raise TwinMismatch(f"{where}: expected NaN at other places:\n{wanted}\n{got}")
    known = ~np.isnan(wanted)
    if not known.any():
        return
    limit = tolerance.atol + tolerance.rtol * float(np.abs(wanted[known]).max())
    error = np.where(known, np.abs(np.subtract(got, wanted)), 0.0)
    at = tuple(int(i) for i in np.unravel_index(error.argmax(), error.shape))
    if not error[at] <= limit:
        raise TwinMismatch(
            f"{where}, index {at}: expected {wanted[at]}, got {got[at]}; "
            f"off by {error[at]:.3g}, allowed {limit:.3g} ({tolerance.why})"
        )


def _lorenz_cases(rng: Rng, dtype: np.dtype[Any]) -> Iterator[Case]:
    def case(label: str, x: Any, *parameters: Any) -> Case:
        out = garbage(x.shape), garbage((*x.shape, 3))
        return Case(label, (x, *parameters, *out))

    x = rng.normal(size=(65, 3)) * 10
    yield case("one point, one step", x[:1], 0.02, 1, 5)
    for order in range(8):
        yield case(f"order {order}", x, 0.02, 1, order)
    yield case("Runge-Kutta substeps", x, 0.02, 4, 0)
    yield case("Taylor half steps", x, 0.02, 2, 2)
    yield case("no time passes", x, 0.0, 1, 0)
    yield case("backwards", x, -0.01, 1, 0)
    yield case("no points", x[:0], 0.02, 1, 2)
    yield case("the origin, a fixed point", np.zeros((2, 3)), 0.02, 1, 3)
    lost = x.copy()
    lost[3, 1] = np.nan
    yield case("a NaN point between good ones", lost, 0.02, 1, 5)
    yield Case("in place", (x, 0.02, 3, 0, x, garbage((65, 3, 3))))


def _ekf_cases(rng: Rng, dtype: np.dtype[Any]) -> Iterator[Case]:
    def spd(n: int) -> NDArray[Any]:
        root = rng.normal(size=(n, 3, 3))
        return root @ root.mT + np.eye(3)

    def case(label: str, n: int, **changed: Any) -> Case:
        arrays = {
            "x_pred": rng.normal(size=(n, 3)),
            "jacobian": np.eye(3) + 0.3 * rng.normal(size=(n, 3, 3)),
            "P": spd(n),
            "y": rng.normal(size=(n, 3)),
            "H": np.eye(3) + 0.2 * rng.normal(size=(3, 3)),
            "Q": 0.1 * spd(1)[0],
            "R": spd(1)[0],
            "x": garbage((n, 3)),
            "P_out": garbage((n, 3, 3)),
            "nis": garbage((n,)),
        } | changed
        return Case(label, tuple(a.astype(dtype) for a in arrays.values()))

    def holes(n: int) -> NDArray[Any]:
        y = rng.normal(size=(n, 3))
        y[rng.random((n, 3)) < 0.4] = np.nan
        return y

    yield case("one track", 1)
    yield case("no track", 0)
    yield case("many tracks", 513)
    yield case("missing components", 200, y=holes(200))
    yield case("nothing seen", 3, y=np.full((3, 3), np.nan))
    yield case("certain start, no process noise", 2, P=np.zeros((2, 3, 3)))
    lost = np.eye(3) + np.zeros((3, 3, 3))
    lost[1] = np.nan
    yield case("a NaN covariance between good ones", 3, P=lost)
    yield case(
        "not positive definite", 2, P=np.zeros((2, 3, 3)), Q=np.zeros((3, 3)),
        R=-np.eye(3),
    )  # fmt: skip
    whole = case("in place", 7)
    x, covariance = whole.args[0], whole.args[2]
    yield Case("in place", (*whole.args[:7], x, covariance, whole.args[9]))


@dataclass(frozen=True, slots=True)
class _Trellis:
    """Inputs of the trellis kernels; `start` is a distribution of the state."""

    label: str
    loglik: NDArray[Any]
    prior: NDArray[Any]
    window: int
    lag: int
    keep: int
    start: NDArray[Any]

    @property
    def sizes(self) -> tuple[int, int, int]:
        return (len(self.loglik), self.keep, self.prior.shape[2])


def _trellises(rng: Rng) -> Iterator[_Trellis]:
    def row(
        label: str, loglik: Any, *shape: int, prior: Any = None, start: Any = None
    ) -> _Trellis:
        window, lag, keep, symbols = shape
        sequences, _, classes = loglik.shape
        states = classes // symbols
        if prior is None:
            prior = np.empty((sequences, 0, symbols))
        if start is None:
            start = np.full((sequences, states), 1 / states)
        return _Trellis(label, loglik, prior, window, lag, keep, start)

    def draw(*shape: int, nats: float = 3.0) -> NDArray[Any]:
        return rng.normal(size=shape) * nats - 5.0

    yield row("one symbol", draw(1, 1, 16), 1, 0, 1, 2)
    yield row("look ahead", draw(2, 40, 16), 8, 32, 8, 2)
    yield row("windows, the last one short", draw(3, 37, 16), 9, 5, 31, 2)
    yield row("as far as there is", draw(2, 20, 16), 7, 100, 20, 2)
    yield row("keep nothing", draw(2, 5, 16), 4, 1, 0, 2)
    yield row("no symbols", draw(2, 0, 16), 4, 1, 0, 2)
    yield row("many sequences", draw(33, 20, 16), 12, 8, 12, 2)
    known = np.zeros((2, 8))
    known[:, 5] = 1
    yield row("known start", draw(2, 12, 16), 9, 3, 9, 2, start=known)
    carried = rng.dirichlet(np.ones(8), 4)
    yield row("carried start", draw(4, 12, 16), 9, 3, 9, 2, start=carried)
    yield row("no memory", draw(2, 20, 4), 6, 2, 17, 4, prior=draw(2, 20, 4))
    yield row("quaternary", draw(2, 25, 64), 10, 5, 20, 4, prior=draw(2, 25, 4))
    yield row("ternary", draw(2, 25, 9), 10, 5, 20, 3, prior=draw(2, 25, 3))
    yield row("six taps", draw(1, 30, 64), 30, 0, 30, 2, prior=draw(1, 30, 2))
    yield row("sharp", rng.uniform(-99, 0, (2, 50, 16)), 50, 0, 50, 2)
    yield row("mismatched", rng.uniform(-1e4, 0, (2, 50, 16)), 20, 5, 50, 2)
    yield row("large offsets", draw(1, 20, 16) - 1e4, 20, 0, 20, 2)
    erased, prior = draw(2, 30, 16), draw(2, 30, 2)
    erased[0, 4], erased[0, 10, 3], erased[1, 29] = np.nan, np.nan, -7.0
    erased[1, 6], erased[1, 8, 2] = -np.inf, np.inf
    yield row("erasures", erased, 30, 0, 30, 2)
    prior[0, 3, 1], prior[0, 10, 0] = -np.inf, -np.inf  # one of them erased
    prior[1, 3, 0], prior[1, 4], prior[1, 5, 1] = np.nan, -np.inf, np.inf
    yield row(
        "known symbols, priors that say nothing", erased, 9, 6, 30, 2, prior=prior
    )


def _bcjr_cases(rng: Rng, dtype: np.dtype[Any]) -> Iterator[Case]:
    for one in _trellises(rng):
        out = garbage(one.sizes), garbage(one.sizes[:2])
        args = (one.loglik, one.prior, one.window, one.lag, one.start, *out)
        yield Case(one.label, args)


def _class_posterior_cases(rng: Rng, dtype: np.dtype[Any]) -> Iterator[Case]:
    for one in _trellises(rng):
        out = garbage(one.loglik.shape), garbage(one.loglik.shape[:2])
        yield Case(one.label, (one.loglik, one.prior, one.start, *out))


def _log_start(one: _Trellis) -> NDArray[Any]:
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(one.start / one.start.max(axis=1, keepdims=True)))


def _max_log_cases(rng: Rng, dtype: np.dtype[Any]) -> Iterator[Case]:
    for one in _trellises(rng):
        args = (one.loglik, one.prior, one.window, one.lag, _log_start(one))
        yield Case(one.label, (*args, garbage(one.sizes)))


def _viterbi_cases(rng: Rng, dtype: np.dtype[Any]) -> Iterator[Case]:
    for one in _trellises(rng):
        args = (one.loglik, one.prior, one.window, one.lag, _log_start(one))
        yield Case(one.label, (*args, garbage(one.sizes[:2], np.int8)))
    flat = np.zeros((2, 20, 16))
    args = (flat, np.empty((2, 0, 2)), 8, 4, np.zeros((2, 8)))
    yield Case("ties everywhere", (*args, garbage((2, 20), np.int8)))


def _decide_cases(rng: Rng, dtype: np.dtype[Any]) -> Iterator[Case]:
    def case(label: str, n: int, m: int, length: int, dims: int) -> Case:
        points = rng.normal(size=(m, dims))
        before = rng.integers(0, m, max(0, length - 1), np.int8)
        args = (
            6 * rng.normal(size=(n, m)),
            rng.normal(size=n),
            rng.normal(size=(n, dims)),
            rng.normal(size=(m**length if length else 0, dims)),
            points,
            0.7,
            np.concatenate([before, np.full(n, 77, np.int8)]),
            garbage((n, m)),
            garbage((2 + dims * length,)),
        )
        return Case(label, args)

    yield case("binary", 50, 2, 4, 1)
    yield case("quaternary", 70, 4, 3, 2)
    yield case("binary, complex samples", 33, 2, 2, 2)
    yield case("ternary, no memory", 20, 3, 1, 1)
    yield case("no channel to judge", 20, 2, 0, 1)
    yield case("fewer symbols than the memory", 2, 2, 4, 1)
    yield case("no symbols", 0, 2, 4, 1)
    unknown = case("the past is not known", 40, 2, 4, 1)
    unknown.args[6][:3] = -1, 1, -1
    yield unknown
    lost = case("what is not finite says nothing", 40, 4, 2, 2)
    lost.args[2][3, 1], lost.args[2][4], lost.args[2][39, 0] = np.nan, np.inf, -2e100
    yield lost
    sharp = case("ties, and what is all but certain", 12, 4, 1, 1)
    sharp.args[0][:4], sharp.args[0][5] = 0.0, (0.0, 600.0, 600.0, -600.0)
    yield sharp


def _mixture_cases(rng: Rng, dtype: np.dtype[Any]) -> Iterator[Case]:
    def case(label: str, y: Any, classes: int, terms: int) -> Case:
        means = rng.normal(size=(classes, y.shape[1]))
        weight = np.log(rng.dirichlet(np.ones(terms)))
        scale = np.exp(rng.normal(size=terms))
        args = (y, means, weight, scale, garbage((len(y), classes)))
        return Case(label, args)

    def draw(*shape: int) -> NDArray[Any]:
        return 3 * rng.normal(size=shape)

    for dims in (1, 2):
        for terms in (1, 2, 3, 5):
            label = f"{terms} terms in {dims} dimensions"
            yield case(label, draw(50, dims), 16, terms)
    yield case("one sample, one class", draw(1, 1), 1, 2)
    yield case("no samples", draw(0, 1), 16, 2)
    yield case("an odd number of classes", draw(31, 2), 9, 3)
    yield case("many classes", draw(3, 2), 256, 2)
    for terms in (1, 2, 4):
        lost = draw(20, 2)
        lost[3, 1], lost[5], lost[6, 0] = np.nan, np.inf, -2e100
        yield case(f"what is not finite says nothing, {terms}", lost, 16, terms)
        yield case(f"far away, {terms}", 1e6 * draw(20, 1), 4, terms)
    whole = case("a term of no weight", draw(9, 1), 4, 3)
    whole.args[2][1] = -np.inf
    yield whole


def _svt_cases(rng: Rng, dtype: np.dtype[Any]) -> Iterator[Case]:
    def draw(*shape: int) -> NDArray[Any]:
        x = rng.normal(size=shape)
        if dtype.kind == "c":
            x = x + 1j * rng.normal(size=shape)
        return x.astype(dtype)

    def case(label: str, x: NDArray[Any], tau: float, rank: int) -> Case:
        sigma = garbage((x.shape[0], x.shape[2]), np.float32)
        return Case(label, (x, tau, rank, garbage(x.shape, dtype), sigma))

    def clutter(gain: float) -> NDArray[Any]:
        """Two strong, well separated values over noise."""
        strong = draw(2, 64, 2) * np.array([3 * gain, gain], np.float32)
        return np.asarray(strong @ draw(2, 2, 12) + draw(2, 64, 12), dtype)

    yield case("one column", draw(1, 5, 1), 0.5, 1)
    yield case("plain soft threshold", draw(3, 40, 8), 5.0, 8)
    yield case("odd number of columns", draw(2, 50, 7), 4.0, 7)
    yield case("rank cap", clutter(10), 0.0, 2)
    yield case("rank cap and threshold", clutter(30), 20.0, 2)
    yield case("strong clutter over noise", clutter(1000), 6.0, 12)
    yield case("rank 0", draw(1, 9, 4), 0.0, 0)
    yield case("threshold above everything", draw(1, 9, 4), 1e6, 4)
    yield case("no threshold", draw(1, 30, 5), 0.0, 5)
    yield case("wide", draw(1, 3, 6), 0.3, 6)
    yield case("no matrix", draw(0, 9, 4), 0.3, 2)
    yield case("thirty-two columns", draw(1, 70, 32), 8.0, 32)
    yield case("zero", np.zeros((2, 9, 4), dtype), 0.5, 3)
    yield case("zero, no threshold", np.zeros((1, 9, 4), dtype), 0.0, 4)
    lost = draw(3, 9, 4)
    lost[1, 2, 3] = np.nan
    yield case("a NaN matrix between good ones", lost, 0.5, 4)
    lost = draw(2, 9, 4)
    lost[0, 2, 3] = np.inf
    yield case("an infinite matrix beside a good one", lost, 0.5, 4)


_CASES: dict[str, Callable[[Rng, np.dtype[Any]], Iterator[Case]]] = {
    "lorenz_flow": _lorenz_cases,
    "ekf_step": _ekf_cases,
    "bcjr": _bcjr_cases,
    "class_posterior": _class_posterior_cases,
    "max_log": _max_log_cases,
    "viterbi": _viterbi_cases,
    "decide": _decide_cases,
    "mixture": _mixture_cases,
    "svt": _svt_cases,
    **window_cases.CASES,
}
