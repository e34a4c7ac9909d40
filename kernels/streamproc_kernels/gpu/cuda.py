"""Launches on a real GPU through CuPy, on CuPy's current device and stream."""

import functools
from pathlib import Path
from typing import Any

from streamproc_kernels.gpu.launch import Parameter, Run, text


class Cuda:
    """The backend that needs a GPU; CuPy loads when the first one is made."""

    def __init__(self) -> None:
        import cupy

        self._cupy = cupy

    def misplaced(self, array: Any) -> str | None:
        if not isinstance(array, self._cupy.ndarray):
            kind = f"{type(array).__module__}.{type(array).__name__}"
            return f"expected a cupy array, got {kind}; move it with cupy.asarray"
        here = self._cupy.cuda.Device().id
        if array.device.id != here:
            return f"expected an array on GPU {here}, got one on GPU {array.device.id}"
        return None

    def empty(self, size: int) -> Any:
        return self._cupy.empty(size)

    def load(self, source: Path, kernel: str, parameters: tuple[Parameter, ...]) -> Run:
        function = _module(source).get_function(kernel)

        def run(grid: int, threads: int, args: list[Any]) -> None:
            function((grid,), (threads,), tuple(args))

        return run


@functools.cache
def _module(source: Path) -> Any:
    import cupy

    return cupy.RawModule(code=text(source), options=("-std=c++17",))
