"""Weights of the clutter filter's network inside its ONNX file, to go on from.

The graph holds them folded and split. As they were trained they lie beside, named
`weight.window.NAME` and `weight.live.NAME`, where no node reads them and ONNX Runtime
drops them; the networks' configs are JSON among the model's properties.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from streamproc.artifact import WEIGHT, Session
from streamproc.errors import ArtifactError
from streamproc.models.clutter.network import (
    Corona,
    Live,
    LiveConfig,
    NetworkConfig,
)
from streamproc.schema import SchemaError, build, plain

WINDOW, LIVE = "window", "live"  # the properties, and the beginnings of names
CURE = "export it with this version of streamproc"


def keep(model: Any, network: Corona, live: Live) -> None:
    """Lay weights and configs into an onnx.ModelProto."""
    for name, one in ((WINDOW, network), (LIVE, live)):
        for key, weight in one.state_dict().items():
            array = np.ascontiguousarray(weight.detach().numpy())
            tensor = numpy_helper.from_array(array, f"{WEIGHT}{name}.{key}")
            model.graph.initializer.append(tensor)
        text = json.dumps(plain(one.config), sort_keys=True)
        model.metadata_props.add(key=name, value=text)


def load(model: bytes, place: str) -> tuple[Corona, Live]:
    """The networks that were exported. ArtifactError, with place, if there are none."""
    Session(model, place)  # refuses what is no graph
    proto = onnx.load_model_from_string(model)
    told = {row.key: row.value for row in proto.metadata_props}
    weights = {
        tensor.name.removeprefix(WEIGHT): torch.tensor(numpy_helper.to_array(tensor))
        for tensor in proto.graph.initializer
        if tensor.name.startswith(WEIGHT)
    }
    if not {WINDOW, LIVE} <= told.keys() or not weights:
        raise ArtifactError(
            f"{place}: expected the networks' configs and weights beside the graph, "
            f"got none to go on from; {CURE}"
        )
    try:
        network = Corona(build(NetworkConfig, json.loads(told[WINDOW])))
        live = Live(build(LiveConfig, json.loads(told[LIVE])))
        network.load_state_dict(_of(weights, WINDOW))
        live.load_state_dict(_of(weights, LIVE))
    except (ValueError, SchemaError, RuntimeError) as error:
        raise ArtifactError(f"{place}: {error}; {CURE}") from error
    return network, live


def _of(weights: dict[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    first = f"{name}."
    some = {k: v for k, v in weights.items() if k.startswith(first)}
    return {k.removeprefix(first): v for k, v in some.items()}
