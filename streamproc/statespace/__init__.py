"""State-space models: what moves how, what is seen of it, how noisy both are."""

from __future__ import annotations

import functools
import importlib
import json
import sys
from types import FunctionType
from typing import Any

import numpy as np

from streamproc.errors import ConfigError, GraphError, nearest, sought
from streamproc.schema import SchemaError
from streamproc.statespace.model import StateSpace

__all__ = ["MODELS", "Params", "StateSpace", "model"]

_Scalar = bool | int | float | str
_Lists = tuple[float, ...] | tuple[str, ...] | tuple[tuple[float, ...], ...]
Params = dict[str, _Scalar | _Lists | dict[str, _Scalar]]  # a model's, in a graph file

# name -> "module:factory"; a module is imported only when its model is used.
MODELS: dict[str, str] = {
    "linear": "streamproc.statespace.linear:linear",
    "constant_velocity": "streamproc.statespace.kinematic:constant_velocity",
    "constant_acceleration": "streamproc.statespace.kinematic:constant_acceleration",
    "constant_turn": "streamproc.statespace.constant_turn:constant_turn",
    "range_bearing": "streamproc.statespace.range_bearing:range_bearing",
    "wheeled_robot": "streamproc.statespace.wheeled_robot:wheeled_robot",
    "pendulum": "streamproc.statespace.pendulum:pendulum",
    "lorenz": "streamproc.statespace.lorenz:lorenz",
}


def model(name: str, **params: Any) -> StateSpace:
    """A model by its name in MODELS, or `module:object` for one of one's own.

    The object is a StateSpace, or a function that takes `params` and is declared to
    return one (`-> StateSpace`).
    Modules are found as Python finds them, the current folder included. The same
    built-in model asked for twice is the same object, compiled once. GraphError for
    a model that is not there, ConfigError for params that do not fit.
    """
    where = name if ":" in name else MODELS.get(name)
    if where is None:
        raise GraphError(f"no state-space model {name!r}{nearest(name, MODELS)}")
    if ":" not in name:
        return _built_in(name, json.dumps(params, sort_keys=True, default=_plain))
    return _made(name, _found(where), params)


@functools.lru_cache(maxsize=256)
def _built_in(name: str, params: str) -> StateSpace:
    return _made(name, _found(MODELS[name]), json.loads(params))


def _plain(value: Any) -> Any:
    """An array as lists, a NumPy number as Python's."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise ConfigError(f"params: expected numbers, text, lists or tables, got {value!r}")


def _found(where: str) -> Any:
    module, _, attribute = where.partition(":")
    if not module or module.startswith("."):
        raise GraphError(
            f"state-space model {where!r}: expected module:object, got no module"
        )
    if "" not in sys.path and not module.startswith("streamproc."):
        sys.path.append("")
    try:
        found: Any = getattr(importlib.import_module(module), attribute, None)
    except (ImportError, SyntaxError) as error:
        raise GraphError(
            f"state-space model {where!r} cannot be imported: {error}"
            f"{sought(f'{module}.py')}"
        ) from error
    if isinstance(found, StateSpace) or _is_factory(found):
        return found
    raise GraphError(
        f"state-space model {where!r}: expected a StateSpace, or a function declared "
        f"`-> StateSpace`, got {found!r:.80}"
    )


def _is_factory(found: Any) -> bool:
    """Declared as one: a graph file may not call whatever function it names."""
    told = getattr(found, "__annotations__", {}).get("return")
    return isinstance(found, FunctionType) and (
        told is StateSpace
        or (isinstance(told, str) and told.rpartition(".")[2] == "StateSpace")
    )


def _made(name: str, found: Any, params: dict[str, Any]) -> StateSpace:
    if isinstance(found, StateSpace):
        if params:
            got = ", ".join(params)
            raise ConfigError(f"state-space model {name!r} takes no params, got {got}")
        return found
    try:
        made = found(**params)
    except SchemaError as error:
        raise ConfigError(f"state-space model {name!r}: {error}") from error
    except TypeError as error:
        raise ConfigError(f"state-space model {name!r}: {error}") from error
    if not isinstance(made, StateSpace):
        raise GraphError(f"state-space model {name!r}: {made!r:.80} is no StateSpace")
    return made
