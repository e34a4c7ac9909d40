"""Unfolded robust PCA as a clutter filter: CORONA, frame by frame."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import numpy as np

from streamproc.artifact import Artifact
from streamproc.card import ClutterCard
from streamproc.clutter.compiled.layers import CompiledLayers
from streamproc.clutter.compiled.plan import compilable
from streamproc.clutter.corona import Corona as CoronaFilter
from streamproc.clutter.corona import Plan
from streamproc.clutter.layers import Layers, OnnxLayers
from streamproc.clutter.stream import Separated
from streamproc.errors import ConfigError
from streamproc.frame import Array, Frame, Header
from streamproc.nodes.clutter import DEGRADED, Clutter, Filtered, Taken
from streamproc.schema import Above, Min


@dataclass(frozen=True, slots=True, kw_only=True)
class CoronaConfig:
    """Which network, and how much of it.

    model: name of a shipped artifact, or a folder with model.onnx and card.toml; it
    says how many frames are looked at.
    tissue: followed from image to image, which answers at once, or taken anew from the
    window of each stride.
    stride: frames of a window that are separated at once; more delays, and costs less.
    rank: components taken for tissue; the network's own, and no other, if given.
    layers: of the network; without it, all that it has for this tissue.
    tile_px: side of the tiles that larger images are cut into.
    overlap_px: of neighbouring tiles, at least; they are blended linearly.
    budget_us: what an image may take; where layers do not fit, fewer are run, and the
    frame is flagged DEGRADED. Without it, all are. As deadline_us with on_late =
    "degrade".
    guard: whether a linear filter takes over while what is left is no noise.
    engine: numba, compiled for this processor from the weights beside the graph; onnx,
    ONNX Runtime; auto: numba, and onnx on a GPU or where there are no such weights.
    """

    model: str
    tissue: Literal["followed", "window"] = "followed"
    stride: Annotated[int, Min(1)] = 1
    rank: Annotated[int, Min(1)] | None = None
    layers: Annotated[int, Min(1)] | None = None
    tile_px: Annotated[int, Min(8)] = 128
    overlap_px: Annotated[int, Min(0)] = 16
    budget_us: Annotated[float, Above(0)] | None = None
    guard: bool = True
    engine: Literal["auto", "numba", "onnx"] = "auto"

    def __post_init__(self) -> None:
        if self.overlap_px > self.tile_px // 2:
            raise ConfigError(
                f"overlap_px: expected at most half of tile_px = {self.tile_px}, got "
                f"{self.overlap_px}"
            )
        if self.tissue == "followed" and self.stride > 1:
            raise ConfigError(
                f'stride: expected 1 where tissue = "followed", for each image is '
                f'answered at once, got {self.stride}; set tissue = "window"'
            )

    def plan(self, card: ClutterCard) -> Plan:
        """How much is done for each image. ConfigError where the network cannot."""
        if self.tissue == "followed" and card.memory is None:
            raise ConfigError(
                f'tissue: expected "window" for the network {card.name!r}, which was '
                'trained for windows only, got "followed"'
            )
        windows = self.tissue == "window"
        layers = card.layers if windows else card.live_layers
        rank = card.rank if windows or card.memory is None else card.memory.rank
        for key, limit in {"stride": card.window, "layers": layers}.items():
            value = getattr(self, key)
            if value is not None and value > limit:
                raise ConfigError(
                    f"{key}: expected at most {limit} for the network {card.name!r}, "
                    f"got {value}"
                )
        if self.rank not in (None, rank):
            raise ConfigError(
                f"rank: expected {rank}, for which {card.name!r} was trained, got "
                f"{self.rank}; leave it out"
            )
        return Plan(
            layers=self.layers or layers,
            tissue=self.tissue,
            tile_px=self.tile_px,
            overlap_px=self.overlap_px,
            budget_us=self.budget_us,
            guard=self.guard,
        )


@dataclass(slots=True)
class Waiting:
    """An image on its way: what came in, and what became of it so far."""

    header: Header
    taken: Taken
    made: Separated | None = None
    degraded: bool = True


class Strided:
    """A filter that separates several images at once, and gives them one by one.

    An image of zeros is answered by zeros, which wait for their turn.
    """

    def __init__(self, filtering: CoronaFilter, stride: int) -> None:
        self.filter, self._stride = filtering, stride
        self._waiting: deque[Waiting] = deque()
        self._since = 0  # images since the last were separated

    @property
    def full(self) -> bool:
        return self.filter.full

    def push(self, image: Array) -> Separated:
        return self.filter.push(image)

    def receive(
        self, header: Header, taken: Taken, unknown: Array | None
    ) -> Waiting | None:
        """Take in an image; the one that is due, if any.

        unknown (z, x) b1: pixels of lines that are dark, or were.
        """
        waiting = Waiting(header, taken)
        self._waiting.append(waiting)
        if taken.blank:
            nothing = np.zeros_like(taken.image)
            waiting.made = Separated(nothing, nothing, 0)
        else:
            self.filter.add(taken.image, taken.missing)
        self._since += 1
        if self._since >= self._stride:
            self._separate(unknown)
        return self._waiting.popleft() if self._waiting[0].made else None

    def rest(self, unknown: Array | None) -> Iterator[Waiting]:
        """What still waits, when no image will come any more."""
        self._separate(unknown)
        while self._waiting:
            yield self._waiting.popleft()

    def _separate(self, unknown: Array | None) -> None:
        self._since = 0
        if not self.filter.new:
            return
        made = iter(self.filter.separate(unknown))
        for waiting in self._waiting:
            if waiting.made is None:
                waiting.made, waiting.degraded = next(made), self.filter.degraded
                if unknown is not None:
                    waiting.taken = _hidden(waiting.taken, unknown)

    @property
    def state(self) -> dict[str, Array]:
        queue = {
            f"waiting{n}.{name}": array
            for n, waiting in enumerate(self._waiting)
            for name, array in _arrays(waiting).items()
        }
        counts = np.array([self._since, len(self._waiting)], np.int64)
        return {**self.filter.state, **queue, "queue": counts}

    @state.setter
    def state(self, state: dict[str, Array]) -> None:
        self.filter.state = state
        self._since, count = map(int, state["queue"])
        self._waiting = deque(_waiting(state, f"waiting{n}.") for n in range(count))


class Corona(Clutter[CoronaConfig]):
    """Bubbles out of moving tissue, by layers of robust PCA whose weights were learned.

    Tissue is followed from image to image, as in the node incremental_svd, and each is
    answered at once; or it is that of a window of the last images. Either way in units
    of the noise around each pixel. Images larger than a tile are cut and blended. With
    a stride of s, an image comes out s - 1 images later, with its own t0.

    Frames are DEGRADED until enough of a past is known, where fewer layers ran than
    asked for, and where the guard has fallen: what is left of the image was as smooth
    as blood that is no sum of bubbles, for a whole window, and all that is not in the
    components of the tissue comes out until it is not. With budget_us, bytes depend on
    the clock; without it they do not.
    [Solomon et al., Deep unfolded robust PCA with application to clutter suppression in
    ultrasound, IEEE Trans. Med. Imaging 39(4), 2020]
    """

    degrades: ClassVar[bool] = True

    def __init__(self, config: CoronaConfig) -> None:
        super().__init__(config)
        self._artifact = artifact = Artifact.load(config.model, ClutterCard)
        self._plan = config.plan(artifact.card)
        self._compiled: CompiledLayers | None = None
        wanted = config.engine == "auto" and compilable(artifact.model)
        if wanted or config.engine == "numba":
            self._compiled = CompiledLayers(artifact)

    @property
    def horizon(self) -> int:
        return self._artifact.card.window

    def stream(self, shape: tuple[int, int], device: str) -> Strided:
        layers = self._layers(device)
        given = (self._plan.budget_us, self.deadline_us)
        budget_us = min((us for us in given if us is not None), default=None)
        plan = replace(self._plan, budget_us=budget_us)
        filtering = CoronaFilter(plan, shape, layers, device)
        self._strided = Strided(filtering, self.config.stride)
        return self._strided

    def _layers(self, device: str) -> Layers:
        engine = self.config.engine
        if self._compiled is None or (engine == "auto" and device == "gpu"):
            return OnnxLayers(self._artifact, device)
        return self._compiled

    def process(self, image: Frame) -> Filtered | None:
        taken = self.take(image)
        due = self._strided.receive(image.header, taken, self.unknown)
        return None if due is None else self._out(due)

    def finish(self) -> Iterator[Filtered]:
        return map(self._out, self._strided.rest(self.unknown))

    def _out(self, due: Waiting) -> Filtered:
        assert due.made is not None, "only what is done is due"
        return self.give(due.header, due.taken, due.made, degraded=due.degraded)

    def report(self) -> dict[str, float]:
        """As every clutter filter; falls of the guard, images cut short."""
        return {**super().report(), **self._strided.filter.report()}


def _hidden(taken: Taken, blocked: Array) -> Taken:
    """Without some more of its pixels."""
    hidden = blocked if taken.hidden is None else taken.hidden | blocked
    return taken._replace(hidden=hidden, flags=taken.flags | DEGRADED)


def _arrays(waiting: Waiting) -> dict[str, Array]:
    header, taken, made = waiting.header, waiting.taken, waiting.made
    figures = [header.t0_ns, header.t_in_ns, header.flags, taken.flags, taken.blank]
    figures += [waiting.degraded, -1 if made is None else made.rank]
    arrays: dict[str, Array] = {
        "figures": np.array(figures, np.int64),
        "image": taken.image,
    }
    if taken.hidden is not None:
        arrays["hidden"] = taken.hidden
    if header.meta is not None:
        # what JSON cannot say is kept as its text: no reason to fail a checkpoint
        text = json.dumps(dict(header.meta), default=str).encode()
        arrays["meta"] = np.frombuffer(text, np.uint8)
    if made is not None:
        arrays |= {"bubbles": made.bubbles, "tissue": made.tissue}
    return arrays


def _waiting(state: dict[str, Array], prefix: str) -> Waiting:
    def held(name: str) -> Any:
        array = state.get(prefix + name)
        return None if array is None else np.array(array)

    t0_ns, t_in_ns, flags, taken_flags, blank, degraded, rank = map(
        int, held("figures")
    )
    taken = Taken(held("image"), held("hidden"), taken_flags, bool(blank))
    made = None
    if rank >= 0:
        made = Separated(held("bubbles"), held("tissue"), rank)
    meta = held("meta")
    if meta is not None:
        meta = json.loads(meta.tobytes())
    header = Header("", 0, t0_ns, t_in_ns, flags, meta)
    return Waiting(header, taken, made, bool(degraded))
