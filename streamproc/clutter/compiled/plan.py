"""Weights of a clutter filter's layers, as the compiled ones want them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from streamproc.artifact import WEIGHT
from streamproc.clutter.compiled.gates import Weights
from streamproc.clutter.compiled.images import TAPS
from streamproc.clutter.compiled.stored import properties, tensors
from streamproc.errors import ArtifactError
from streamproc.frame import Array

FOURS = 4  # outputs of a convolution come in so many
CURE = "export the network again"


class LayerPlan(NamedTuple):
    """One layer.

    down, across (J, TAPS): its kernels.  steps: of the repeats.
    outputs: of its convolutions, in fours.
    """

    down: Array
    across: Array
    steps: Array
    gates: Weights
    outputs: int

    @property
    def filters(self) -> int:
        """J, kernels."""
        return len(self.down)


class Network(NamedTuple):
    """Layers, and the config they were trained by."""

    config: Mapping[str, Any]
    layers: list[LayerPlan]


def compilable(model: bytes) -> bool:
    """Whether an ONNX file holds a network that can be compiled."""
    told = properties(model).get("window")
    return told is not None and json.loads(told).get("pooled", True)


def network(model: bytes, name: str, place: str) -> Network:
    """The network of a name, `window` or `live`, in an ONNX file.

    ArtifactError, with place, where there is none that can be compiled.
    """
    told = properties(model).get(name)
    if told is None:
        raise ArtifactError(
            f"{place}: expected weights named {WEIGHT}{name}, got none; {CURE}"
        )
    config = json.loads(told)
    prefix = f"{WEIGHT}{name}.layers."
    found = {
        key.removeprefix(prefix): value
        for key, value in tensors(model).items()
        if key.startswith(prefix)
    }
    count = len({key.partition(".")[0] for key in found})
    if not config.get("pooled", True):
        raise ArtifactError(f"{place}: expected pooled gates, got others; {CURE}")
    try:
        layers = [_layer(config, found, k) for k in range(count)]
    except (KeyError, ValueError) as error:
        raise ArtifactError(
            f"{place}: expected the weights of {count} layers, got others "
            f"({error}); {CURE}"
        ) from error
    return Network(config, layers)


def _layer(config: Mapping[str, Any], found: Mapping[str, Array], k: int) -> LayerPlan:
    w = {
        name.removeprefix(f"{k}."): value
        for name, value in found.items()
        if name.startswith(f"{k}.")
    }
    filters, channels = len(w["gain"]), len(w["encode.bias"])
    outputs = -(-channels // FOURS) * FOURS
    halves = np.full(w["encode.weight"].shape[1], 0.5, np.float32)
    halves[-2] = 0.25  # gates see logarithms of magnitudes, and half of the tissue's
    encode = w["encode.weight"] * halves[None, :, None, None]
    middle = _of_both(w.get("middle.weight"), channels, outputs)
    wide = config["head"] == 3
    head = _of(w["head.weight"], 4 * filters, outputs)
    gates = Weights(
        encode=_of(encode, outputs, encode.shape[1]),
        encode_bias=_padded(w["encode.bias"], outputs),
        middle=middle,
        middle_bias=_padded(w.get("middle.bias", np.zeros(0, "f4")), outputs),
        head=head if wide else head[:0],
        mixed=head[:0, :, 0] if wide else np.ascontiguousarray(head[:, :, 0]),
        head_bias=w["head.bias"],
        gain=w["gain"],
    )
    return LayerPlan(
        _taps(w["kernels.z"]), _taps(w["kernels.x"]), w["step"], gates, outputs
    )


def _of(weight: Array, outputs: int, inputs: int) -> Array:
    """(O, C, k, k) as (outputs, inputs, k k), zeros where there was none."""
    flat = weight.reshape(*weight.shape[:2], -1)
    more = ((0, outputs - flat.shape[0]), (0, inputs - flat.shape[1]), (0, 0))
    return np.ascontiguousarray(np.pad(flat, more), np.float32)


def _of_both(weight: Array | None, channels: int, outputs: int) -> Array:
    """A middle convolution: of what was encoded, then of what the layer before had."""
    if weight is None:
        return np.zeros((0, 0, 9), np.float32)
    parts = np.split(weight, weight.shape[1] // channels, axis=1)
    return np.concatenate([_of(part, outputs, outputs) for part in parts], axis=1)


def _padded(bias: Array, size: int) -> Array:
    return np.pad(bias, (0, size - len(bias))).astype(np.float32)


def _taps(kernels: Array) -> Array:
    around = (TAPS - kernels.shape[1]) // 2
    if around < 0:
        raise ValueError(f"kernels of {kernels.shape[1]} taps, at most {TAPS}")
    return np.ascontiguousarray(np.pad(kernels, ((0, 0), (around, around))))
