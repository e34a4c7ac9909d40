"""Two estimates on the same frames: figures, gain, what is shown, restore."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from streamproc.errors import BadFrameError, GraphError, PlacementError
from streamproc.frame import Array, Frame, Signature
from streamproc.nodes.batches import Ratio
from streamproc.nodes.compare import Compare, CompareConfig
from streamproc.nodes.exhibits import BINS, MOST_ROWS, REACH
from streamproc.nodes.score import Score, ScoreConfig
from streamproc.testing import check_node, frames_of, run_node

PORTS = ("truth", "learned", "classical", "observation")


def sides(*shape: int, dtype: str = "f8", frames: int = 30) -> dict[str, Array]:
    """A truth, an estimate that is near, one that is less so, and what was seen."""
    rng = np.random.default_rng(11)
    truth = 3 * rng.normal(size=(frames, *shape))
    made = {"truth": truth}
    for port, size in zip(PORTS[1:], (0.2, 0.5, 1.0), strict=True):
        made[port] = truth + size * rng.normal(size=truth.shape)
    return {port: array.astype(dtype) for port, array in made.items()}


def symbols(soft: bool = True) -> dict[str, Array]:
    """Bits and their LLRs, of which the classical ones are wrong more often."""
    rng = np.random.default_rng(12)
    truth = rng.integers(0, 2, (30, 64)).astype("i1")
    seen = 2.0 * truth - 1 + 0.7 * rng.normal(size=truth.shape)
    made = {"learned": 4 * seen, "classical": 4 * seen + rng.normal(size=truth.shape)}
    if not soft:
        made = {port: (llr > 0).astype("i1") for port, llr in made.items()}
    return {"truth": truth, **made, "observation": seen}


def ran(given: dict[str, Array], **config: Any) -> Compare:
    node = Compare(CompareConfig(**config))
    run_node(node, {port: frames_of(array) for port, array in given.items()})
    return node


def frame_of(value: Array) -> Frame:
    return Frame.of(np.array(value))


@pytest.mark.parametrize(
    ("metric", "given"),
    [
        ("mse_db", sides(3)),
        ("nmse_db", sides(9, 8, dtype="c8")),
        ("psnr_db", sides(200)),
        ("ser", symbols()),
        ("ser", symbols(soft=False)),
    ],
    ids=["trail", "images", "waveform", "llrs", "indices"],
)
def test_compare_keeps_the_contract(metric: Any, given: dict[str, Array]) -> None:
    inputs = {port: frames_of(array) for port, array in given.items()}
    check_node(lambda: Compare(CompareConfig(metric=metric, skip=3)), inputs)


@pytest.mark.parametrize("metric", ["mse_db", "nmse_db", "psnr_db", "ser"])
def test_both_are_scored_as_score_does(metric: Any) -> None:
    given = symbols() if metric == "ser" else sides(3)
    report = ran(given, metric=metric, skip=5).report()
    for side in ("learned", "classical"):
        alone = Score(ScoreConfig(metric=metric, skip=5))
        inputs = {"truth": given["truth"], "estimate": given[side]}
        run_node(alone, {port: frames_of(array) for port, array in inputs.items()})
        assert report[side] == alone.report()[metric]
    assert report["frames"] == 25


def test_the_gain_is_in_dB_or_in_times_and_negative_where_learning_loses() -> None:
    given = sides(3)
    swapped = {**given, "learned": given["classical"], "classical": given["learned"]}
    gain = 20 * math.log10(0.5 / 0.2)
    for metric in ("mse_db", "nmse_db", "psnr_db"):
        won = ran(given, metric=metric).report()["gain"]
        assert won == pytest.approx(gain, abs=1.5)
        assert ran(swapped, metric=metric).report()["gain"] == pytest.approx(-won)
    bits = symbols()
    report = ran(bits, metric="ser").report()
    assert report["gain"] == report["classical"] / report["learned"] > 1


def test_a_frame_that_one_cannot_be_scored_on_counts_for_neither() -> None:
    given = sides(3)
    node = ran(given)
    before = dict(node.report())
    for bad in ("learned", "classical"):
        node.open("cpu")
        frames = {port: frame_of(array[0]) for port, array in given.items()}
        node.process(**frames)
        once = dict(node.report())
        frames[bad] = frame_of(np.array([1.0, np.nan, 0.0]))
        with pytest.raises(BadFrameError, match="not finite"):
            node.process(**frames)
        assert dict(node.report()) == pytest.approx(once, nan_ok=True)
    assert before["frames"] == 30


def test_a_trail_shows_the_last_steps_of_everyone() -> None:
    given = sides(3, frames=MOST_ROWS + 7)
    shown = ran(given).exhibit()
    assert shown["form"] == "trail"
    for port in PORTS:
        rows = np.array(shown[port])
        np.testing.assert_allclose(rows, given[port][7:], rtol=1e-5)


def test_of_many_tracks_the_first_is_shown_and_a_waveform_is_its_newest() -> None:
    tracks = sides(4, 2)
    shown = ran(tracks).exhibit()
    np.testing.assert_allclose(shown["truth"], tracks["truth"][:, 0], rtol=1e-5)
    waves = sides(100)
    shown = ran(waves).exhibit()
    assert shown["form"] == "trail"
    wave = np.array(shown["learned"])[:, 0]
    np.testing.assert_allclose(wave, waves["learned"][-1], rtol=1e-5)


def test_images_are_magnitudes_thinned_where_they_are_large() -> None:
    given = sides(300, 20, dtype="c8", frames=2)
    shown = ran(given, metric="nmse_db").exhibit()
    assert shown["form"] == "images"
    wanted = np.abs(given["truth"][-1][::3])
    np.testing.assert_allclose(shown["truth"], wanted, rtol=1e-5)


def test_llrs_are_counted_by_the_symbol_that_was_sent() -> None:
    given = symbols()
    given["learned"][0, 0] = 1e6  # far out: in the outermost bin
    counts = np.array(ran(given, metric="ser").exhibit()["counts"])
    edges = np.linspace(-REACH, REACH, BINS + 1)
    for side, port in enumerate(("learned", "classical")):
        for sent in (0, 1):
            llr = given[port][given["truth"] == sent]
            wanted, _ = np.histogram(np.clip(llr, -REACH, REACH), edges)
            assert (counts[side, sent] == wanted).all()


def test_what_is_kept_is_a_copy() -> None:
    """A frame may lie in shared memory that its producer writes to again."""
    given = sides(9, 9)
    node = Compare(CompareConfig())
    node.accept(*(Signature.of("f8", {"z": 9, "x": 9}) for _ in PORTS))
    node.open("cpu")
    node.process(**{port: frame_of(array[0]) for port, array in given.items()})
    for name, kept in node.state.items():
        if name.startswith("shown."):
            assert kept.base is None and kept.flags.owndata


def test_three_dims_have_figures_but_no_picture() -> None:
    node = ran(sides(9, 9, 9))
    assert node.exhibit() == {} and node.report()["frames"] == 30


def test_what_does_not_fit_is_refused_before_start() -> None:
    x3, x2 = (Signature.of("f8", {"axis": n}) for n in (3, 2))
    with pytest.raises(GraphError, match="differ in size"):
        Compare(CompareConfig()).accept(x3, x3, x2, x3)
    with pytest.raises(GraphError, match="differ in size"):
        Compare(CompareConfig()).accept(x3, x2, x3, x3)
    node = Compare(CompareConfig())
    with pytest.raises(PlacementError, match="accept"):
        node.open("cpu")
    node.accept(x3, x3, x3, x2)  # what is seen may be anything
    with pytest.raises(PlacementError, match="'cpu' only"):
        node.open("gpu")


def test_the_standard_error_of_a_gain_is_that_of_many_runs() -> None:
    """Errors that last for ten frames, as a filter's do."""
    rng = np.random.default_rng(3)
    ratios, told = [], []
    for _ in range(200):
        ratio = Ratio()
        sizes = rng.gamma(2.0, size=(100, 2)).repeat(10, axis=0)
        for below, above in sizes:
            ratio.add(below, 3 * above)
        total = sizes.sum(axis=0)
        ratios.append(total[1] / total[0])
        told.append(ratio.relative_se)
    assert np.mean(told) == pytest.approx(np.std(ratios) / np.mean(ratios), rel=0.2)


def test_a_ratio_goes_on_from_its_state() -> None:
    rng = np.random.default_rng(4)
    one, other = Ratio(), Ratio()
    for number, errors in enumerate(rng.gamma(2.0, size=(300, 2))):
        if number == 150:
            other.state = one.state
        for ratio in (one, other) if number >= 150 else (one,):
            ratio.add(*errors)
    assert other.relative_se == one.relative_se
    assert np.isnan(Ratio().relative_se)
