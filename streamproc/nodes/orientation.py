"""Which way an inertial sensor points."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar, TypeVar

import numpy as np

from streamproc.errors import BadFrameError, GraphError
from streamproc.filters.attitude import (
    FIELD,
    GRAVITY,
    Attitude,
    Complementary,
    Motion,
)
from streamproc.filters.attitude_ekf import AttitudeNoise, ErrorStateEkf
from streamproc.filters.rotation import angles_deg
from streamproc.frame import Array, ArraySpec, Flags, Frame, Signature
from streamproc.nodes.counting import Counting
from streamproc.nodes.tracking import part, since_s
from streamproc.schema import Above, Min, plain

RATES = {"deg/s": np.pi / 180, "rad/s": 1.0}
FORCES = {"g": 1.0, "m/s2": 1 / 9.80665}
# From least to most, in the filter's units: less is a sensor that is not there, more
# one that is broken. The field's unit is its own.
RATE_SPAN, FORCE_SPAN, FIELD_SPAN = (0.0, 1e4), (1e-6, 1e6), (1e-12, 1e12)


@dataclass(frozen=True, kw_only=True)
class SensorConfig:
    """Which arrays hold what.

    gyroscope: array of turn rates (3), deg/s or rad/s; rad/s where it has no unit.
    accelerometer: array of specific force (3), g or m/s2, 1 g upwards at rest; g where
    it has no unit.
    magnetometer: array of the magnetic field (3), any unit; empty: there is none.
    longest_gap_s: time without frames after which the attitude begins anew.
    """

    gyroscope: str = "gyroscope"
    accelerometer: str = "accelerometer"
    magnetometer: str = "magnetometer"
    longest_gap_s: Annotated[float, Above(0)] = 1.0


# No slots: two bases that have them could not be joined.
@dataclass(frozen=True, kw_only=True)
class OrientationConfig(SensorConfig):
    """The sensor's arrays, how noisy it is, and what is not believed.

    gyro_noise: density of the gyroscope's noise, deg/s per root Hz.
    bias_walk: density of its bias' random walk, deg/s per root s.
    bias_std: of a bias about which nothing is known, deg/s.
    force_std: of the accelerometer, g; what its length differs by from 1 g is added.
    field_std: of the magnetometer, part of the field's length.
    gate_at: probability with which a look at gravity or field passes if all is true.
    field_tolerance: part of the field's length that it may differ by, to be believed.
    dip_tolerance: deg that its angle to the ground may differ by.
    recover_s: time after which what was refused all along is believed again, and level
    or heading begins anew from it; sooner where less agreed before. Longer than the
    longest turn or push.
    """

    gyro_noise: Annotated[float, Above(0)] = 0.05
    bias_walk: Annotated[float, Min(0)] = 0.002
    bias_std: Annotated[float, Min(0)] = 1.0
    force_std: Annotated[float, Above(0)] = 0.02
    field_std: Annotated[float, Above(0)] = 0.05
    gate_at: Annotated[float, Above(0)] = 0.9999
    field_tolerance: Annotated[float, Above(0)] = 0.1
    dip_tolerance: Annotated[float, Above(0)] = 10.0
    recover_s: Annotated[float, Above(0)] = 30.0

    def __post_init__(self) -> None:
        if self.gate_at > 1:
            raise ValueError(f"gate_at: expected a probability, got {self.gate_at:g}")

    @property
    def noise(self) -> AttitudeNoise:
        """The same as the filter wants it."""
        own = {k: v for k, v in plain(self).items() if k not in plain(SensorConfig())}
        return AttitudeNoise(gate=own.pop("gate_at"), **own)


@dataclass(frozen=True, kw_only=True)
class MahonyConfig(SensorConfig):
    """The sensor's arrays, and two gains.

    kp: of the error, 1/s.
    ki: of its integral, which becomes the bias, 1/s2.
    """

    kp: Annotated[float, Above(0)] = 0.5
    ki: Annotated[float, Min(0)] = 0.01


SensorConfigT = TypeVar("SensorConfigT", bound=SensorConfig)


class Pointing(Counting[SensorConfigT], ABC):
    """Arrays of gyroscope, accelerometer and, if there is one, magnetometer in.

    Gives `quaternion` (4), w first, that turns body into earth axes (magnetic north,
    west, up); `angles` (3) deg, roll, pitch and yaw; `std` (3) deg about body axes,
    NaN where the filter does not say; `bias` (3) deg/s; and `nis` (2), how surprising
    gravity and field were, NaN where not seen or not judged. Time goes by t0_ns.

    A sensor with a NaN is missing in that frame: turn rates are held, the others not
    looked at. So is an accelerometer or magnetometer that reads nothing on all axes.
    One beyond all measure (infinite, 1e4 rad/s, 1e6 g) is missing too, counted and
    flagged QUARANTINED. Until gravity was seen once, attitudes are those of no turn;
    `orientation` takes for gravity what is within 0.1 g, or twice force_std, of 1 g.
    DEGRADED: that, a second and longer without a look that fits, level or heading that
    began anew, or an attitude that was no number any more and begins from nothing.

    Counted are sensors missing and quarantined, gaps too long; how often acceleration
    was not gravity alone, the field not the Earth's alone; how often level and heading
    began anew from what had been refused, and how often all was lost.
    """

    rehearses: ClassVar[bool] = True
    counted: ClassVar[tuple[str, ...]] = (
        "missing",
        "quarantined",
        "gaps",
        "no_gravity",
        "no_field",
        "gravity_renewed",
        "field_renewed",
        "lost",
    )

    @abstractmethod
    def new_filter(self) -> Attitude:
        """The filter that does it."""

    def accept(self, motion: Signature) -> Signature:
        config = self.config
        rate = _scale(motion, config.gyroscope, RATES, "rad/s")
        force = _scale(motion, config.accelerometer, FORCES, "g")
        self._sensors = [
            (config.gyroscope, rate, RATE_SPAN),
            (config.accelerometer, force, FORCE_SPAN),
        ]
        if config.magnetometer:
            field = _scale(motion, config.magnetometer)
            self._sensors.append((config.magnetometer, field, FIELD_SPAN))
        arrays = (
            ArraySpec("quaternion", "f8", ("component",), (4,)),
            ArraySpec("angles", "f8", ("axis",), (3,), "deg"),
            ArraySpec("std", "f8", ("axis",), (3,), "deg"),
            ArraySpec("bias", "f8", ("axis",), (3,), "deg/s"),
            ArraySpec("nis", "f8", ("look",), (2,)),
        )
        return Signature(arrays, motion.rate_hz)

    def open(self, device: str) -> None:
        super().open(device)
        self._filter = self.new_filter()
        self._t0_ns = -1

    def process(self, motion: Frame) -> Frame:
        dt_s, flags = self._elapsed(motion.header.t0_ns)
        seen = []
        for name, scale, span in self._sensors:
            one, bad = self._look(motion.arrays[name], scale, span)
            seen.append(one)
            flags |= bad
        field = seen[2] if len(seen) > 2 else None
        self._filter.step(Motion(seen[0], seen[1], field), dt_s)
        return motion.with_arrays(self._arrays(), int(flags | self._told()))

    def _told(self) -> int:
        """Count what the filter says of its last step; the frame's flags."""
        found = self._filter
        for at, name in ((GRAVITY, "gravity"), (FIELD, "field")):
            self._counts[f"no_{name}"] += int(found.refused[at])
            self._counts[f"{name}_renewed"] += int(found.renewed[at])
        self._counts["lost"] += int(found.lost)
        sure = found.begun and not found.renewed.any() and not found.coasting
        return Flags.NONE if sure else Flags.DEGRADED

    def _elapsed(self, t0_ns: int) -> tuple[float, int]:
        dt_s, last = 0.0, self._t0_ns
        if last >= 0:
            dt_s = since_s(last, t0_ns, self.config.longest_gap_s)
        self._t0_ns = t0_ns
        if math.isfinite(dt_s):
            return dt_s, 0
        self._counts["gaps"] += 1
        self._filter.forget()
        return 0.0, Flags.GAP

    def _look(
        self, data: Array, scale: float, span: tuple[float, float]
    ) -> tuple[Array | None, int]:
        """One sensor (3,) in the filter's unit, None for one that is missing."""
        if data.shape != (3,):
            raise BadFrameError(f"expected three axes, got {data.shape}")
        seen = data.astype(np.float64) * scale
        least, most = span
        size = np.abs(seen).max()  # NaN if one is
        if np.nanmax(np.abs(seen), initial=0.0) > most:
            self._counts["quarantined"] += 1
            return None, Flags.QUARANTINED
        if not size >= least:
            self._counts["missing"] += 1
            return None, 0
        return seen, 0

    def _arrays(self) -> dict[str, Array]:
        found = self._filter
        return {
            "quaternion": np.array(found.q),
            "angles": np.array(angles_deg(found.q)),
            "std": np.degrees(found.std),
            "bias": np.degrees(found.bias),
            "nis": found.nis.copy(),
        }

    def _kept(self) -> dict[str, Array]:
        return {
            **{f"filter.{name}": one for name, one in self._filter.state.items()},
            "t0_ns": np.array(self._t0_ns, np.int64),
            **super()._kept(),
        }

    def _restore(self, state: dict[str, Array]) -> None:
        super()._restore(state)
        self._filter.state = part(state, "filter.")
        self._t0_ns = int(state["t0_ns"])


class Orientation(Pointing[OrientationConfig]):
    """Error-state extended Kalman filter of attitude and gyroscope bias.

    In and out as every orientation: `quaternion`, `angles`, `std`, `bias`, `nis`.
    Acceleration that is not gravity weighs less or is refused; so is a field whose
    length or dip is not the Earth's. [Markley, J. Guidance, Control, Dynamics 2003]
    """

    def new_filter(self) -> Attitude:
        return ErrorStateEkf(self.config.noise)


class Mahony(Pointing[MahonyConfig]):
    """Explicit complementary filter: two gains, no covariance, refuses nothing.

    In and out as every orientation. [Mahony, Hamel, Pflimlin, IEEE TAC 2008]
    """

    def new_filter(self) -> Attitude:
        return Complementary(self.config.kp, self.config.ki)


def _scale(
    motion: Signature,
    name: str,
    units: dict[str, float] | None = None,
    usual: str = "",
) -> float:
    """What an array is to be multiplied by. GraphError for one that will not do."""
    spec = motion.array(name)
    if spec.dtype not in ("f8", "f4") or spec.shape != (3,):
        raise GraphError(f"expected three axes, f8 or f4, got {spec}")
    if units is None:
        return 1.0
    if (spec.unit or usual) not in units:
        raise GraphError(f"expected unit {' or '.join(units)}, got {spec}")
    return units[spec.unit or usual]
