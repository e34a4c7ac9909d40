"""Cases of the kernels on windows of complex images, frames first."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamproc_kernels.case import Case, Rng, garbage

C8, F4 = np.complex64, np.float32


def _draw(rng: Rng, *shape: int) -> NDArray[Any]:
    return np.asarray(rng.normal(size=shape) + 1j * rng.normal(size=shape), C8)


def _echoes(rng: Rng, *shape: int) -> NDArray[Any]:
    """Components of well separated strengths over noise: (B, T, P)."""
    windows, frames, pixels = shape
    strong = min(4, frames)
    gains = np.array([300, 60, 12, 4])[:strong]
    low = (_draw(rng, windows, frames, strong) * gains) @ _draw(
        rng, windows, strong, pixels
    )
    return np.asarray(low + 0.1 * _draw(rng, *shape), C8)


def _basis(rng: Rng, *shape: int) -> NDArray[Any]:
    return np.asarray(np.linalg.qr(_draw(rng, *shape))[0], C8)


def _subspace_cases(rng: Rng, dtype: np.dtype[Any]) -> Iterator[Case]:
    def case(label: str, x: NDArray[Any], rank: int, steps: int, v: Any = None) -> Case:
        windows, frames, _ = x.shape
        if v is None:
            v = _basis(rng, windows, frames, rank)
        sigma = garbage((windows, rank), F4)
        return Case(label, (x, np.array(v, C8), steps, sigma))

    yield case("one frame", _draw(rng, 1, 1, 5), 1, 0)
    yield case("one frame, followed", _draw(rng, 1, 1, 5), 1, 1)
    for frames in (7, 20, 32):
        x = _echoes(rng, 2, frames, 90)
        yield case(f"{frames} frames, exact", x, 4, 0)
        yield case(f"{frames} frames, one step", x, 4, 1)
    yield case("three steps", _echoes(rng, 3, 9, 50), 3, 3)
    yield case("more pixels than a tile", _echoes(rng, 1, 5, 777), 3, 1)
    yield case("as many columns as frames", _echoes(rng, 1, 4, 60), 4, 0)
    yield case("as many columns as frames, followed", _echoes(rng, 1, 4, 60), 4, 1)
    yield case("fewer pixels than frames", _echoes(rng, 1, 6, 3), 2, 0)
    yield case("fewer pixels than columns", _echoes(rng, 1, 6, 2), 4, 1)
    yield case("no window", _draw(rng, 0, 5, 9), 2, 1)
    yield case("no pixel", _draw(rng, 1, 5, 0), 2, 1)
    yield case("zero", np.zeros((2, 5, 9), C8), 2, 0)
    yield case("zero, followed", np.zeros((2, 5, 9), C8), 2, 1)
    low = np.asarray(_draw(rng, 1, 8, 1) @ _draw(rng, 1, 1, 40), C8)
    yield case("of lower rank than v", low, 3, 2)
    x = _echoes(rng, 3, 6, 40)
    v = _basis(rng, 3, 6, 2)
    v[0], v[1, :, 1] = 0, v[1, :, 0]
    v[2, 0, 0] = np.nan
    yield case("v of no use starts afresh", x, 2, 2, v)
    v = np.full((3, 6, 2), np.nan)
    yield case("v is not read where steps = 0", x, 2, 0, v)
    for steps in (0, 1):
        lost = _echoes(rng, 4, 6, 40)
        lost[1, 2, 3], lost[3, 5, 0] = np.nan, np.inf
        yield case(f"lost windows between good ones, {steps}", lost, 2, steps)
    x = np.float32(1e-15) * _echoes(rng, 1, 6, 40)
    yield case("faint", x, 2, 1)


def _project_cases(rng: Rng, dtype: np.dtype[Any]) -> Iterator[Case]:
    def case(label: str, x: NDArray[Any], v: NDArray[Any], first: int) -> Case:
        windows, frames, pixels = x.shape
        low = garbage((windows, frames - first, pixels), C8)
        return Case(label, (x, v, first, low))

    yield case("one pixel", _draw(rng, 1, 1, 1), _basis(rng, 1, 1, 1), 0)
    for frames in (1, 7, 20, 64):
        for first in sorted({0, frames // 2, frames - 1}):
            x, v = _draw(rng, 2, frames, 300), _basis(rng, 2, frames, min(4, frames))
            yield case(f"{frames} frames from {first}", x, v, first)
    x, v = _draw(rng, 2, 5, 9), _basis(rng, 2, 5, 5)
    yield case("as many columns as frames", x, v, 0)
    yield case("no frame", x, v, 5)
    yield case("no window", x[:0], v[:0], 1)
    yield case("no pixel", x[:, :, :0], v, 1)
    yield case("a column of zeros", x, v * np.array([1, 1, 0, 0, 0], C8), 2)
    yield case("zero", np.zeros_like(x), v, 0)
    lost = x.copy()
    lost[0, 1, 3] = np.nan
    yield case("a lost pixel", lost, v, 0)
    yield case("a lost pixel, newest frame", lost, v, 4)
    gone = v.copy()
    gone[1] = np.nan
    yield case("a lost basis", x, gone, 3)


def _shrink_cases(rng: Rng, dtype: np.dtype[Any]) -> Iterator[Case]:
    def case(label: str, x: NDArray[Any], tau: Any, rows: bool) -> Case:
        return Case(label, (x, tau, rows, garbage(x.shape, C8)))

    for rows in (False, True):
        of = "rows" if rows else "samples"
        x = _draw(rng, 3, 20, 601)
        tau = np.asarray(rng.uniform(0, 9 if rows else 3, 601), F4)
        yield case(f"{of}, one threshold", x, 6.5 if rows else 1.3, rows)
        yield case(f"{of}, one for each pixel", x, tau, rows)
        yield case(f"{of}, no threshold", x, 0.0, rows)
        yield case(f"{of}, threshold above everything", x, 1e6, rows)
        yield case(f"{of}, one pixel", x[:, :, :1].copy(), tau[:1], rows)
        yield case(f"{of}, one frame", x[:, :1].copy(), F4(1.0), rows)
        yield case(f"{of}, one window alone", x[0], 1.0, rows)
        yield case(f"{of}, more dimensions", _draw(rng, 2, 3, 4, 5), 1.0, rows)
        yield case(f"{of}, nothing", x[:0], 1.0, rows)
        zero = np.zeros((2, 3, 5), C8)
        yield case(f"{of}, zero", zero, 1.0, rows)
        yield case(f"{of}, zero and no threshold", zero, 0.0, rows)
        lost = x.copy()
        lost[1, 2, 3] = lost[2, 5, 600] = np.nan
        yield case(f"{of}, lost ones between good ones", lost, 1.0, rows)
        unknown = tau.copy()
        unknown[5], unknown[7] = np.nan, np.inf
        yield case(f"{of}, where no threshold is known", x, unknown, rows)
        yield case(f"{of}, faint", np.float32(1e-15) * x, 3e-15, rows)
        place = _draw(rng, 2, 4, 9)
        yield Case(f"{of}, in place", (place, 1.5, rows, place))


def _noise_scale_cases(rng: Rng, dtype: np.dtype[Any]) -> Iterator[Case]:
    def case(label: str, x: NDArray[Any], tile: int) -> Case:
        return Case(label, (x, tile, garbage((len(x), *x.shape[2:]), F4)))

    x = _draw(rng, 2, 5, 21, 34)
    for tile in (4, 7, 16, 17, 40):
        yield case(f"tiles of {tile}", x, tile)
    yield case("tiles of 1", x[:, :, :5, :7].copy(), 1)
    yield case("one sample", _draw(rng, 1, 1, 1, 1), 1)
    yield case("two samples, the lower", _draw(rng, 1, 2, 1, 1), 1)
    yield case("one row", _draw(rng, 1, 3, 1, 30), 8)
    yield case("no window", x[:0], 8)
    yield case("no frame", np.zeros((1, 0, 4, 5), C8), 2)
    yield case("zero", np.zeros((2, 3, 9, 9), C8), 4)
    yield case("equal samples", np.full((1, 3, 9, 9), 3 + 4j, C8), 4)
    dead = x.copy()
    dead[:, :, :, 5], dead[:, :3], dead[0, :, 8:14, 8:20] = 0, 0, 0
    yield case("dead lines, frames not yet seen, a hole", dead, 4)
    few = np.zeros((1, 2, 25, 25), C8)
    few[0, 1, 3, 20] = 2 - 1j
    yield case("one tile knows", few, 5)
    lost = dead.copy()
    lost[0, 4, 3, 3:9], lost[1, 4, 20, 33] = np.nan, np.inf
    yield case("what is not finite does not count", lost, 4)
    yield case("nothing finite", np.full((1, 2, 6, 6), np.nan, C8), 3)
    for gain in (1e-15, 1e15):
        yield case(f"times {gain}", np.float32(gain) * dead, 7)


def _smooth_cases(rng: Rng, dtype: np.dtype[Any]) -> Iterator[Case]:
    def case(label: str, x: NDArray[Any], *sizes: int) -> Case:
        taps = (np.asarray(rng.normal(size=size), F4) for size in sizes)
        return Case(label, (x, *taps, garbage(x.shape, C8)))

    x = _draw(rng, 2, 3, 19, 23)
    yield case("one sample", _draw(rng, 1, 1, 1, 1), 1, 1)
    for sizes in ((1, 1), (5, 5), (3, 9), (1, 5), (7, 1)):
        yield case(f"{sizes[0]} by {sizes[1]} taps", x, *sizes)
    yield case("more taps than pixels", _draw(rng, 1, 2, 3, 4), 9, 13)
    yield case("one row", _draw(rng, 1, 2, 1, 40), 5, 5)
    yield case("one column", _draw(rng, 1, 2, 40, 1), 5, 5)
    yield case("more than a CUDA block", _draw(rng, 1, 1, 33, 65), 5, 5)
    yield case("no window", x[:0], 5, 5)
    yield case("no pixel", x[:, :, :, :0], 5, 5)
    yield case("zero", np.zeros_like(x), 5, 5)
    lost = x.copy()
    lost[1, 1, 2, 3] = np.nan
    yield case("what is lost spreads as far as the taps", lost, 3, 5)


CASES: dict[str, Callable[[Rng, np.dtype[Any]], Iterator[Case]]] = {
    "subspace": _subspace_cases,
    "project": _project_cases,
    "shrink": _shrink_cases,
    "noise_scale": _noise_scale_cases,
    "smooth": _smooth_cases,
}
