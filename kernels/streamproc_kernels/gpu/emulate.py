"""Runs the same .cu on NumPy arrays, compiled by g++ against `shim.h`.

It proves logic, barriers and bounds. It says nothing about occupancy, the
rounding of a device's own functions, or time.
"""

import ctypes
import functools
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np

from streamproc_kernels.errors import DeviceMissing, KernelError
from streamproc_kernels.gpu.launch import Parameter, Run, parse

_HERE = Path(__file__).parent
_SCALARS: dict[str, Any] = {
    "float": ctypes.c_float,
    "double": ctypes.c_double,
    "int": ctypes.c_int,
    "long long": ctypes.c_longlong,
}
# `__shared__` becomes static storage: one launch at a time in a process
_one_launch = threading.Lock()


def refusal() -> str | None:
    """Why this machine cannot emulate, with the cure; None when it can."""
    if shutil.which("g++"):
        return None
    return "emulation needs g++: install it (apt install g++)"


class Emulator:
    """The backend on NumPy arrays; `reversed_threads` exposes missing barriers.

    With `asan`, an access outside an array ends the process with a report that
    names the line of the .cu; the process must have been started with libasan
    preloaded (LD_PRELOAD=$(g++ -print-file-name=libasan.so)).

    DeviceMissing: no g++, or `asan` without the library preloaded.
    """

    def __init__(self, *, reversed_threads: bool = False, asan: bool = False) -> None:
        why = refusal()
        if why:
            raise DeviceMissing(why)
        if asan and "libasan" not in Path("/proc/self/maps").read_text():
            raise DeviceMissing(
                "asan: start Python with LD_PRELOAD=$(g++ -print-file-name=libasan.so)"
            )
        self._reversed = reversed_threads
        self._asan = asan

    def misplaced(self, array: Any) -> str | None:
        if isinstance(array, np.ndarray):
            return None
        kind = f"{type(array).__module__}.{type(array).__name__}"
        return f"expected a numpy array, got {kind}"

    def empty(self, size: int) -> Any:
        return np.full(size, np.nan)

    def load(self, source: Path, kernel: str, parameters: tuple[Parameter, ...]) -> Run:
        function = getattr(_library(source, self._asan), f"emulate_{kernel}")
        function.argtypes = [ctypes.c_uint, ctypes.c_uint, ctypes.c_int] + [
            ctypes.c_void_p if p.pointer else _SCALARS[p.ctype] for p in parameters
        ]

        def run(grid: int, threads: int, args: list[Any]) -> None:
            raw = [
                a.ctypes.data if p.pointer else a.item()
                for p, a in zip(parameters, args, strict=True)
            ]
            with _one_launch:
                failed = function(grid, threads, self._reversed, *raw)
            if failed:
                raise KernelError(
                    f"{source.name}: threads of {kernel} met different barriers"
                )

        return run


@functools.cache
def _library(source: Path, asan: bool) -> ctypes.CDLL:
    # a folder of its own: the loader takes two libraries of one path for the same
    library = Path(tempfile.mkdtemp(dir=_folder().name)) / f"{source.stem}.so"
    host = library.with_suffix(".cpp")
    host.write_text(_host(source))
    command = ["g++", "-std=c++17", "-O1", "-g", "-shared", "-fPIC", "-w"]
    command += ["-fsanitize=address"] if asan else []
    command += ["-I", str(_HERE), "-o", str(library), str(host)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise KernelError(f"{source.name}: g++ refused it:\n{done.stderr}")
    return ctypes.CDLL(str(library))


@functools.cache
def _folder() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="streamproc-emulate-")


def _host(source: Path) -> str:
    entries = [
        _entry(name, parameters)
        for name, parameters in parse(source.read_text()).items()
    ]
    return "\n".join(['#include "shim.h"', f'#include "{source}"', *entries])


def _entry(kernel: str, parameters: tuple[Parameter, ...]) -> str:
    declared = ", ".join(
        f"{p.ctype}{'*' if p.pointer else ''} {p.name}" for p in parameters
    )
    passed = ", ".join(p.name for p in parameters)
    return (
        f'extern "C" int emulate_{kernel}('
        f"unsigned shim_grid, unsigned shim_threads, int shim_reversed, {declared})\n"
        "{ return shim::run(shim_grid, shim_threads, shim_reversed, "
        f"[=] {{ {kernel}({passed}); }}); }}"
    )
