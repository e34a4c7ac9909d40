"""Vessel map node, and the whole way there: raw images to vessels."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from streamproc import open_node
from streamproc.errors import BadFrameError, ConfigError, GraphError
from streamproc.evaluation.superres import map_figures
from streamproc.frame import Array, ArraySpec, Frame, Signature
from streamproc.nodes.vessel_map import VesselMap, VesselMapConfig
from streamproc.schema import SchemaError, build
from streamproc.sims.ultrasound import Ultrasound, UltrasoundConfig
from streamproc.testing import check_node, run_node

SMALL = {"depth_px": 8, "width_px": 10, "scale": 4, "every": 15, "lag": 6, "least": 4}
MOTION = {"acceleration_psd": 0.003, "r2": 0.02, "velocity_std": 0.5}
MODEL = {"model": "constant_velocity", "params": {**MOTION, "position_std": 100.0}}


def node(**config: Any) -> VesselMap:
    return VesselMap(build(VesselMapConfig, {**SMALL, **MODEL, **config}))


def tracks(frames: int = 40, unit: Array | float = 1.0) -> list[Frame]:
    """One target to the right in row 3, from frame 5 on; another comes and goes."""
    made = []
    for n in range(frames):
        x, P = np.full((4, 4), np.nan), np.full((4, 4, 4), np.nan)
        name = np.full(4, -1)
        if n >= 5:
            wobble = 0.01 * (-1) ** n  # else it would look as if it only coasted
            x[0] = [3.1 + wobble, 0.2 * (n - 5), 0, 0.2]
            P[0], name[0] = 0.01 * np.eye(4), 0
        if n % 10 < 2:
            x[2], P[2], name[2] = [1, 1, 0, 0], np.eye(4), 1 + n // 10
        x, P = x * np.tile(unit * np.ones(2), 2), P * np.mean(unit) ** 2
        arrays = {"x": x, "P": P, "id": name, "age": np.zeros(4, np.int64)}
        made.append(Frame.of(np.zeros(1), t0_ns=n * 1000).with_arrays(arrays))
    return made


LIKE = open_node("tracks", **MODEL, most_tracks=4).node.accept(
    Signature.of("f8", {"detection": -1, "axis": 2}, rate_hz=150)
)


def made(frames: list[Frame], **config: Any) -> list[Frame]:
    given = {"tracks": frames}
    return run_node(node(**config), given, signatures={"tracks": LIKE})["out"]


def test_it_keeps_the_contract() -> None:
    check_node(node, {"tracks": tracks()}, signatures={"tracks": LIKE}, frames=40)


def test_a_long_path_is_drawn_and_a_short_one_is_not() -> None:
    out = made(tracks())
    assert [f.header.t0_ns for f in out] == [14_000, 29_000, 39_000]
    density = out[-1].data
    assert density.shape == (32, 40)
    rows, columns = np.nonzero(density)
    assert set(rows) == {14}  # floor((3.1 + 0.5) * 4)
    assert columns.min() <= 3 and columns.max() == 29  # floor((6.8 + 0.5) * 4)
    assert density.max() == 1
    velocity = out[-1].arrays["velocity"]
    assert np.isnan(velocity[density == 0]).all()
    np.testing.assert_allclose(velocity[density > 0][:, 1], 0.2, atol=0.02)


def test_a_place_waits_for_those_after_it() -> None:
    out = made(tracks())
    # frame 14 knows the path from frame 5 to 14, and draws it up to frame 8
    assert np.nonzero(out[0].data)[1].max() == int((0.6 + 0.5) * 4)


def test_the_end_of_a_path_is_drawn_where_frames_are_a_multiple_too() -> None:
    *_, before, last = made(tracks(45))
    assert before.header.t0_ns == last.header.t0_ns == 44_000
    # of the target at 7.8 px in the last frame, six of them later
    assert np.nonzero(before.data)[1].max() == int((6.6 + 0.5) * 4)
    assert np.nonzero(last.data)[1].max() == int((7.8 + 0.5) * 4)
    assert len(made(tracks(45)[:5] * 3)) == 1  # nothing left: no map more


def test_places_in_metres_are_the_same_map_and_speeds_are_in_metres() -> None:
    pixel = np.array([2e-4, 1e-4])
    here = {"params": {**MOTION, "step_s": 1e-2}}
    (*_, px), (*_, m) = (
        made(tracks(), **here),
        made(tracks(unit=pixel), **here, pixel_m=pixel.tolist()),
    )
    assert (np.nonzero(px.data)[1].max() - np.nonzero(m.data)[1].max()) ** 2 <= 1
    speed = m.arrays["velocity"][m.data > 0][:, 1]
    np.testing.assert_allclose(np.median(speed), 0.2 * 1e-4 / 1e-2, rtol=0.1)
    signature = node(pixel_m=pixel.tolist()).accept(LIKE)
    assert signature.array("velocity").unit == "m/s" and signature.rate_hz == 10


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match="at most lag \\+ 1 = 3, got 4"):
        node(lag=2)
    with pytest.raises(ConfigError, match="at most 67108864 pixels, got 262144000000"):
        node(depth_px=16000, width_px=16000, scale=32)
    for key, most in {"scale": 64, "depth_px": 16384, "lag": 1000}.items():
        with pytest.raises(SchemaError, match=key):
            node(**{key: most + 1})
    with pytest.raises(ConfigError, match="linear"):
        node(model="range_bearing", params={})
    with pytest.raises(GraphError, match="expected tracks of 4"):
        spec = ArraySpec("x", "f8", ("track", "component"), (4, 6))
        node().accept(Signature((spec,)))
    one = node()
    one.accept(LIKE)
    one.open("cpu")
    short = tracks(1)[0]
    arrays = {name: array[:2].copy() for name, array in short.arrays.items()}
    with pytest.raises(BadFrameError, match="expected 4 tracks"):
        one.process(short.with_arrays(arrays))


@cache
def phantom(frames: int = 700) -> tuple[Any, list[Frame]]:
    """Truth, and what the nodes make of images of a few vessels."""
    config = UltrasoundConfig(seed=3, vessels=4, bubbles_least=4, bubbles_most=8)
    scene = Ultrasound(config)
    size = {"depth_px": 32, "width_px": 32, "every": frames}
    with (
        open_node("svd_filter") as clear,
        open_node("localise", threshold=6.0) as find,
        open_node(
            "tracks", **MODEL, filter="kf", gate=0.99, confirm=4, misses=3
        ) as follow,
        open_node("vessel_map", **MODEL, **size) as draw,
    ):
        out = []
        for n in range(frames):
            image = Frame.of(scene.next()["image"].copy(), t0_ns=n * 1000)
            drawn = draw(follow(find(clear(image)[0])))
            out += [drawn] if drawn else []
    return scene.vessel_map(8), out


def test_from_raw_images_to_vessels() -> None:
    true, (drawn,) = phantom()
    got = map_figures(drawn.data, drawn.arrays["velocity"], true, wide=1)
    assert got["precision"] > 0.9  # drawn where vessels are
    assert got["recall"] > 0.5  # of the axes, after 700 frames
    assert got["angle_deg"] < 15 and got["speed_error"] < 0.25
