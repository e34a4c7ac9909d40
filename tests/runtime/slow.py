"""Node kinds whose compiled code, kept on disk, takes as long to make as they say."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from numba import njit, types
from numba.extending import intrinsic

from streamproc import Frame, Node, Signature


@dataclass(frozen=True, kw_only=True)
class SlowConfig:
    """told: a folder, where a process that compiles leaves its number; slow_s: for."""

    told: str
    slow_s: float


class _Slow:
    """Opens by making its code. Kinds share it, and are no family for that."""

    code: ClassVar[Any]
    rehearses: ClassVar[bool] = True
    config: SlowConfig
    opening: ClassVar[_Slow]

    def open(self, device: str) -> None:
        _Slow.opening = self
        self.code(1.0)

    def process(self, x: Frame) -> Frame:
        return x


@intrinsic
def _slowly(typing_context, x):
    """The same number. It is typed slowly, and only when it is not on disk yet."""
    node = _Slow.opening
    told = Path(node.config.told, type(node).__name__)
    told.with_suffix(".part").write_text(str(os.getpid()))
    told.with_suffix(".part").rename(told)
    time.sleep(node.config.slow_s)
    return types.float64(types.float64), lambda *given: given[3][0]


@njit(cache=True)
def _trigger(x):
    return x


@njit(cache=True)
def _one(x):
    return _slowly(x)


@njit(cache=True)
def _other(x):
    return _slowly(x)


class Trigger(_Slow, Node[SlowConfig]):
    code = staticmethod(_trigger)

    def accept(self, x: Signature):
        return x


class One(_Slow, Node[SlowConfig]):
    code = staticmethod(_one)

    def accept(self, x: Signature):
        return x


class Other(_Slow, Node[SlowConfig]):
    code = staticmethod(_other)

    def accept(self, x: Signature):
        return x
