"""Is there a GPU that these kernels can use? Asked of the driver, silently."""

import ctypes
import functools
from importlib.util import find_spec


@functools.cache
def gpu_refusal() -> str | None:
    """Why this machine cannot run the gpu twins, with the cure; None when it can.

    The driver is asked first: importing CuPy on a machine without one is slow,
    and its own answer does not say what is missing.
    """
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "no NVIDIA driver (libcuda.so.1): install one, or use device 'cpu'"
    count = ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return "the NVIDIA driver finds no usable GPU: run nvidia-smi to see why"
    if not count.value:
        return "the NVIDIA driver sees no GPU: check CUDA_VISIBLE_DEVICES"
    if find_spec("cupy") is None:
        return "a GPU but no CuPy: pip install 'streamproc[gpu]'"
    return None
