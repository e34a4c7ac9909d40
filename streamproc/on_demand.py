"""Machine code that is made when it is first wanted, not when its module is imported.

A command that only looks at a graph imports every node's module, and must not wait
for compilers. What needs the code asks for it before its first frame.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

Code = Callable[[], Any]


def on_demand(jit: Callable[..., Any], signature: Any) -> Callable[[Any], Code]:
    """Decorates a function: to call it, ask for its code first, `f()(x, y)`.

    jit: njit(**options).  signature: the only one, void(...).
    """

    def decorate(function: Any) -> Code:
        @functools.wraps(function)
        def code() -> Any:
            dispatcher = jit(function)
            dispatcher.compile(signature)
            dispatcher.disable_compile()
            return dispatcher

        return functools.cache(code)

    return decorate


def ready(*codes: Code) -> None:
    """Compile these, or load them from Numba's cache, unless it is done."""
    for code in codes:
        code()


class Compiling:
    """Whether code that Numba keeps on disk has had to be compiled, from now on."""

    def __init__(self) -> None:
        self._events: Any = None

    @property
    def seen(self) -> bool:
        """Asked before Numba was loaded, no; it then listens from the next time on."""
        events = sys.modules.get("numba.core.event")
        if events is None:
            return False
        if self._events is None:
            self._events = events.RecordingListener()
            events.register("numba:compile", self._events)
        return any(
            event.data["dispatcher"].stats.cache_path
            for _, event in self._events.buffer
        )

    def close(self) -> None:
        """Listen no more."""
        if self._events is not None:
            sys.modules["numba.core.event"].unregister("numba:compile", self._events)
            self._events = None
