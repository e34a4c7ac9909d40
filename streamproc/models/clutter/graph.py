"""An ONNX graph as it grows: nodes and constants, each by its name."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from streamproc.frame import Array
from streamproc.models.onnx_nodes import Nodes, held

OPSET = 17
IR_VERSION = 8  # of opset 17; newer ones are refused by older runtimes
Shape = tuple[int | str, ...]


class Graph(Nodes):
    """With constants that are named by their order."""

    def name(self, value: str, name: str) -> None:
        """Another name for a value, such as an output's."""
        self.nodes.append(helper.make_node("Identity", [value], [name]))

    def split(self, x: str, axis: int, sizes: tuple[int, ...]) -> list[str]:
        names = [f"split_{len(self.nodes)}_{k}" for k in range(len(sizes))]
        inputs = [x, self.constant(np.array(sizes))]
        self.nodes.append(helper.make_node("Split", inputs, names, axis=axis))
        return names

    def constant(self, value: Array | float) -> str:
        """An array as int64 or float32; equal ones are held once."""
        array = held(value)
        for name, known in self.constants.items():
            if known.dtype == array.dtype and np.array_equal(known, array):
                return name
        name = f"constant_{len(self.constants)}"
        self.constants[name] = array
        return name

    def rows(self, x: str, first: int, stop: int) -> str:
        """Part of the first axis."""
        at = (np.array([first]), np.array([stop]), np.array([0]))
        return self.add("Slice", x, *(self.constant(one) for one in at))

    def reshaped(self, x: str, *shape: int) -> str:
        return self.add("Reshape", x, self.constant(np.array(shape)))

    def model(self, inputs: dict[str, Shape], outputs: dict[str, Shape]) -> Any:
        """The whole, as an onnx.ModelProto."""
        weights = [numpy_helper.from_array(v, k) for k, v in self.constants.items()]
        ports = [
            [
                helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
                for name, shape in some.items()
            ]
            for some in (inputs, outputs)
        ]
        body = helper.make_graph(self.nodes, "corona", ports[0], ports[1], weights)
        opset = helper.make_opsetid("", OPSET)
        model = helper.make_model(body, opset_imports=[opset])
        model.ir_version = IR_VERSION
        model.producer_name = "streamproc"
        onnx.checker.check_model(model, full_check=True)
        return model
