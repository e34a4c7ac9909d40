"""Positions on Earth as metres east and north of a place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from streamproc.errors import BadFrameError, GraphError
from streamproc.frame import Array, ArraySpec, Frame, Signature
from streamproc.nodes.counting import Counting
from streamproc.schema import Above, Max, Min

# WGS 84: semi-major axis, and eccentricity squared
EARTH_M, ECCENTRICITY2 = 6378137.0, 6.69437999014e-3
KNOT_MPS = 1852 / 3600
NO_KNOTS = 102.25  # AIS says 102.3 where it does not know the speed
STILL_KNOTS = 0.5  # a slower ship has no course, and needs none


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalMetresConfig:
    """Where zero is, and how far it reaches.

    latitude_deg: of the origin, WGS 84.
    longitude_deg: likewise.
    reach_m: a position further off, or on no map at all, becomes NaN, and is counted.
    course: array of course over ground (deg, from north by east; 360 and above: not
    known) and speed (knots), one row a position, as AIS and NMEA have them. With it, a
    row is east, north, and the velocity along both.
    """

    latitude_deg: Annotated[float, Min(-90), Max(90)]
    longitude_deg: Annotated[float, Min(-180), Max(180)]
    reach_m: Annotated[float, Above(0)] = 100_000.0
    course: str = ""


class LocalMetres(Counting[LocalMetresConfig]):
    """Latitude and longitude in deg, (2) or (row, 2), in; east and north in m out.

    The plane touches the ellipsoid at the origin: 30 km off, distances are short by
    some 10^-5. With `course`, 4 columns: m, m, m/s, m/s; a ship that moves but says no
    course has NaN for its velocity. Ids in meta go along. Counted are positions too far
    off, and ships that move without a course.
    """

    rehearses: ClassVar[bool] = True
    counted: ClassVar[tuple[str, ...]] = ("beyond", "no_course")

    def accept(self, position: Signature) -> Signature:
        place = _place(position)
        spec = position.array(place)
        if spec.dtype not in ("f8", "f4") or spec.shape[-1:] != (2,):
            raise GraphError(f"expected latitude and longitude (..., 2), got {spec}")
        if len(spec.shape) > 2:
            raise GraphError(f"expected sizes (2) or (row, 2), got {spec}")
        if spec.unit not in ("", "deg"):
            raise GraphError(f"expected unit deg, got {spec}")
        course = self.config.course
        if course and position.array(course).shape != spec.shape:
            raise GraphError(
                f"expected as many as {spec}, got {position.array(course)}"
            )
        rows = spec.shape[:-1] or (1,)
        lead = spec.dims[:-1] or ("row",)
        columns, unit = (4, "") if course else (2, "m")
        made = ArraySpec("data", "f8", (*lead, "axis"), (*rows, columns), unit)
        self._array = place
        return Signature((made,), position.rate_hz)

    def open(self, device: str) -> None:
        super().open(device)
        latitude, longitude = self.config.latitude_deg, self.config.longitude_deg
        here = np.array([[latitude, longitude]])
        self._origin = earth_centred(here)[0]
        self._axes = east_north(latitude, longitude)

    def process(self, position: Frame) -> Frame:
        told = position.arrays[self._array]
        if told.shape[-1:] != (2,) or told.ndim > 2:
            raise BadFrameError(f"expected positions (row, 2), got {told.shape}")
        made = self._metres(told.reshape(-1, 2).astype(np.float64))
        if self.config.course:
            course = position.arrays[self.config.course]
            if course.shape != told.shape:
                raise BadFrameError(
                    f"{self.config.course}: expected {told.shape}, got {course.shape}"
                )
            made = np.hstack((made, self._velocity(course.reshape(-1, 2))))
        return position.with_data(made)

    def _metres(self, places: Array) -> Array:
        """East and north (k, 2) m; NaN where not known, or not to be believed."""
        known = np.isfinite(places).all(1)
        on_map = np.asarray(known & (np.abs(places) <= (90, 180)).all(1))
        apart = earth_centred(np.where(on_map[:, None], places, 0.0)) - self._origin
        near = np.asarray(
            on_map & (np.linalg.norm(apart, axis=1) <= self.config.reach_m)
        )
        self._counts["beyond"] += int(np.count_nonzero(known & ~near))
        return np.where(near[:, None], apart @ self._axes.T, np.nan)

    def _velocity(self, told: Array) -> Array:
        """East and north (k, 2) m/s of course and speed."""
        course, knots = told.T.astype(np.float64)
        # no such course: 360 and more, NaN, or -1; speed: 102.3 knots (ITU-R M.1371)
        aimless = ~((course >= 0) & (course < 360))
        knots = np.where((knots >= 0) & (knots < NO_KNOTS), knots, np.nan)
        lost = np.isnan(knots) | (aimless & ~(knots <= STILL_KNOTS))
        self._counts["no_course"] += int(np.count_nonzero(lost))
        speed = np.where(aimless, 0.0, knots) * KNOT_MPS
        angle = np.radians(np.where(aimless, 0.0, course))
        made = np.stack((speed * np.sin(angle), speed * np.cos(angle)), 1)
        made[lost] = np.nan
        return np.asarray(made)


def _place(signature: Signature) -> str:
    """The array of positions: `data`, else `position`."""
    names = {spec.name for spec in signature.arrays}
    return "data" if "data" in names else "position"


def earth_centred(places: Array) -> Array:
    """Earth-centred x, y, z (k, 3) m of latitude and longitude (k, 2) deg, height 0."""
    latitude, longitude = np.radians(places).T
    across = EARTH_M / np.sqrt(1 - ECCENTRICITY2 * np.sin(latitude) ** 2)
    return np.stack(
        (
            across * np.cos(latitude) * np.cos(longitude),
            across * np.cos(latitude) * np.sin(longitude),
            across * (1 - ECCENTRICITY2) * np.sin(latitude),
        ),
        axis=1,
    )


def east_north(latitude_deg: float, longitude_deg: float) -> Array:
    """Unit vectors (2, 3) that point east and north there, earth-centred."""
    latitude, longitude = np.radians((latitude_deg, longitude_deg))
    east = -np.sin(longitude), np.cos(longitude), 0.0
    slant = np.sin(latitude)
    north = (
        -slant * np.cos(longitude),
        -slant * np.sin(longitude),
        np.cos(latitude),
    )
    return np.array((east, north))
