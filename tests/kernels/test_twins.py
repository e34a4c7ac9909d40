"""Every row of the table, every twin, every case, against `ref`."""

import inspect
import subprocess
import sys
from importlib import import_module

import numpy as np
import pytest

from streamproc_kernels import (
    KERNELS,
    DeviceMissing,
    UnknownKernel,
    devices,
    pick,
    twins,
    warm,
)
from streamproc_kernels.driver import gpu_refusal
from streamproc_kernels.gpu import emulate

EVERY_CASE = [
    pytest.param(name, case, id=f"{name}-{dtype}-{case.label}")
    for name, row in KERNELS.items()
    for dtype in row.tolerances
    for case in twins.cases(name, dtype)
]
needs_gxx = pytest.mark.skipif(
    emulate.refusal() is not None, reason=f"CUDA NOT EMULATED: {emulate.refusal()}"
)
needs_gpu = pytest.mark.skipif(
    gpu_refusal() is not None, reason=f"NO GPU TWIN TESTED: {gpu_refusal()}"
)


@pytest.mark.parametrize(("name", "case"), EVERY_CASE)
def test_cpu_twin_agrees_with_ref(name, case):
    twins.check_twin(name, "cpu", *case.args)


@needs_gxx
@pytest.mark.parametrize(("name", "case"), EVERY_CASE)
def test_emulated_twin_agrees_with_ref(name, case):
    twins.check_twin(name, "emulated", *case.args)


@needs_gxx
@pytest.mark.parametrize(("name", "case"), EVERY_CASE)
def test_thread_order_does_not_change_a_bit(name, case):
    module = import_module(f"streamproc_kernels.gpu.{name}")
    backward = module.build(emulate.Emulator(reversed_threads=True))
    one = twins.run(pick(name, "emulated"), "emulated", case.args)
    other = twins.run(backward, "emulated", case.args)
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


@needs_gpu
@pytest.mark.gpu
@pytest.mark.parametrize(("name", "case"), EVERY_CASE)
def test_gpu_twin_agrees_with_ref(name, case):
    twins.check_twin(name, "gpu", *case.args)


@pytest.mark.parametrize("name", KERNELS)
def test_cpu_twin_takes_read_only_inputs(name):
    case = twins.smallest(name, next(iter(KERNELS[name].tolerances)))
    wanted = twins.run(pick(name, "ref"), "ref", case.args)
    args = tuple(a.copy() if isinstance(a, np.ndarray) else a for a in case.args)
    for index, before in enumerate(case.args):
        if isinstance(before, np.ndarray) and np.array_equal(before, wanted[index]):
            args[index].flags.writeable = False
    pick(name, "cpu")(*args)


@pytest.mark.parametrize("name", KERNELS)
def test_every_floor_has_the_same_signature(name):
    ref = list(inspect.signature(pick(name, "ref")).parameters)
    cpu = pick(name, "cpu")
    assert list(inspect.signature(getattr(cpu, "py_func", cpu)).parameters) == ref
    if emulate.refusal() is None:
        assert list(inspect.signature(pick(name, "emulated")).parameters) == ref
    assert len(ref) <= 10


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("device", devices())
def test_warm_runs_on_every_device_here(name, device):
    warm(name, device)


def test_a_wrong_result_is_caught_with_its_place():
    def off_by_a_bit(x, tau, rank, out, sigma):
        pick("svt", "ref")(x, tau, rank, out, sigma)
        out[0, 1, 0] += 0.01

    case = twins.smallest("svt", "f4")
    with pytest.raises(twins.TwinMismatch, match=r"argument 3, index \(0, 1, 0\)"):
        twins.check_twin("svt", off_by_a_bit, *case.args)


def test_a_written_input_is_caught():
    def careless(x, tau, rank, out, sigma):
        pick("svt", "ref")(x, tau, rank, out, sigma)
        x[...] = 0

    case = twins.smallest("svt", "f4")
    with pytest.raises(twins.TwinMismatch, match="an input was written"):
        twins.check_twin("svt", careless, *case.args)


def test_an_unwritten_output_is_caught():
    case = twins.smallest("svt", "f4")
    with pytest.raises(twins.TwinMismatch):
        twins.check_twin("svt", lambda *args: None, *case.args)


def test_a_misspelt_kernel_names_the_nearest():
    with pytest.raises(UnknownKernel, match="did you mean 'ekf_step'"):
        pick("ekf_setp", "cpu")


def test_an_unknown_device_names_the_devices():
    with pytest.raises(UnknownKernel, match="ref, cpu, gpu"):
        pick("svt", "quantum")


@pytest.mark.skipif(gpu_refusal() is None, reason="this machine has a GPU")
def test_a_missing_gpu_names_the_cure():
    with pytest.raises(DeviceMissing, match=r"install|run|check"):
        pick("svt", "gpu")
    assert "gpu" not in devices()


def test_import_loads_neither_numba_nor_cupy():
    code = (
        "import sys, streamproc_kernels, streamproc_kernels.twins\n"
        "sys.exit(any(m in sys.modules for m in ('numba', 'cupy')))"
    )
    path = ":".join(p for p in sys.path if p)
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": path}, check=False
    )
    assert done.returncode == 0
