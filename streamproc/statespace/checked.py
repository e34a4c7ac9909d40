"""A model's functions tried once in plain Python, then given to Numba."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
# mypy: disallow-untyped-decorators=False
# Numba types the functions it compiles itself.

from __future__ import annotations

import functools
from collections.abc import Callable
from types import FunctionType
from typing import Any

import numba
import numpy as np
from numba import float64, njit, types
from numba.core.errors import NumbaError

from streamproc.errors import ConfigError
from streamproc.statespace.model import StateSpace

_VECTOR = types.Array(float64, 1, "C")
_MATRIX = types.Array(float64, 2, "C")
_UNWRITTEN = -1.2345678901234e-300  # in `out` before a function that should write it


def checked(model: StateSpace, field: str, shape: tuple[int, ...]) -> Any:
    """A function of the model, tried at x0 and compiled. ConfigError if it fails."""
    function = getattr(model, field)
    plain = getattr(function, "py_func", function)
    if not isinstance(plain, FunctionType):
        raise _refused(model, field, f"{plain!r} is no function; give a plain one")
    _try(model, field, plain, shape)
    kinds: list[Any] = [_VECTOR, _VECTOR if len(shape) == 1 else _MATRIX]
    if field.startswith("f"):
        kinds.insert(1, float64)
    jitted = _jitted(function)
    try:
        jitted.compile(tuple(kinds))
    except NumbaError as error:
        raise _refused(model, field, _reason(error, plain)) from error
    return jitted


@functools.lru_cache(maxsize=256)
def _jitted(function: Any) -> Any:
    """Python function to a Numba one; one that is compiled already stays."""
    if hasattr(function, "py_func"):
        return function
    return njit(nogil=True, error_model="numpy")(function)


def _try(
    model: StateSpace, field: str, function: Callable[..., Any], shape: tuple[int, ...]
) -> None:
    """Once in plain Python: indices out of bounds, and values left unwritten."""
    out = np.full(shape, _UNWRITTEN)
    x = np.array(model.x0)
    arguments = (x, model.step_s, out) if field.startswith("f") else (x, out)
    try:
        with np.errstate(all="ignore"):
            answer = function(*arguments)
    except (AttributeError, LookupError, NameError, TypeError, ValueError) as error:
        why = f"at x0 it raises {type(error).__name__}: {error}"
        raise _refused(model, field, why) from error
    if answer is not None:
        raise _refused(model, field, "it returns a value; write into `out` instead")
    left = np.argwhere(out == _UNWRITTEN)
    if len(left):
        place = ", ".join(map(str, left[0]))
        raise _refused(model, field, f"it leaves out[{place}] unwritten")
    if not np.array_equal(x, model.x0, equal_nan=True):
        raise _refused(model, field, "it changes x; write into `out` only")


def _refused(model: StateSpace, field: str, why: str) -> ConfigError:
    return ConfigError(f"state-space model {model.name!r}: {field}: {why}")


def _reason(error: NumbaError, function: FunctionType) -> str:
    """Numba's reason in one line, and the cure."""
    lines = [line.strip() for line in str(error).splitlines()]
    told = [line for line in lines if line and not line.startswith("Failed in")]
    place = f"{function.__code__.co_filename}:{function.__code__.co_firstlineno}"
    return (
        f"Numba {numba.__version__} cannot compile {function.__name__} ({place}): "
        f"{told[0] if told else type(error).__name__}; use numbers, `math`, loops and "
        "NumPy functions that Numba knows"
    )
