"""Scenes as sources: what the sensor sees on one port, the truth on the others."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, NamedTuple, TypeVar

from streamproc.errors import EndOfStream, PlacementError
from streamproc.frame import Array, Frame, Signature
from streamproc.node import Source
from streamproc.schema import Above, Min
from streamproc.sims.isi import Isi, IsiConfig
from streamproc.sims.lorenz import Lorenz, LorenzConfig
from streamproc.sims.scene import Scene
from streamproc.sims.statespace import StateSpaceConfig, StateSpaceSim
from streamproc.sims.ultrasound import (
    Ultrasound,
    UltrasoundConfig,
    UltrasoundRank1Config,
)

NOMINAL_HZ = 1000.0  # spacing of t0_ns where the scene runs as fast as it is asked


@dataclass(frozen=True, slots=True, kw_only=True)
class LorenzSceneConfig(LorenzConfig):
    """The scene's config, and:

    rate_hz: frames in a second; without it, as many as are asked for.
    frames: how many before the stream ends; without it, it does not.
    """

    rate_hz: Annotated[float, Above(0)] | None = None
    frames: Annotated[int, Min(0)] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IsiSceneConfig(IsiConfig):
    """The scene's config, and:

    rate_hz: frames in a second; without it, as many as are asked for.
    frames: how many before the stream ends; without it, it does not.
    """

    rate_hz: Annotated[float, Above(0)] | None = None
    frames: Annotated[int, Min(0)] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UltrasoundSceneConfig(UltrasoundConfig):
    """The scene's config, and:

    rate_hz: frames in a second; without it, as many as are asked for.
    frames: how many before the stream ends; without it, it does not.
    """

    rate_hz: Annotated[float, Above(0)] | None = None
    frames: Annotated[int, Min(0)] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UltrasoundRank1SceneConfig(UltrasoundRank1Config):
    """The scene's config, and:

    rate_hz: frames in a second; without it, as many as are asked for.
    frames: how many before the stream ends; without it, it does not.
    """

    rate_hz: Annotated[float, Above(0)] | None = None
    frames: Annotated[int, Min(0)] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StateSpaceSceneConfig(StateSpaceConfig):
    """The scene's config, and:

    rate_hz: frames in a second; without it, as many as are asked for.
    frames: how many before the stream ends; without it, it does not.
    """

    rate_hz: Annotated[float, Above(0)] | None = None
    frames: Annotated[int, Min(0)] | None = None


SceneConfig = (
    LorenzSceneConfig
    | IsiSceneConfig
    | UltrasoundSceneConfig
    | UltrasoundRank1SceneConfig
    | StateSpaceSceneConfig
)
SceneConfigT = TypeVar("SceneConfigT", bound=SceneConfig)


class LorenzFrames(NamedTuple):
    """Ports of scene.lorenz."""

    observation: Frame
    truth: Frame


class IsiFrames(NamedTuple):
    """Ports of scene.isi."""

    observation: Frame
    truth: Frame
    taps: Frame


class UltrasoundFrames(NamedTuple):
    """Ports of scene.ultrasound and scene.ultrasound_rank1."""

    image: Frame
    truth: Frame
    tissue: Frame
    positions: Frame


class StateSpaceFrames(NamedTuple):
    """Ports of scene.statespace."""

    observation: Frame
    truth: Frame


class _SceneSource(Source[SceneConfigT], ABC):
    """Simulated time: frame n was taken at n / rate_hz, whenever it is asked for."""

    replayable: ClassVar[bool] = True
    rehearses: ClassVar[bool] = True

    def __init__(self, config: SceneConfigT) -> None:
        super().__init__(config)
        self._step_ns = round(1e9 / (config.rate_hz or NOMINAL_HZ))
        self._scene: Scene | None = None

    @abstractmethod
    def _make(self) -> Scene:
        """The scene at its first frame."""

    def accept(self) -> dict[str, Signature]:
        rate_hz = self.config.rate_hz
        signatures = self._make().signatures()
        return {port: replace(s, rate_hz=rate_hz) for port, s in signatures.items()}

    def open(self, device: str) -> None:
        if device != "cpu":
            raise PlacementError(f"scenes run on 'cpu' only, not on {device!r}")
        self._make().next()  # compiles what is not cached, before a frame is due
        self._scene = self._make()

    def close(self) -> None:
        self._scene = None

    def pace_hz(self) -> float | None:
        return self.config.rate_hz

    def _next(self) -> dict[str, Frame]:
        scene = self._opened()
        if scene.frame == self.config.frames:
            raise EndOfStream
        t0_ns = scene.frame * self._step_ns
        return {
            port: Frame.of(data, t0_ns=t0_ns) for port, data in scene.next().items()
        }

    def _opened(self) -> Scene:
        if self._scene is None:
            raise PlacementError(
                f"{type(self).__name__} is not open; call open() first"
            )
        return self._scene

    @property
    def state(self) -> dict[str, Array]:
        return self._opened().state

    @state.setter
    def state(self, state: dict[str, Array]) -> None:
        self._opened().state = state


class LorenzScene(_SceneSource[LorenzSceneConfig]):
    """Ports observation, truth: (axis 3) f8."""

    def _make(self) -> Scene:
        return Lorenz(self.config)

    def process(self) -> LorenzFrames:
        return LorenzFrames(**self._next())


class IsiScene(_SceneSource[IsiSceneConfig]):
    """Ports observation (symbol) f8 or c16, truth (symbol) i1, taps (tap)."""

    def _make(self) -> Scene:
        return Isi(self.config)

    def process(self) -> IsiFrames:
        return IsiFrames(**self._next())


class UltrasoundScene(_SceneSource[UltrasoundSceneConfig]):
    """Ports image, truth, tissue: (z, x) c8; positions: (bubble, column) f8.

    Pixels are squares of config.pixel_m, 0.154 mm by default. A px per frame is
    pixel_m * rate_hz metres per second.
    """

    def _make(self) -> Scene:
        return Ultrasound(self.config)

    def process(self) -> UltrasoundFrames:
        return UltrasoundFrames(**self._next())


class UltrasoundRank1Scene(_SceneSource[UltrasoundRank1SceneConfig]):
    """The ports of scene.ultrasound, with tissue that hardly moves."""

    def _make(self) -> Scene:
        return Ultrasound(self.config)

    def process(self) -> UltrasoundFrames:
        return UltrasoundFrames(**self._next())


class StateSpaceScene(_SceneSource[StateSpaceSceneConfig]):
    """Ports observation (component m), truth (component n): f8."""

    def _make(self) -> Scene:
        return StateSpaceSim(self.config)

    def process(self) -> StateSpaceFrames:
        return StateSpaceFrames(**self._next())
