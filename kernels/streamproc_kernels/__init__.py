"""The table of kernels: one stem per kernel, one signature on every floor.

`ref` holds the equations in plain NumPy and judges, `cpu` is Numba or BLAS, `gpu`
is CUDA through CuPy. `emulated` runs the CUDA source on NumPy arrays with g++, for
tests. Importing this package loads neither numba nor cupy; `pick` loads one floor.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from types import MappingProxyType

from streamproc_kernels.driver import gpu_refusal
from streamproc_kernels.errors import (
    DeviceMissing,
    KernelError,
    LaunchError,
    UnknownKernel,
)

__all__ = [
    "DEVICES",
    "KERNELS",
    "DeviceMissing",
    "Kernel",
    "KernelError",
    "LaunchError",
    "Tolerance",
    "Twin",
    "UnknownKernel",
    "devices",
    "pick",
    "warm",
]

Twin = Callable[..., None]
DEVICES = ("ref", "cpu", "gpu", "emulated")


@dataclass(frozen=True, slots=True)
class Tolerance:
    """|twin - ref| <= atol + rtol * (largest |ref| of the array), and why."""

    rtol: float
    atol: float
    why: str


@dataclass(frozen=True, slots=True)
class Kernel:
    """A row of the table. The keys of `tolerances` are the dtypes it takes."""

    name: str
    what: str
    tolerances: Mapping[str, Tolerance]


_ROWS = (
    Kernel(
        "lorenz_flow",
        "one step of the Lorenz-63 flow and its Jacobian, n points",
        {"f8": Tolerance(1e-13, 0, "some 200 roundings of eps64 a substep")},
    ),
    Kernel(
        "ekf_step",
        "one extended Kalman step, three states, missing components, n tracks",
        {
            "f8": Tolerance(1e-11, 1e-13, "S inverted: eps64 times cond(S) < 1e4"),
            "f4": Tolerance(2e-4, 1e-5, "S inverted in float32: eps32 * cond(S)"),
        },
    ),
    Kernel(
        "bcjr",
        "symbol posteriors on the trellis of a channel, the forward state carried",
        {"f8": Tolerance(1e-11, 1e-11, "T scalings of eps64, then a logarithm")},
    ),
    Kernel(
        "class_posterior",
        "posteriors of classes on the same trellis, whole sequences, for EM",
        {"f8": Tolerance(1e-12, 1e-12, "T scalings of eps64, then a quotient")},
    ),
    Kernel(
        "max_log",
        "differences of the best paths through each symbol, the same trellis",
        {"f8": Tolerance(1e-12, 1e-12, "sums of T metrics, eps64 each")},
    ),
    Kernel(
        "viterbi",
        "the likeliest sequence on the same trellis, traced back",
        {"f8": Tolerance(1e-12, 1e-12, "sums of T metrics, eps64 each")},
    ),
    Kernel(
        "decide",
        "decisions on symbols, and sums that tell whether the channel is the right one",
        {"f8": Tolerance(1e-12, 1e-13, "sums of N terms, eps64 each")},
    ),
    Kernel(
        "mixture",
        "log-likelihoods of classes under noise that is a mixture of Gaussians",
        {"f8": Tolerance(1e-14, 1e-13, "a square, an exponential, a logarithm")},
    ),
    Kernel(
        "svt",
        "singular value soft threshold and rank cap of tall matrices",
        {
            "f4": Tolerance(5e-6, 1e-6, "x times a T x T matrix, rounded to eps32"),
            "c8": Tolerance(5e-6, 1e-6, "x times a T x T matrix, rounded to eps32"),
        },
    ),
    Kernel(
        "subspace",
        "strongest temporal components of a window, followed or exact",
        {"c8": Tolerance(2e-6, 0, "eps32 at the end, G in double: eps64 over gaps")},
    ),
    Kernel(
        "project",
        "the part of a window in given temporal components, newest frames alone",
        {"c8": Tolerance(2e-6, 0, "a sum of T products, eps32 each")},
    ),
    Kernel(
        "shrink",
        "complex soft threshold, by sample or by row of a pixel's samples",
        {"c8": Tolerance(1e-6, 0, "a square root and a quotient in eps32")},
    ),
    Kernel(
        "noise_scale",
        "local noise level of a window of images, from medians of tiles",
        {"c8": Tolerance(1e-6, 0, "a power and a root in eps32; ranks are exact")},
    ),
    Kernel(
        "smooth",
        "separable real filter over complex images",
        {"c8": Tolerance(2e-6, 0, "a sum of Kz + Kx products, eps32 each")},
    ),
)
KERNELS: Mapping[str, Kernel] = MappingProxyType({row.name: row for row in _ROWS})


def devices() -> tuple[str, ...]:
    """The devices this machine can run kernels on; `emulated` is not one."""
    return ("ref", "cpu") if gpu_refusal() else ("ref", "cpu", "gpu")


def pick(name: str, device: str) -> Twin:
    """The twin of a kernel for a device; takes numpy arrays, or cupy on "gpu".

    UnknownKernel: no such kernel or device.
    DeviceMissing: the device is not usable here; the text says what to install.
    """
    _known("kernel", name, KERNELS)
    _known("device", device, DEVICES)
    if device in ("ref", "cpu"):
        module = import_module(f"streamproc_kernels.{device}.{name}")
        twin: Twin = getattr(module, name)
        return twin
    if device == "gpu":
        why = gpu_refusal()
        if why:
            raise DeviceMissing(f"kernel '{name}' on device 'gpu': {why}")
    module = import_module(f"streamproc_kernels.gpu.{name}")
    built: Twin = module.build(_backend(device))
    return built


def warm(name: str, device: str) -> None:
    """Compile or load a twin for every dtype it declares, by its smallest case.

    Raises what `pick` raises. Call before the first frame: a compilation takes
    about a second, a load from the cache some 0.1 s.
    """
    from streamproc_kernels import twins

    twin = pick(name, device)
    for dtype in KERNELS[name].tolerances:
        twins.run(twin, device, twins.smallest(name, dtype).args)


def _backend(device: str) -> object:
    if device == "gpu":
        return import_module("streamproc_kernels.gpu.cuda").Cuda()
    return import_module("streamproc_kernels.gpu.emulate").Emulator()


def _known(what: str, name: str, names: Mapping[str, object] | tuple[str, ...]) -> None:
    if name in names:
        return
    near = get_close_matches(name, names, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(names)}"
    raise UnknownKernel(f"no {what} '{name}'; {hint}")
