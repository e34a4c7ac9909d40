"""Latitude and longitude to metres: against a sphere of known arcs, and what is off."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamproc.errors import BadFrameError, GraphError
from streamproc.frame import Array, ArraySpec, Frame, Header, Signature
from streamproc.nodes.local_metres import LocalMetres, LocalMetresConfig
from streamproc.schema import build
from streamproc.testing import check_node, frames_of, run_node

HERE = {"latitude_deg": 50.78, "longitude_deg": -1.11}
LIKE = Signature.of("f8", {"row": -1, "axis": 2}, unit="deg")


def node(**config: Any) -> LocalMetres:
    return LocalMetres(build(LocalMetresConfig, {**HERE, **config}))


def metres(places: list[list[float]], **config: Any) -> Array:
    frames = frames_of([np.array(places)])
    made = run_node(node(**config), {"position": frames}, signatures={"position": LIKE})
    return made["out"][0].data


def test_a_minute_of_latitude_is_a_sea_mile() -> None:
    # the WGS 84 arc of one minute at 50.8 deg: pi / 10800 * M,
    # M = a (1 - e2) / (1 - e2 sin2)^1.5 = 6,373,829 m
    lat, lon = HERE["latitude_deg"], HERE["longitude_deg"]
    made = metres([[lat, lon], [lat + 1 / 60, lon], [lat, lon + 1 / 60]])
    np.testing.assert_allclose(made[0], 0, atol=1e-8)
    np.testing.assert_allclose(made[1], [0, 1854.08], atol=0.05)
    # and of longitude: pi / 10800 * N cos(latitude), N = 6,390,975 m
    np.testing.assert_allclose(made[2, 0], 1175.5, atol=0.3)
    assert abs(made[2, 1]) < 0.3


def test_across_the_date_line_is_near() -> None:
    made = metres([[0.0, -179.99]], latitude_deg=0.0, longitude_deg=179.99)
    np.testing.assert_allclose(made, [[2226.4, 0]], atol=0.1)


def test_what_is_too_far_or_on_no_map_is_nan_and_counted() -> None:
    one = node(reach_m=10_000)
    places = np.array([[50.79, -1.11], [51.5, -1.11], [95.0, 0.0], [np.nan, 1.0]])
    made = run_node(
        one, {"position": frames_of([places])}, signatures={"position": LIKE}
    )["out"][0].data
    assert np.isfinite(made).all(1).tolist() == [True, False, False, False]
    assert one.report()["beyond"] == 2


def test_course_and_speed_become_a_velocity() -> None:
    specs = (
        ArraySpec("position", "f8", ("column",), (2,), "deg"),
        ArraySpec("course", "f8", ("column",), (2,)),
    )
    told = [(90.0, 10.0), (180.0, 10.0), (360.0, 0.2), (360.0, 10.0), (np.nan, 0.0)]
    told += [(90.0, 102.3), (-1.0, 10.0), (90.0, np.inf)]  # unknown, as AIS says it
    frames = [
        Frame(
            Header(t0_ns=n, meta={"MMSI": "7"}),
            {"position": np.array(list(HERE.values())), "course": np.array(one)},
        )
        for n, one in enumerate(told)
    ]
    one = node(course="course")
    like = {"position": Signature(specs)}
    assert one.accept(**like).data.shape == (1, 4)
    out = run_node(one, {"position": frames}, signatures=like)["out"]
    speed = 10 * 1852 / 3600
    np.testing.assert_allclose(
        np.concatenate([frame.data[:, 2:] for frame in out]),
        [[speed, 0], [0, -speed], [0, 0], [np.nan] * 2, [0, 0], *[[np.nan] * 2] * 3],
        atol=1e-9,
    )
    assert out[0].header.meta == {"MMSI": "7"}
    assert one.report() == {"beyond": 0, "no_course": 4}
    check_node(lambda: node(course="course"), {"position": frames}, signatures=like)


@pytest.mark.parametrize(
    ("like", "part"),
    [
        (Signature.of("f8", {"axis": 3}), r"latitude and longitude \(..., 2\)"),
        (Signature.of("f8", {"axis": 2}, unit="rad"), "expected unit deg"),
        (Signature.of("i4", {"axis": 2}), "latitude and longitude"),
        (Signature.of("f8", {"a": 1, "b": 1, "axis": 2}), "expected sizes"),
    ],
)
def test_what_is_no_position_is_refused(like: Signature, part: str) -> None:
    with pytest.raises(GraphError, match=part):
        node().accept(like)


def test_as_many_courses_as_positions_are_needed() -> None:
    specs = (
        ArraySpec("position", "f8", ("row", "column"), (-1, 2), "deg"),
        ArraySpec("course", "f8", ("row", "column"), (-1, 2)),
    )
    one = node(course="course")
    one.accept(Signature(specs))
    one.open("cpu")
    arrays = {"position": np.zeros((2, 2)), "course": np.zeros((3, 2))}
    with pytest.raises(BadFrameError, match=r"course: expected \(2, 2\), got \(3, 2\)"):
        one.process(Frame(Header(), arrays))
