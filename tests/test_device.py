"""Kernels on host arrays, whatever the device."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamproc.device import _crossing, _warmed, kernel
from streamproc.errors import PlacementError
from streamproc.frame import Array
from streamproc_kernels import KERNELS, pick, twins
from streamproc_kernels.driver import gpu_refusal

needs_gpu = pytest.mark.skipif(
    gpu_refusal() is not None, reason=f"NO DEVICE CROSSED: {gpu_refusal()}"
)


class There(np.ndarray[Any, Any]):
    """An array that stands for one on a device."""


class FarNumpy:
    """CuPy's two crossings, counted."""

    def __init__(self) -> None:
        self.up = self.down = 0

    def asarray(self, array: Array) -> Array:
        self.up += 1
        return np.array(array).view(There)

    def asnumpy(self, array: Array) -> Array:
        self.down += 1
        assert isinstance(array, There)
        return np.array(array)


@pytest.mark.parametrize("device", ["ref", "cpu"])
def test_on_the_host_it_is_the_twin_itself(device: str) -> None:
    assert kernel("svt", device) is pick("svt", device)


def test_a_kernel_is_warmed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    warmed: list[tuple[str, str]] = []
    monkeypatch.setattr("streamproc.device.warm", lambda *one: warmed.append(one))
    _warmed.cache_clear()
    for device in ("ref", "cpu", "ref"):
        kernel("svt", device)
    assert warmed == [("svt", "ref"), ("svt", "cpu")]
    _warmed.cache_clear()  # what the stand-in said is not so


def test_arrays_go_up_once_and_come_down_where_they_may_be_written() -> None:
    def twin(x: Array, gain: float, same: Array, out: Array) -> None:
        assert x is same and isinstance(out, There)
        out[...] = gain * x

    far = FarNumpy()
    x, out = np.arange(3.0), np.zeros((2, 3))[1]
    x.flags.writeable = False
    _crossing(twin, far)(x, 2.0, x, out)
    np.testing.assert_array_equal(out, [0.0, 2.0, 4.0])
    assert (far.up, far.down) == (2, 1)


@pytest.mark.skipif(gpu_refusal() is None, reason="this machine has a GPU")
@pytest.mark.parametrize("name", KERNELS)
def test_a_gpu_that_is_not_there_is_refused_with_the_cure(name: str) -> None:
    with pytest.raises(PlacementError, match=rf"{name}.*'gpu': .*install"):
        kernel(name, "gpu")


def test_an_unknown_kernel_or_device_is_refused_with_the_nearest() -> None:
    with pytest.raises(PlacementError, match="did you mean 'svt'"):
        kernel("svd", "cpu")
    with pytest.raises(PlacementError, match="ref, cpu, gpu"):
        kernel("svt", "abacus")


@needs_gpu
@pytest.mark.gpu
@pytest.mark.parametrize("name", KERNELS)
def test_the_gpu_twin_agrees_with_ref_on_host_arrays(name: str) -> None:
    for dtype in KERNELS[name].tolerances:
        twins.check_twin(name, kernel(name, "gpu"), *twins.smallest(name, dtype).args)
