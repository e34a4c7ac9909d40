"""The node corona: what every clutter filter owes, strides, budgets and its guard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamproc.artifact import write_artifact
from streamproc.card import MemoryTable
from streamproc.clutter.corona_live import followed
from streamproc.clutter.incremental import IncrementalStream
from streamproc.clutter.rank import RankRule
from streamproc.clutter.svd import svd
from streamproc.embedding import open_node
from streamproc.errors import ArtifactError, ConfigError, PlacementError
from streamproc.frame import Array, Flags, Frame, Signature
from streamproc.mount import Mount
from streamproc.node import output_signatures
from streamproc.nodes.corona import Corona, CoronaConfig
from streamproc.nodes.svd_filter import SvdFilter, SvdFilterConfig
from streamproc.schema import SchemaError, build
from streamproc.sims.ultrasound import Ultrasound, UltrasoundConfig
from streamproc.testing import check_node, frames_of, run_node
from streamproc_kernels import devices

from .clutter_cases import EVERY, bubbles, filtered, flagged, images, opened

TINY = str(Path(__file__).parents[1] / "artifacts" / "tiny-corona")
WINDOW, RANK = 8, 2
MEMORY = MemoryTable(
    rank=5, forget=0.95, threshold=1.2, smooth_z_px=0.6, smooth_x_px=0.9, tile_px=16
)

CONFIGS: dict[str, dict[str, Any]] = {
    "followed": {},
    "followed tiles": {"tile_px": 8, "overlap_px": 2},
    "window": {"tissue": "window"},
    "window tiles": {"tissue": "window", "tile_px": 8, "overlap_px": 2},
}


BOTH = pytest.mark.parametrize("tissue", ["followed", "window"])


def corona(**config: Any) -> Corona:
    return Corona(CoronaConfig(model=TINY, **config))


def windowed(**config: Any) -> Corona:
    return corona(tissue="window", **config)


def scene(frames: int, seed: int = 0, **config: Any) -> dict[str, Array]:
    """(frame, z, x) by port."""
    made = Ultrasound(UltrasoundConfig(seed=seed, split="val", **config))
    rows = [made.next() for _ in range(frames)]
    return {port: np.array([row[port] for row in rows]) for port in rows[0]}


def nmse_db(estimate: Array, truth: Array) -> float:
    error = (np.abs(estimate - truth) ** 2).sum()
    return float(10 * np.log10(error / (np.abs(truth) ** 2).sum()))


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("check", EVERY)
def test_corona_owes_what_every_filter_does(check, name) -> None:  # type: ignore[no-untyped-def]
    check(lambda: corona(**CONFIGS[name]))


@BOTH
def test_bubbles_are_found_better_than_by_an_svd(tissue: str) -> None:
    found, svds, truth = [], [], []
    config = SvdFilterConfig(window=WINDOW, rank=RANK)
    late = slice(20, None)
    for seed in range(3):
        made = scene(60, seed)
        mine = bubbles(lambda: corona(guard=False, tissue=tissue), made["image"])
        found.append(mine[late])
        svds.append(bubbles(lambda: SvdFilter(config), made["image"])[late])
        truth.append(made["truth"][late])
    there = np.array(truth)
    assert nmse_db(np.array(found), there) < nmse_db(np.array(svds), there) - 1


def test_followed_tissue_is_better_known_than_that_of_a_window() -> None:
    of = {"followed": 0.0, "window": 0.0}
    for seed in range(3):
        made = scene(80, seed)
        for tissue in of:
            one = bubbles(lambda: corona(guard=False, tissue=tissue), made["image"])  # noqa: B023
            of[tissue] += nmse_db(one[30:], made["truth"][30:]) / 3
    assert of["followed"] < of["window"] - 1


@pytest.mark.parametrize("stride", [2, 3, 8])
@pytest.mark.parametrize("frames", [24, 31])
def test_a_stride_delays_and_keeps_every_frame(stride: int, frames: int) -> None:
    given = images(frames)
    check_node(
        lambda: windowed(stride=stride), {"image": frames_of(given)}, frames=frames
    )
    node = opened(lambda: windowed(stride=stride, guard=False))
    made = [node.process(frame) for frame in frames_of(given)]
    assert [one is None for one in made] == [n < stride - 1 for n in range(frames)]
    rest = list(node.finish())
    assert len(rest) == stride - 1
    out = [one for one in [*made, *rest] if one is not None]
    for n, one in enumerate(out):
        assert one.bubbles.header.t0_ns == n * 1_000_000
        whole = one.bubbles.data + one.tissue.data + one.residual.data
        np.testing.assert_allclose(whole, given[n], atol=1e-5)
    full = [bool(one.bubbles.header.flags & Flags.DEGRADED) for one in out]
    # a frame is whole once one as late as the last of its stride fills the window
    first = (WINDOW - 1) // stride * stride
    assert full == [n < first for n in range(frames)]


def test_images_of_zeros_wait_for_their_turn() -> None:
    given = images(20)
    given[4] = given[9] = given[10] = given[11] = 0
    out = filtered(lambda: windowed(stride=3), given)
    assert [frame.header.t0_ns for frame in out] == [n * 1_000_000 for n in range(20)]
    assert not any(out[n].data.any() for n in (4, 9, 10, 11))
    assert all(out[n].data.any() for n in (3, 5, 8, 12))


def test_what_waits_survives_a_crash_while_it_is_given_out() -> None:
    frames = frames_of(images(22))
    spoilt = np.array(frames[20].data)
    spoilt[3, 4] = np.nan
    frames[20] = Frame.of(spoilt, t0_ns=20_000_000)
    head_21 = frames[21].header._replace(meta={"probe": "L11", "depth": [1, 2]})
    frames[21] = Frame(head_21, frames[21].arrays)
    signatures = {"image": Signature.of("c8", {"z": 12, "x": 14})}

    def mounted() -> Mount:
        node = windowed(stride=6)
        mount = Mount("node", node, output_signatures(node, signatures))
        node.open("cpu")
        return mount

    first = mounted()
    for frame in frames:
        first((frame,))
    undisturbed = first.finish()
    head = [next(undisturbed) for _ in range(2)]
    state = first.snapshot()
    tail = list(undisturbed)
    second = mounted()
    second.restore(state)
    again = list(second.finish())
    assert len(head) + len(tail) == 5 and len(again) == len(tail)
    for one, other in zip(tail, again, strict=True):
        for a, b in zip(one, other, strict=True):
            assert a is not None and b is not None
            assert a.header == b.header
            np.testing.assert_array_equal(a.data, b.data)
    assert [one[0].header.meta for one in again if one[0] is not None][-1] == {
        "probe": "L11",
        "depth": [1, 2],
    }
    flags = [one[0].header.flags for one in again if one[0] is not None]
    assert [bool(flag & Flags.QUARANTINED) for flag in flags] == [False, True, False]


@BOTH
def test_a_crash_forgets_neither_lines_nor_falls(tissue: str) -> None:
    def make() -> Corona:
        return corona(tissue=tissue)

    given = scene(60, diffuse_db=0.0)["image"]
    given[38:42, :, 7] = 0  # unsettled, and the guard fallen, where it crashes
    frames = frames_of(given)
    check_node(make, {"image": frames}, frames=60)
    node = make()
    run_node(node, {"image": frames[:44]})
    assert node.report()["falls"] == 1
    assert not bubbles(make, given)[44, :, 7].any()


@pytest.mark.parametrize(
    ("tissue", "stride"), [("followed", 1), ("window", 1), ("window", 4)]
)
def test_a_line_that_dies_is_no_bubble(tissue: str, stride: int) -> None:
    given = scene(75)["image"]
    spoilt = given.copy()
    spoilt[30:45, :, 7] = 0

    def make() -> Corona:
        return corona(guard=False, tissue=tissue, stride=stride)

    whole, out = bubbles(make, given), filtered(make, spoilt)
    made = np.array([frame.data for frame in out])
    # with all that is estimated at once
    first, last = 30 // stride * stride, (44 + WINDOW - 1) // stride * stride + stride
    hidden = [first <= n < last for n in range(75)]
    assert flagged(out, Flags.DEGRADED)[25:] == hidden[25:]
    assert not made[first:last, :, 7].any() and made[last:, :, 7].any()
    # what is beside it is no louder than bubbles were
    most = np.abs(whole).max()
    assert np.abs(made).max() < 1.2 * most
    # and it is forgotten
    assert np.abs(made[60:] - whole[60:]).max() < 0.2 * most


def test_pixels_without_a_value_do_not_show_around_them() -> None:
    given = scene(60)["image"]
    spoilt = given.copy()
    spoilt[40:50, 8:12, 8:12] = np.nan
    whole, made = (bubbles(lambda: corona(guard=False), one) for one in (given, spoilt))
    assert not made[40:50, 8:12, 8:12].any()
    off = np.abs(made - whole)
    off[40:50, 8:12, 8:12] = 0
    assert off.max() < 0.35 * np.abs(whole).max()


def test_a_line_that_comes_alive_begins_anew() -> None:
    given = scene(150)["image"]
    whole = bubbles(lambda: corona(guard=False), given)
    given[:60, :, 7] = 0
    node = corona(guard=False)
    out = run_node(node, {"image": frames_of(given)})["bubbles"]
    made = np.array([frame.data for frame in out])
    assert all(flagged(out, Flags.DEGRADED)[60:79])
    assert not made[:60, :, 7].any() and not made[60].any()
    assert np.isfinite(made).all()
    assert not any(flagged(out, Flags.DEGRADED)[82:])
    error = np.linalg.norm(made[110:] - whole[110:]) / np.linalg.norm(whole[110:])
    assert error < 0.3


@BOTH
def test_the_guard_hands_diffuse_blood_to_its_twin_and_takes_it_back(
    tissue: str,
) -> None:
    sparse = scene(40, seed=5)["image"]
    none = {"bubbles_least": 0, "bubbles_most": 0}
    diffuse = scene(60, seed=6, diffuse_db=0.0, **none)
    back = scene(70, seed=5)["image"]
    given = np.concatenate([sparse, diffuse["image"], back])
    node = corona(tissue=tissue)
    ports = run_node(node, {"image": frames_of(given)})
    fallen = flagged(ports["bubbles"], Flags.DEGRADED)
    begun = fallen.index(False)
    assert begun == {"followed": 19, "window": WINDOW - 1}[tissue]
    assert not any(fallen[begun:40])
    assert all(fallen[80:100])
    assert not any(fallen[-20:])
    report = node.report()
    assert report["falls"] == 1 and 20 <= report["fallen_images"] < 110
    unguarded = bubbles(lambda: corona(guard=False, tissue=tissue), given)[80:100]
    made = np.array([frame.data for frame in ports["bubbles"]])[80:100]
    blood = diffuse["truth"][40:]
    assert nmse_db(made, blood) < nmse_db(unguarded, blood) - 0.3


def test_its_stand_in_is_the_svd_filter_in_units_of_the_noise() -> None:
    given = scene(40, diffuse_db=0.0)["image"]
    out = run_node(windowed(), {"image": frames_of(given)})
    rule = RankRule(rule="similarity", rank=RANK)
    expected = svd(given[-WINDOW:], rule)
    # the noise is nearly the same everywhere, so its units matter little
    difference = out["bubbles"][-1].data - expected.bubbles[-1]
    assert np.linalg.norm(difference) < 0.1 * np.linalg.norm(expected.bubbles[-1])
    assert out["rank"][-1].data == [expected.rank]


def test_its_live_stand_in_is_what_no_component_explains() -> None:
    given = scene(60, diffuse_db=0.0)["image"]
    out = run_node(corona(), {"image": frames_of(given)})
    follower = IncrementalStream(followed(MEMORY), given.shape[1:])
    for image in given:
        basis = follower.basis.copy()
        follower.push(image)
    x = given[-1].reshape(-1)
    left = x - (basis.conj() @ x) @ basis
    np.testing.assert_allclose(out["bubbles"][-1].data.reshape(-1), left, atol=1e-5)
    assert np.abs(out["residual"][-1].data).max() < 1e-6
    assert out["rank"][-1].data == [MEMORY.rank]


@BOTH
def test_a_budget_too_small_is_kept_by_fewer_layers_and_said(tissue: str) -> None:
    given = images(30)
    node = corona(budget_us=1e-3, tissue=tissue)
    out = run_node(node, {"image": frames_of(given)})["bubbles"]
    assert all(flagged(out, Flags.DEGRADED))
    assert node.report()["fewer_layers"] == 30
    shallow = bubbles(lambda: corona(layers=1, tissue=tissue), given)
    np.testing.assert_array_equal([frame.data for frame in out], shallow)
    ample = corona(budget_us=1e9, tissue=tissue)
    out = run_node(ample, {"image": frames_of(given)})["bubbles"]
    assert ample.report()["fewer_layers"] == 0
    deep = bubbles(lambda: corona(tissue=tissue), given)
    np.testing.assert_array_equal([frame.data for frame in out], deep)
    assert not np.array_equal(deep, shallow)


def test_a_deadline_of_the_graph_is_a_budget() -> None:
    given = images(30)
    node = corona(budget_us=1e9)
    node.deadline_us = 1e-3
    run_node(node, {"image": frames_of(given)})
    assert node.degrades and node.report()["fewer_layers"] == 30


@pytest.mark.parametrize("shape", [(3, 5), (1, 40), (50, 33)])
@BOTH
def test_images_may_have_any_size(tissue: str, shape: tuple[int, int]) -> None:
    z, x = shape
    given = scene(16, depth_px=z, width_px=x)["image"]
    node = corona(tile_px=32, overlap_px=8, tissue=tissue)
    out = run_node(node, {"image": frames_of(given)})
    made = np.array([frame.data for frame in out["bubbles"]])
    assert made.shape == given.shape and np.isfinite(made).all()


@BOTH
def test_images_without_noise_have_no_bubbles(tissue: str) -> None:
    still = np.repeat(images(1), 20, axis=0)
    phase = np.exp(0.3j * np.arange(20)).astype(np.complex64)
    for given in (still, still * phase[:, None, None], still * 0 + 1):
        made = bubbles(lambda: corona(tissue=tissue), given)
        assert np.isfinite(made).all()
        assert np.abs(made).max() < 1e-5 * np.abs(given).max()


@BOTH
def test_tiles_hardly_show(tissue: str) -> None:
    given = scene(50, depth_px=40, width_px=40)
    usual = {"guard": False, "tissue": tissue}
    cuts = {"tile_px": 24, "overlap_px": 8}
    whole = bubbles(lambda: corona(**usual), given["image"])[20:]
    tiled = bubbles(lambda: corona(**usual, **cuts), given["image"])[20:]
    truth = given["truth"][20:]
    # as many components of a smaller tile take more of its bubbles along
    most_db = 3 if tissue == "followed" else 1
    assert abs(nmse_db(tiled, truth) - nmse_db(whole, truth)) < most_db
    assert not np.array_equal(tiled, whole)


def test_a_program_may_hold_the_node() -> None:
    given = images(12)
    with open_node("corona", model=TINY) as node:
        made = [node(image) for image in given]
    assert made[0]._fields == ("bubbles", "tissue", "rank", "residual")
    np.testing.assert_array_equal(made[-1].bubbles, bubbles(corona, given)[-1])


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (
            {"stride": 9, "tissue": "window"},
            "stride: expected at most 8 for the network 'tiny-corona'",
        ),
        ({"stride": 2}, 'stride: expected 1 where .* set tissue = "window"'),
        ({"layers": 4, "tissue": "window"}, "layers: expected at most 3"),
        ({"layers": 3}, "layers: expected at most 2"),
        ({"rank": 2}, "rank: expected 5, for which 'tiny-corona' was trained, got 2"),
        ({"rank": 3, "tissue": "window"}, "rank: expected 2"),
        ({"overlap_px": 65}, "overlap_px: expected at most half of tile_px = 128"),
    ],
)
def test_what_the_network_cannot_is_refused(config: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        corona(**config)


def test_what_is_no_config_is_refused() -> None:
    with pytest.raises(ArtifactError, match="expected the name of a shipped artifact"):
        Corona(CoronaConfig(model="no-such-network"))
    tracker = str(Path(TINY).with_name("tiny"))
    with pytest.raises(ArtifactError, match="expected a ClutterCard"):
        Corona(CoronaConfig(model=tracker))
    for key in ("stride", "layers", "tissue", "budget_us"):
        with pytest.raises(SchemaError, match=key):
            build(CoronaConfig, {"model": TINY, key: 0})


def test_a_network_for_windows_only_says_so(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    from tests.clutter import tiny as maker

    write_artifact(tmp_path, maker.card(live_layers=0), maker.model(live_layers=0))
    model = str(tmp_path)
    with pytest.raises(ConfigError, match='tissue: expected "window" for the network'):
        Corona(CoronaConfig(model=model))
    given = images(20)
    made = bubbles(lambda: Corona(CoronaConfig(model=model, tissue="window")), given)
    np.testing.assert_array_equal(made, bubbles(windowed, given))


@pytest.mark.skipif("gpu" in devices(), reason="there is one")
def test_a_device_that_is_not_there_is_refused() -> None:
    node = corona()
    node.accept(Signature.of("c8", {"z": 12, "x": 14}))
    with pytest.raises(PlacementError):
        node.open("gpu")


@pytest.mark.gpu
@pytest.mark.skipif("gpu" not in devices(), reason="there is none")
@BOTH
def test_it_runs_on_a_gpu(tissue: str) -> None:
    given, node = images(30), corona(tissue=tissue)
    out = run_node(node, {"image": frames_of(given)}, device="gpu")["bubbles"]
    expected = bubbles(lambda: corona(tissue=tissue), given)
    size = np.abs(expected).max()
    np.testing.assert_allclose([f.data for f in out], expected, atol=1e-3 * size)
