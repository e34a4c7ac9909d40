"""Weights of a clutter filter's layers, as the compiled ones want them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Generic, Literal, NamedTuple, TypeVar

import numpy as np

from streamproc.artifact import WEIGHT
from streamproc.clutter.compiled.gates import Weights
from streamproc.clutter.compiled.images import TAPS
from streamproc.clutter.compiled.stored import properties, tensors
from streamproc.errors import ArtifactError
from streamproc.frame import Array
from streamproc.schema import Max, Min, SchemaError, build

MOST_CHANNELS = 256
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


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerTable:
    """A network's config as it lies in the file: what all layers share.

    filters, channels, repeats, head, deep, pooled, taps: as the network was trained.
    """

    filters: Annotated[int, Min(1), Max(4)]
    taps: Literal[3, 5]
    channels: Annotated[int, Min(1), Max(MOST_CHANNELS)]
    pooled: bool
    deep: bool
    head: Literal[1, 3]
    repeats: Annotated[int, Min(0), Max(4)]


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowTable(LayerTable):
    """Of whole windows. context: frames around one that its gate sees."""

    window: Annotated[int, Min(2), Max(64)]
    ranks: tuple[Annotated[int, Min(1), Max(63)], ...]
    context: Annotated[int, Min(0), Max(4)]

    def __post_init__(self) -> None:
        ranks = list(self.ranks)
        if not ranks or ranks != sorted(ranks) or ranks[-1] >= self.window:
            raise ValueError(
                f"ranks: expected them to grow, less than window = {self.window}, got "
                f"{self.ranks}"
            )

    @property
    def layers(self) -> int:
        return len(self.ranks)

    @property
    def around(self) -> int:
        """Other frames that a gate sees."""
        return 2 * self.context


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveTable(LayerTable):
    """Of newest images. recent: that are looked at."""

    layers: Annotated[int, Min(1), Max(8)]
    recent: Annotated[int, Min(1), Max(16)]

    @property
    def around(self) -> int:
        return self.recent - 1


TableT = TypeVar("TableT", WindowTable, LiveTable)


class Network(NamedTuple, Generic[TableT]):
    """Layers, and the config they were trained by."""

    config: TableT
    layers: list[LayerPlan]


def compilable(model: bytes) -> bool:
    """Whether an ONNX file holds a network that can be compiled."""
    told = properties(model).get("window")
    return told is not None and '"pooled": true' in told


def window_network(model: bytes, place: str) -> Network[WindowTable]:
    """The network for whole windows in an ONNX file.

    ArtifactError, with place, where there is none that can be compiled. Compiled code
    checks no bounds, so every size is held against the config here.
    """
    return _network(model, "window", WindowTable, place)


def live_network(model: bytes, place: str) -> Network[LiveTable]:
    """The network for newest images, likewise."""
    return _network(model, "live", LiveTable, place)


def _network(
    model: bytes, name: str, table: type[TableT], place: str
) -> Network[TableT]:
    told = properties(model).get(name)
    if told is None:
        raise ArtifactError(
            f"{place}: expected weights named {WEIGHT}{name}, got none; {CURE}"
        )
    try:
        keys = json.loads(told)
        if not isinstance(keys, dict):
            raise ValueError(f"expected a config, got {told:.40}")
        config = build(table, keys)
    except (ValueError, RecursionError, SchemaError) as error:
        raise ArtifactError(f"{place}: {name}: {error}; {CURE}") from error
    if not config.pooled:
        raise ArtifactError(f"{place}: expected pooled gates, got others; {CURE}")
    prefix = f"{WEIGHT}{name}.layers."
    found = {
        key.removeprefix(prefix): value
        for key, value in tensors(model).items()
        if key.startswith(prefix)
    }
    _check(found, config, f"{place}: {name}")
    layers = [_layer(config, found, k) for k in range(config.layers)]
    return Network(config, layers)


def _check(
    found: Mapping[str, Array], config: WindowTable | LiveTable, place: str
) -> None:
    """That there is every weight of every layer, of its size, and no other."""
    expected = {
        f"{k}.{name}": shape
        for k in range(config.layers)
        for name, shape in _shapes(config, first=k == 0).items()
    }
    got = {name: value.shape for name, value in found.items()}
    for name in sorted(expected.keys() | got.keys()):
        if expected.get(name) != got.get(name):
            raise ArtifactError(
                f"{place}: layer {name}: expected {expected.get(name, 'nothing')}, got "
                f"{got.get(name, 'nothing')}; {CURE}"
            )
        if not np.isfinite(found[name]).all():
            raise ArtifactError(
                f"{place}: layer {name}: expected finite weights, got others; {CURE}"
            )


def _shapes(config: WindowTable | LiveTable, first: bool) -> dict[str, tuple[int, ...]]:
    """Sizes of one layer's weights."""
    filters, channels, head = config.filters, config.channels, config.head
    shapes: dict[str, tuple[int, ...]] = {
        "kernels.z": (filters, config.taps),
        "kernels.x": (filters, config.taps),
        "gain": (filters,),
        "step": (config.repeats,),
        "encode.weight": (channels, filters + config.around + 2, 3, 3),
        "encode.bias": (channels,),
        "head.weight": (4 * filters, channels, head, head),
        "head.bias": (4 * filters,),
    }
    if config.deep:
        seen = channels if first else 2 * channels
        shapes |= {"middle.weight": (channels, seen, 3, 3), "middle.bias": (channels,)}
    return shapes


def _layer(
    config: WindowTable | LiveTable, found: Mapping[str, Array], k: int
) -> LayerPlan:
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
    wide = config.head == 3
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
    return np.ascontiguousarray(np.pad(kernels, ((0, 0), (around, around))))
