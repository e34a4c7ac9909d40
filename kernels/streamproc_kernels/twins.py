"""Cases of every kernel, and the comparison of any twin with its reference."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamproc_kernels import KERNELS, Tolerance, Twin, pick

Rng = np.random.Generator
GARBAGE = 777.0  # what outputs hold before the call: an unwritten one shows


@dataclass(frozen=True, slots=True)
class Case:
    """Arguments of one call, outputs included, and what makes them worth a try."""

    label: str
    args: tuple[Any, ...]

    def __repr__(self) -> str:
        return self.label


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


def _garbage(shape: tuple[int, ...], dtype: Any = np.float64) -> NDArray[Any]:
    return np.full(shape, GARBAGE, dtype)


def _lorenz_cases(rng: Rng, dtype: np.dtype[Any]) -> Iterator[Case]:
    def case(label: str, x: Any, *parameters: Any) -> Case:
        out = _garbage(x.shape), _garbage((*x.shape, 3))
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
    yield Case("in place", (x, 0.02, 3, 0, x, _garbage((65, 3, 3))))


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
            "x": _garbage((n, 3)),
            "P_out": _garbage((n, 3, 3)),
            "nis": _garbage((n,)),
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


def _bcjr_cases(rng: Rng, dtype: np.dtype[Any]) -> Iterator[Case]:
    def case(label: str, loglik: Any, keep: int, alpha: Any = None) -> Case:
        sequences = loglik.shape[0]
        start = np.full((sequences, 16), 1 / 16) if alpha is None else alpha
        return Case(label, (loglik, keep, start, _garbage((sequences, keep))))

    def draw(sequences: int, symbols: int, nats: float = 3.0) -> NDArray[Any]:
        return rng.normal(size=(sequences, symbols, 16)) * nats - 5.0

    yield case("one symbol", draw(1, 1), 1)
    yield case("look ahead", draw(2, 40), 8)
    yield case("odd window", draw(3, 37), 37)
    yield case("keep nothing", draw(2, 5), 0)
    yield case("no symbols", draw(2, 0), 0)
    yield case("many sequences", draw(33, 20), 12)
    known = np.zeros((2, 16))
    known[:, 5] = 1
    yield case("known start", draw(2, 12), 9, known)
    yield case("carried start", draw(4, 12), 9, rng.dirichlet(np.ones(16), 4))
    yield case("sharp, floor untouched", rng.uniform(-99, 0, (2, 50, 16)), 50)
    yield case("large offsets", draw(1, 20) - 1e4 * rng.random((1, 20, 1)), 20)
    erased = draw(2, 30)
    erased[0, 4], erased[0, 10, 3], erased[1, 29] = np.nan, np.nan, -7.0
    erased[1, 6], erased[1, 8, 2] = -np.inf, np.inf
    yield case("erasures", erased, 30)


def _svt_cases(rng: Rng, dtype: np.dtype[Any]) -> Iterator[Case]:
    def draw(*shape: int) -> NDArray[Any]:
        x = rng.normal(size=shape)
        if dtype.kind == "c":
            x = x + 1j * rng.normal(size=shape)
        return x.astype(dtype)

    def case(label: str, x: NDArray[Any], tau: float, rank: int) -> Case:
        sigma = _garbage((x.shape[0], x.shape[2]), np.float32)
        return Case(label, (x, tau, rank, _garbage(x.shape, dtype), sigma))

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
    "svt": _svt_cases,
}
