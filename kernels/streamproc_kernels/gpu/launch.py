"""The one way to launch a CUDA kernel, on a device or emulated.

CUDA checks no argument: a float64 array where the kernel reads float32, or a
transposed view, gives wrong numbers without an error. So the signature is read
from the source, and every argument is held against it.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from streamproc_kernels.errors import LaunchError

_DTYPES: dict[str, np.dtype[Any]] = {
    "float": np.dtype(np.float32),
    "double": np.dtype(np.float64),
    "float2": np.dtype(np.complex64),
    "double2": np.dtype(np.complex128),
    "char": np.dtype(np.int8),
    "int": np.dtype(np.int32),
    "long long": np.dtype(np.int64),
}
_KERNEL = re.compile(r'extern\s+"C"\s+__global__\s+void\s+(\w+)\s*\(([^)]*)\)')
_PARAMETER = re.compile(
    r"(const\s+)?(\w+(?:\s+long)?)\s*(\*?)\s*(?:__restrict__)?\s*(\w+)"
)
_INCLUDE = re.compile(r'^#include "(\w+\.cuh)"$', re.MULTILINE)

# grid, threads, arguments
Run = Callable[[int, int, list[Any]], None]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a CUDA kernel: what it is called and what it must be."""

    name: str
    ctype: str
    dtype: np.dtype[Any]
    pointer: bool
    const: bool


class Backend(Protocol):
    """What runs a launch: CuPy on a device, or g++ on NumPy arrays."""

    def misplaced(self, array: Any) -> str | None:
        """What this array is instead of an array of this backend, or None."""

    def empty(self, size: int) -> Any:
        """Float64 scratch of this backend."""

    def load(self, source: Path, kernel: str, parameters: tuple[Parameter, ...]) -> Run:
        """Compile a kernel of a .cu."""


def text(source: Path) -> str:
    """A .cu with the .cuh it includes in their places: NVRTC looks in no folder."""

    def included(match: re.Match[str]) -> str:
        return (source.parent / match[1]).read_text()

    return _INCLUDE.sub(included, source.read_text())


def parse(source: str) -> dict[str, tuple[Parameter, ...]]:
    """The parameters of every `extern "C" __global__` kernel in a source.

    LaunchError: a parameter of a type that no array or scalar is passed as.
    """
    return {
        name: tuple(_parameter(name, text) for text in inside.split(","))
        for name, inside in _KERNEL.findall(source)
    }


def _parameter(kernel: str, text: str) -> Parameter:
    match = _PARAMETER.fullmatch(" ".join(text.split()))
    if not match or match[2] not in _DTYPES:
        raise LaunchError(
            f"{kernel}: cannot pass parameter '{text.strip()}'; "
            f"expected one of {', '.join(_DTYPES)}, or a pointer to one"
        )
    const, ctype, pointer, name = match.groups()
    return Parameter(name, ctype, _DTYPES[ctype], bool(pointer), bool(const))


class Program:
    """A .cu and the backend that runs it; kernels compile at their first launch."""

    def __init__(self, source: Path, backend: Backend) -> None:
        self.source = source
        self.backend = backend
        self._loaded: dict[str, Run] = {}

    @cached_property
    def kernels(self) -> dict[str, tuple[Parameter, ...]]:
        return parse(self.source.read_text())

    def launch(self, kernel: str, grid: int, threads: int, *args: Any) -> None:
        """Check every argument, then run `grid` CUDA blocks of `threads`.

        Nothing runs for a grid of 0, which CUDA would refuse.

        LaunchError: unknown kernel, number of arguments, dtype, layout, place.
        """
        if kernel not in self.kernels:
            raise LaunchError(
                f"{self.source.name}: expected one of {', '.join(self.kernels)}, "
                f"got '{kernel}'"
            )
        parameters = self.kernels[kernel]
        if len(args) != len(parameters):
            raise LaunchError(
                f"{kernel}: expected {len(parameters)} arguments, got {len(args)}"
            )
        checked = [
            self._array(kernel, p, a) if p.pointer else _scalar(kernel, p, a)
            for p, a in zip(parameters, args, strict=True)
        ]
        if grid == 0:
            return
        if kernel not in self._loaded:
            self._loaded[kernel] = self.backend.load(self.source, kernel, parameters)
        self._loaded[kernel](grid, threads, checked)

    def _array(self, kernel: str, parameter: Parameter, array: Any) -> Any:
        where = f"{kernel}.{parameter.name}"
        found = self.backend.misplaced(array)
        if found:
            raise LaunchError(f"{where}: {found}")
        if array.dtype != parameter.dtype:
            raise LaunchError(
                f"{where}: expected {parameter.dtype}, got {array.dtype}; "
                f"convert with .astype('{parameter.dtype}')"
            )
        if not array.flags.c_contiguous:
            raise LaunchError(
                f"{where}: expected a C-contiguous array, got strides "
                f"{array.strides} for shape {array.shape}; use ascontiguousarray"
            )
        if not parameter.const and not getattr(array.flags, "writeable", True):
            raise LaunchError(f"{where}: expected a writeable array, got a read-only")
        return array


def _scalar(kernel: str, parameter: Parameter, value: Any) -> Any:
    kinds: tuple[type, ...] = (int, np.integer)
    if parameter.dtype.kind == "f":
        kinds = (int, float, np.integer, np.floating)
    if isinstance(value, bool) or not isinstance(value, kinds):
        raise LaunchError(
            f"{kernel}.{parameter.name}: expected {parameter.dtype}, "
            f"got {type(value).__name__} {value!r}"
        )
    try:
        return parameter.dtype.type(value)
    except OverflowError as error:
        raise LaunchError(
            f"{kernel}.{parameter.name}: {value} does not fit {parameter.dtype}"
        ) from error


class Scratch:
    """Float64 working memory of a backend, grown to the largest asked for."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._array: Any = None

    def at_least(self, size: int) -> Any:
        if self._array is None or self._array.size < size:
            self._array = self._backend.empty(size)
        return self._array


def suffix(array: Any) -> str:
    """f4, f8, c8: how the kernels of one .cu name their dtypes."""
    dtype = np.dtype(array.dtype)
    return f"{dtype.kind}{dtype.itemsize}"


def ceil_div(items: int, per: int) -> int:
    """How many groups of `per` hold all items."""
    return -(-items // per)
