"""Vessels: laminar flow, forks without jumps, and a map that says where they are."""

from __future__ import annotations

import numpy as np
import pytest

from streamproc.errors import ConfigError
from streamproc.frame import Array
from streamproc.sims.growth import Plan, grow
from streamproc.sims.ultrasound import POSITION, Ultrasound, UltrasoundConfig
from streamproc.sims.vessels import STEP_PX, Tube, Vessels

SHAPE = (40, 48)
COLUMN = {name: n for n, name in enumerate(POSITION)}
PLAN = Plan(count=9, shape=SHAPE, radius_px=(0.6, 2.0), speed_px=(0.1, 0.8))


def config(**changes: object) -> UltrasoundConfig:
    base = {
        "depth_px": SHAPE[0],
        "width_px": SHAPE[1],
        "vessels": 9,
        "bubbles_least": 30,
        "bubbles_most": 40,
        "motion_wavelengths": (0.0, 0.0),
    }
    return UltrasoundConfig(**{**base, **changes})  # type: ignore[arg-type]


def positions(scene: Ultrasound, frames: int) -> Array:
    return np.array([scene.next()["positions"] for _ in range(frames)])


def straight(*, radius_px: float = 2.0, speed_px: float = 0.5) -> Tube:
    """Along x at depth 10, 30 px long."""
    x = np.arange(0, 30 + STEP_PX / 2, STEP_PX)
    return Tube(np.full(len(x), 10.0), x, np.zeros(len(x)), radius_px, speed_px)


def forked(speed_px: float) -> Vessels:
    """A branch of radius 1 leaves the trunk at x = 15 downwards, wall to wall."""
    trunk = straight(speed_px=speed_px)
    along = np.arange(0, 12, STEP_PX)
    z, x = 11 + along * np.sin(0.8), 15 + along * np.cos(0.8)
    heading = np.full(len(along), 0.8)
    branch = Tube(z, x, heading, 1.0, speed_px, parent=0, joint_px=15.0, side=1)
    return Vessels([trunk, branch])


def sent(vessels: Vessels, tube: int, arc: float, offset: float, frames: int) -> Array:
    """z and x of one bubble in every frame."""
    at = np.array([tube]), np.array([arc]), np.array([offset])
    path = []
    for _ in range(frames):
        path.append(np.concatenate(vessels.where(*at)[:2]))
        at = vessels.follow(*at)  # type: ignore[assignment]
    return np.array(path)


@pytest.mark.parametrize("offset", [-1.5, 0.0, 1.0])
def test_flow_is_a_parabola_across_a_tube(offset: float) -> None:
    path = sent(Vessels([straight()]), 0, 1.0, offset, 20)
    np.testing.assert_allclose(path[:, 0], 10 + offset, atol=1e-12)
    speed = 0.5 * (1 - (offset / 2) ** 2)
    np.testing.assert_allclose(np.diff(path[:, 1]), speed, atol=1e-9)


def test_at_a_fork_the_branch_drains_its_own_side() -> None:
    vessels = forked(0.5)
    into = sent(vessels, 0, 13.0, 1.2, 40)
    past = sent(vessels, 0, 13.0, -1.2, 40)
    assert into[-1, 0] > 13 and abs(past[-1, 0] - (10 - 1.2)) < 1e-9
    # one frame's way, and not a jump from one axis to the other
    assert np.hypot(*np.diff(into, axis=0).T).max() < 0.6


def test_in_a_vein_the_branch_joins_its_trunk() -> None:
    path = sent(forked(-0.5), 1, 6.0, 0.2, 40)
    assert path[-1, 1] < 12 and abs(path[-1, 0] - (10 + 1 + 0.2)) < 1e-9
    assert np.hypot(*np.diff(path, axis=0).T).max() < 0.6


def test_a_swelling_wall_pushes_less_the_farther_away() -> None:
    z = np.array([10.0, 11.0, 12.0, 14.0, 10 - 8.0])
    dz, dx = Vessels([straight()]).swell(z, np.full(5, 15.0))
    # inside evenly, at the wall fully, outside as one over the distance
    np.testing.assert_allclose(dz, [0, 0.5, 1, 0.5, -0.25], atol=0.02)
    assert np.abs(dx).max() < 0.11  # samples are 0.4 px apart, walls 2 px off


@pytest.mark.parametrize("seed", range(6))
def test_trees_are_smooth_and_branches_start_in_their_parents(seed: int) -> None:
    vessels = grow(np.random.default_rng(seed), PLAN)
    assert len(vessels.tubes) == 9
    for tube in vessels.tubes:
        steps = np.hypot(np.diff(tube.z), np.diff(tube.x))
        np.testing.assert_allclose(steps, STEP_PX, rtol=1e-3)
        assert np.abs(np.diff(tube.heading)).max() < 0.3 * STEP_PX  # bends above 3 px
        assert 0.6 <= tube.radius_px <= 2 and 0.1 <= abs(tube.speed_px) <= 0.8
        if tube.parent >= 0:
            parent = vessels.tubes[tube.parent]
            far = np.hypot(parent.z - tube.z[0], parent.x - tube.x[0]).min()
            assert far < parent.radius_px - tube.radius_px + 2 * STEP_PX
            assert np.sign(tube.speed_px) == np.sign(parent.speed_px)


@pytest.mark.parametrize("seed", range(3))
def test_bubbles_are_found_in_the_lumen_and_with_the_flow(seed: int) -> None:
    scene = Ultrasound(config(seed=seed))
    seen = positions(scene, 120)
    scale = 8
    truth = scene.vessel_map(scale)
    z, x = seen[..., COLUMN["z_px"]], seen[..., COLUMN["x_px"]]
    inside = (z > 0) & (z < SHAPE[0] - 1) & (x > 0) & (x < SHAPE[1] - 1)
    assert inside.sum() > 1500
    row = ((z[inside] + 0.5) * scale).astype(int)
    column = ((x[inside] + 0.5) * scale).astype(int)
    assert truth.inside[row, column].mean() > 0.99  # some where a tube ends, or bends
    vz = seen[..., COLUMN["vz_px"]][inside]
    vx = seen[..., COLUMN["vx_px"]][inside]
    heading = truth.heading[row, column]
    along = (vz * np.sin(heading) + vx * np.cos(heading)) / np.hypot(vz, vx)
    assert np.nanmedian(along) > 0.99
    assert (np.hypot(vz, vx) <= 0.8 * 1.07).all()


def test_the_map_is_of_the_tubes_on_the_grid_it_says() -> None:
    found = Vessels([straight(radius_px=2.0, speed_px=-0.5)]).map((20, 24), 8)
    assert found.inside.shape == (160, 192)
    # centre at z = 10: fine rows (10 + 0.5) * 8 +- 16, that is 68 to 99
    assert list(np.flatnonzero(found.inside[:, 100])) == list(range(68, 100))
    assert set(np.flatnonzero(found.centre.any(1))) == {84}
    assert found.centre[84, 4:].all()
    fastest = found.speed_px[:, 100].max()
    assert abs(fastest - 0.5) < 0.002
    heading = found.heading[84, 100]
    assert np.cos(heading) == pytest.approx(-1) and np.isnan(found.heading[0, 0])


def test_a_phantom_of_resolution_has_the_gap_it_was_asked_for() -> None:
    scene = Ultrasound(config(vessels=2, vessel_gap_px=3.0))
    scene.next()
    plan = Plan(count=2, shape=SHAPE, radius_px=(0.6, 2), speed_px=(0.1, 0.8), gap_px=3)
    one, other = grow(np.random.default_rng(1), plan).tubes
    gap = np.hypot(one.z[:, None] - other.z, one.x[:, None] - other.x).min(1)
    np.testing.assert_allclose(gap[99:-99], 3.0, atol=1e-6)  # their ends are cut
    assert one.speed_px == -other.speed_px
    assert 0.02 < scene.vessel_map(4).inside.mean() < 0.2


def test_a_row_beyond_the_image_is_refused() -> None:
    with pytest.raises(ConfigError, match="vessel_gap_px: expected some of 2"):
        config(vessels=2, vessel_gap_px=300.0)
    assert Ultrasound(config(vessels=3, vessel_gap_px=300.0)).next(), "one is seen"


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (3, 5)])
def test_vessels_fit_any_size(shape: tuple[int, int]) -> None:
    for seed in range(4):
        scene = Ultrasound(
            config(seed=seed, depth_px=shape[0], width_px=shape[1], diffuse_db=-10.0)
        )
        ports = [scene.next() for _ in range(9)]
        assert all(np.isfinite(p["image"]).all() for p in ports)
        assert scene.vessel_map(4).inside.shape == (4 * shape[0], 4 * shape[1])


def test_names_follow_a_bubble_and_no_other() -> None:
    seen = positions(Ultrasound(config(life_frames=20.0)), 200)
    place: dict[float, Array] = {}
    lengths: dict[float, int] = {}
    for frame, bubbles in enumerate(seen):
        here = bubbles[np.isfinite(bubbles[:, 0])]
        names = here[:, COLUMN["name"]]
        assert len(set(names)) == len(names)
        for name, row in zip(names, here, strict=True):
            if name in place:
                assert lengths[name] == frame - 1  # gone for good, once gone
                assert np.hypot(*(row[:2] - place[name])) < 1.0
            place[name], lengths[name] = row[:2], frame
    assert len(place) > 150


def test_free_bubbles_have_positions_but_no_map() -> None:
    scene = Ultrasound(config(vessels=0))
    assert np.isfinite(positions(scene, 1)).any()
    with pytest.raises(ConfigError, match="vessels"):
        scene.vessel_map()


@pytest.mark.parametrize("motion", [0.0, 0.4])
def test_a_bubble_is_drawn_where_its_position_says(motion: float) -> None:
    quiet = {"noise_db": -120.0, "tissue_db": -120.0}
    loud = {"gain_db": 6.0, "tgc_db": 6.0, "motion_wavelengths": (motion, motion)}
    scene = Ultrasound(config(bubbles_least=1, bubbles_most=1, **quiet, **loud))
    hits = 0
    for _ in range(60):
        ports = scene.next()
        z, x, amplitude = ports["positions"][0, :3]
        if not (4 < z < SHAPE[0] - 5 and 6 < x < SHAPE[1] - 7):
            continue
        size = np.abs(ports["truth"])
        rows, columns = np.arange(SHAPE[0]), np.arange(SHAPE[1])
        # gain grows with depth by 0.15 dB a px, which moves the centre by 0.015 px
        assert abs((size.sum(1) @ rows) / size.sum() - z) < 0.03
        assert abs((size.sum(0) @ columns) / size.sum() - x) < 0.01
        assert size.max() <= amplitude * 1.03
        peak = amplitude * np.exp(-(0.5**2 / 2 / 0.9**2) - 0.5**2 / 2 / 1.6**2)
        assert size.max() > 0.97 * peak
        hits += 1
    assert hits > 10


def test_bubbles_are_carried_by_the_tissue() -> None:
    still = {"speed_px": (0.0, 0.0), "vessels": 0, "life_frames": 1e9}
    moving = config(motion_wavelengths=(0.5, 0.5), strain=0.0, **still)
    z = positions(Ultrasound(moving), 120)[..., 0]
    z = z[:, np.isfinite(z).all(0)]
    # two sinusoids of 1 px each, the same for all without strain
    assert 0.7 < (z - z.mean(0)).std() < 1.3
    np.testing.assert_allclose(z - z[:1], (z - z[:1])[:, :1] + 0 * z, atol=1e-9)


def test_walls_that_move_ask_for_vessels() -> None:
    with pytest.raises(ConfigError, match="pulse_wavelengths"):
        UltrasoundConfig(pulse_wavelengths=0.1)
