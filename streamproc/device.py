"""Kernels for nodes: whatever the device, host arrays go in and come out."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from streamproc.errors import PlacementError
from streamproc.frame import Array
from streamproc_kernels import KernelError, Twin, pick, warm


def kernel(name: str, device: str) -> Twin:
    """The twin of a kernel on a device, called with host arrays.

    "cpu": the twin itself. "gpu": each call uploads its arrays, and downloads those
    that may be written to. PlacementError, with the cure, for a device that is not
    to be had.
    """
    try:
        twin = pick(name, device)
        _warmed(name, device)  # now, not at the first frame
    except KernelError as error:
        raise PlacementError(str(error)) from error
    if device != "gpu":
        return twin
    import cupy

    return _crossing(twin, cupy)


@cache
def _warmed(name: str, device: str) -> None:
    """Once for all nodes of a process: what was compiled stays."""
    warm(name, device)


def _crossing(twin: Twin, cupy: Any) -> Twin:
    """A twin that takes device arrays, as one that takes host arrays."""

    def cross(*args: Any) -> None:
        host: dict[int, Array] = {id(a): a for a in args if isinstance(a, np.ndarray)}
        there = {key: cupy.asarray(array) for key, array in host.items()}
        twin(*(there.get(id(arg), arg) for arg in args))
        for key, array in host.items():
            if array.flags.writeable:
                array[...] = cupy.asnumpy(there[key])

    return cross
