"""The typed launcher, the emulator's own powers, and NVRTC."""

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from streamproc_kernels import KERNELS, DeviceMissing, KernelError, LaunchError, pick
from streamproc_kernels.gpu import emulate, launch, nvrtc

GPU = Path(launch.__file__).parent
SOURCES = sorted(GPU.glob("*.cu"))
needs_gxx = pytest.mark.skipif(
    emulate.refusal() is not None, reason=f"CUDA NOT EMULATED: {emulate.refusal()}"
)

ADD = """
extern "C" __global__ void add(const float* a, float gain, float* out, int n)
{ int i = blockIdx.x * blockDim.x + threadIdx.x; if (i < n) out[i] = gain * a[i]; }
"""
TURN_AROUND = """
extern "C" __global__ void turn_around(float* a)
{
    __shared__ float held[8];
    held[threadIdx.x] = a[threadIdx.x];
    BARRIER
    a[threadIdx.x] = held[7 - threadIdx.x];
}
"""
DIVERGENT = """
extern "C" __global__ void divergent(float* a)
{ if (threadIdx.x) __syncthreads(); a[threadIdx.x] = 1.0f; }
"""


class Recorder:
    """A backend that takes NumPy arrays and remembers what it was asked to run."""

    def __init__(self):
        self.runs = []

    def misplaced(self, array):
        return None if isinstance(array, np.ndarray) else "expected a numpy array"

    def empty(self, size):
        return np.empty(size)

    def load(self, source, kernel, parameters):
        return lambda grid, threads, args: self.runs.append((grid, threads, args))


@pytest.fixture
def add(tmp_path):
    source = tmp_path / "add.cu"
    source.write_text(ADD)
    return launch.Program(source, Recorder())


def f4(*shape):
    return np.zeros(shape, np.float32)


def test_signature_is_read_from_the_source():
    kernels = launch.parse((GPU / "svt.cu").read_text())
    assert set(kernels) == {"svt_f4", "svt_c8"}
    x = kernels["svt_c8"][0]
    assert (x.name, x.dtype, x.pointer, x.const) == ("x", np.complex64, True, True)


def test_scalars_are_cast_to_the_type_of_the_kernel(add):
    add.launch("add", 1, 32, f4(3), 2, f4(3), 3)
    [(grid, threads, args)] = add.backend.runs
    assert (grid, threads) == (1, 32)
    assert [type(args[1]), type(args[3])] == [np.float32, np.int32]


@pytest.mark.parametrize(
    ("args", "cure"),
    [
        ((np.zeros(3), 1.0, f4(3), 3), r"a: expected float32, got float64; .*astype"),
        ((f4(3, 2)[:, 0], 1.0, f4(3), 3), "a: expected a C-contiguous array"),
        ((f4(3), 1.0, f4(3)), "expected 4 arguments, got 3"),
        (([0.0], 1.0, f4(3), 3), "a: expected a numpy array"),
        ((f4(3), "1", f4(3), 3), "gain: expected float32, got str"),
        ((f4(3), 1.0, f4(3), 3.0), "n: expected int32, got float"),
        ((f4(3), 1.0, f4(3), True), "n: expected int32, got bool"),
        ((f4(3), 1.0, f4(3), 2**40), "n: 1099511627776 does not fit int32"),
    ],
)
def test_what_cuda_would_misread_is_refused(add, args, cure):
    with pytest.raises(LaunchError, match=cure):
        add.launch("add", 1, 32, *args)
    assert not add.backend.runs


def test_a_read_only_output_is_refused(add):
    out = f4(3)
    out.flags.writeable = False
    with pytest.raises(LaunchError, match="out: expected a writeable"):
        add.launch("add", 1, 32, f4(3), 1.0, out, 3)


def test_an_unknown_kernel_names_those_of_the_file(add):
    with pytest.raises(LaunchError, match="expected one of add, got 'sub'"):
        add.launch("sub", 1, 32)


def test_an_empty_grid_runs_nothing(add):
    add.launch("add", 0, 32, f4(0), 1.0, f4(0), 0)
    assert not add.backend.runs


def test_a_parameter_no_array_can_be_is_refused():
    with pytest.raises(LaunchError, match="cannot pass parameter 'half"):
        launch.parse('extern "C" __global__ void f(half* x) {}')


@needs_gxx
def test_a_public_twin_refuses_a_wrong_dtype():
    x = np.zeros((1, 4, 2))
    with pytest.raises(LaunchError, match=r"svt_c8\.x: expected complex64"):
        pick("svt", "emulated")(x, 0.0, 1, x.copy(), np.zeros((1, 2), np.float32))


@needs_gxx
def test_the_gpu_twin_refuses_more_columns_than_it_holds():
    x = np.zeros((1, 40, 33), np.float32)
    with pytest.raises(ValueError, match="T <= 32"):
        pick("svt", "emulated")(x, 0.0, 1, x.copy(), np.zeros((1, 33), np.float32))


def emulated(tmp_path, name, text, **options):
    source = tmp_path / f"{name}.cu"
    source.write_text(text)
    return launch.Program(source, emulate.Emulator(**options))


@needs_gxx
def test_reversed_threads_expose_a_missing_barrier(tmp_path):
    def both_orders(folder, barrier):
        folder.mkdir()
        results = []
        for backwards in (False, True):
            text = TURN_AROUND.replace("BARRIER", barrier)
            program = emulated(folder, "turn", text, reversed_threads=backwards)
            a = np.arange(8, dtype=np.float32)
            program.launch("turn_around", 1, 8, a)
            results.append(a.tolist())
        return results

    forward, backward = both_orders(tmp_path / "sound", "__syncthreads();")
    assert forward == backward == list(range(7, -1, -1))
    forward, backward = both_orders(tmp_path / "racy", "")
    assert forward != backward


@needs_gxx
def test_a_barrier_that_some_threads_skip_is_an_error(tmp_path):
    program = emulated(tmp_path, "divergent", DIVERGENT)
    with pytest.raises(KernelError, match="met different barriers"):
        program.launch("divergent", 1, 4, f4(4))


@needs_gxx
def test_source_that_does_not_compile_shows_the_log(tmp_path):
    program = emulated(tmp_path, "broken", ADD.replace("gain *", "gian *"))
    with pytest.raises(KernelError, match="gian"):
        program.launch("add", 1, 32, f4(3), 1.0, f4(3), 3)


@needs_gxx
def test_asan_names_the_line_of_an_overrun(tmp_path):
    library = subprocess.run(
        ["g++", "-print-file-name=libasan.so"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    if not Path(library).is_absolute():
        pytest.skip("OVERRUNS NOT TESTED: g++ has no libasan")
    (tmp_path / "add.cu").write_text(ADD)
    code = (
        "import numpy as np; from pathlib import Path\n"
        "from streamproc_kernels.gpu import emulate, launch\n"
        f"program = launch.Program(Path({str(tmp_path / 'add.cu')!r}),"
        " emulate.Emulator(asan=True))\n"
        "a = np.zeros(4096, np.float32)\n"
        "program.launch('add', 1, 1, a, 1.0, a.copy(), 1)\n"
        "print('inside', flush=True)\n"
        "program.launch('add', 33, 128, a, 1.0, np.zeros(4224, np.float32), 4224)\n"
    )
    env = os.environ | {
        "LD_PRELOAD": library,
        "ASAN_OPTIONS": "detect_leaks=0",
        "PYTHONPATH": ":".join(p for p in sys.path if p),
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert "inside" in done.stdout, done.stderr
    assert done.returncode != 0
    assert "heap-buffer-overflow" in done.stderr
    assert "add.cu:3" in done.stderr


@needs_gxx
def test_asan_without_its_library_names_the_cure():
    with pytest.raises(DeviceMissing, match="LD_PRELOAD"):
        emulate.Emulator(asan=True)


@pytest.mark.parametrize("arch", ["sm_75", "sm_80", "sm_90", "sm_120"])
@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_every_source_compiles_without_spills(source, arch):
    try:
        compiled = nvrtc.compile(launch.text(source), arch)
    except DeviceMissing as missing:
        pytest.skip(f"NO CUDA COMPILED: {missing}")
    assert compiled.cubin.startswith(b"\x7fELF")
    assert set(compiled.usage) == set(launch.parse(source.read_text()))
    for usage in compiled.usage.values():
        assert (usage.spill_stores, usage.spill_loads) == (0, 0)


def test_nvrtc_shows_the_log_of_a_fault():
    try:
        with pytest.raises(KernelError, match="gian"):
            nvrtc.compile(ADD.replace("gain *", "gian *"), "sm_80")
    except DeviceMissing as missing:
        pytest.skip(f"NO CUDA COMPILED: {missing}")


def test_every_kernel_has_its_three_files():
    for name in KERNELS:
        for file in (f"ref/{name}.py", f"cpu/{name}.py", f"gpu/{name}.py"):
            assert (GPU.parent / file).is_file()
        assert (GPU / f"{name}.cu").is_file()


class FakeArray(np.ndarray):
    """A NumPy array that says which GPU it lies on, as CuPy's do."""

    device = SimpleNamespace(id=0)


@pytest.fixture
def fake_cupy(monkeypatch):
    """Enough of CuPy to run host code; launches are remembered, not run."""
    launched = []

    class RawModule:
        def __init__(self, code, options):
            self.names = set(launch.parse(code))

        def get_function(self, name):
            assert name in self.names
            return lambda *call: launched.append((name, *call))

    cupy = ModuleType("cupy")
    cupy.ndarray = FakeArray
    cupy.RawModule = RawModule
    cupy.empty = lambda size: np.empty(size).view(FakeArray)
    cupy.cuda = SimpleNamespace(Device=lambda: SimpleNamespace(id=0))
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    return launched


def test_cupy_gets_grid_threads_and_typed_arguments(fake_cupy):
    from streamproc_kernels.gpu import bcjr, cuda

    cuda._module.cache_clear()
    shapes = (3, 5, 16), (3, 0, 2), (3, 8), (3, 4, 2), (3, 4)
    arrays = [np.zeros(shape).view(FakeArray) for shape in shapes]
    bcjr.build(cuda.Cuda())(*arrays[:2], 4, 1, *arrays[2:])
    [(name, grid, threads, args)] = fake_cupy
    assert (name, grid, threads) == ("bcjr", (3,), (32,))
    assert [type(a) for a in args[2:4]] == [np.int32, np.int32]
    room = args[-1]
    assert room >= 5 * 16 and args[-2].size >= 3 * room
    cuda._module.cache_clear()


def test_a_host_array_on_the_gpu_names_the_cure(fake_cupy):
    from streamproc_kernels.gpu import cuda, svt

    x = np.zeros((1, 4, 2), np.float32)
    with pytest.raises(LaunchError, match=r"svt_f4\.x: .*cupy\.asarray"):
        svt.build(cuda.Cuda())(x, 0.0, 1, x.copy(), np.zeros((1, 2), np.float32))


def test_an_array_on_another_gpu_is_refused(fake_cupy):
    from streamproc_kernels.gpu import cuda

    far = np.zeros(2).view(FakeArray)
    far.device = SimpleNamespace(id=1)
    assert "one on GPU 1" in cuda.Cuda().misplaced(far)
