"""An ONNX graph as it grows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import helper

from streamproc.frame import Array


@dataclass
class Nodes:
    """Nodes and constants by their names; every call gives the output's name."""

    nodes: list[Any] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name


def held(value: Array | float) -> Array:
    """A constant as graphs hold it: int64 or float32."""
    array = np.asarray(value)
    return array.astype(np.int64 if array.dtype == np.int64 else np.float32)
