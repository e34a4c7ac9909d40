"""The table of clutter filters: paired errors, fair rivals, verdicts that can fail."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamproc.artifact import Artifact, Session
from streamproc.card import ClutterCard, NmseRow
from streamproc.cli.bare import opened
from streamproc.clutter.depths import cut
from streamproc.evaluation import clutter_cases as cases
from streamproc.evaluation import clutter_checks as checks
from streamproc.evaluation import clutter_picture
from streamproc.evaluation import clutter_streams as streams
from streamproc.evaluation.clutter import (
    BEST,
    FAINTEST_DB,
    Asked,
    Measured,
    Method,
    best_rival,
    judged,
    measure,
    rows_of,
)
from streamproc.evaluation.clutter_network import learned
from streamproc.evaluation.clutter_streams import Shown
from streamproc.evaluation.detection import Verdict
from streamproc.frame import Array, Flags
from streamproc.sims.patches import draw_patches
from streamproc.sims.scene import LARGEST_SEED

TINY = Path(__file__).parents[1] / "artifacts" / "tiny-corona"
SHAPE = (32, 32)


def silent(done: int, of: int, what: str) -> None:
    """No bar."""


def method(separate: Any, **more: bool) -> Method:
    return Method(what="made up", separate=separate, **more)


def scaled(factor: float) -> Method:
    return method(lambda images, truth: truth * np.float32(factor))


EXACT, NOTHING, HALF = scaled(1), scaled(0), scaled(0.5)


@pytest.fixture
def few(tmp_path: Path) -> cases.Evaluating:
    """A little of everything; the only learned filter is corona, which is tiny."""
    shutil.copytree(TINY, tmp_path / "corona")
    return cases.Evaluating(
        seed=7, patches=2, sequences=2, frames=28, artifacts=tmp_path
    )


def drawn(seed: int = 11, frames: int = 20) -> tuple[Array, Array]:
    patch = draw_patches(cases.NOMINAL, [seed], "test", frames)
    return patch.image[0], patch.truth[0]


def missed(verdicts: Iterable[Verdict]) -> list[str]:
    return [one.asked for one in verdicts if not one.held]


def test_errors_are_summed_before_the_quotient() -> None:
    measured = Measured({"a": np.array([1.0, 9.0])}, np.array([10.0, 90.0]))
    assert measured.nmse_db("a") == pytest.approx(-10)
    measured = Measured({"a": np.array([1.0, 0.0])}, np.array([1.0, 99.0]))
    assert measured.nmse_db("a") == pytest.approx(-20), "not the mean of quotients"
    measured = Measured({"a": np.array([1.0, 2.0, 90.0])}, np.full(3, 10.0))
    assert measured.median_db("a") == pytest.approx(10 * np.log10(0.2))


def test_gains_are_paired() -> None:
    rng = np.random.default_rng(0)
    other = rng.lognormal(0, 1.5, 200)
    measured = Measured({"a": other / 2, "b": other}, np.ones(200))
    gain = measured.gain("a", "b")
    # whatever patches are drawn again, the ratio is the same
    assert gain == pytest.approx((10 * np.log10(2),) * 3)
    measured = Measured({"a": rng.permutation(other) / 2, "b": other}, np.ones(200))
    gain = measured.gain("a", "b")
    assert gain.low_db < gain.db < gain.high_db
    assert gain.db == pytest.approx(10 * np.log10(2))
    assert gain.high_db - gain.low_db > 1
    assert gain == measured.gain("a", "b"), "the same patches are drawn again"
    assert measured.gain("b", "a").db == pytest.approx(-gain.db)


def test_an_interval_covers_its_truth_nineteen_times_in_twenty() -> None:
    rng, covered = np.random.default_rng(1), 0
    for _ in range(200):
        errors = rng.lognormal(0, 0.5, (2, 100))
        gain = Measured({"a": errors[0], "b": errors[1]}, np.ones(100)).gain("a", "b")
        covered += gain.low_db <= 0 <= gain.high_db
    assert 180 <= covered <= 199


def test_every_method_sees_the_same_test_patches() -> None:
    seen: dict[str, list[Array]] = {"a": [], "b": []}

    def keeping(name: str) -> Method:
        def separate(images: Array, truth: Array) -> Array:
            seen[name].append(images)
            return truth

        return method(separate)

    names = {name: keeping(name) for name in seen}
    measured = measure(cases.NOMINAL, range(5, 7), names, silent, "")
    expected = draw_patches(cases.NOMINAL, range(5, 7), "test").image
    for found in seen.values():
        np.testing.assert_array_equal(found, expected)
    val = draw_patches(cases.NOMINAL, range(5, 7), "val").image
    assert not np.isin(val, expected).any()
    assert measured.nmse_db("a") == FAINTEST_DB


def test_known_errors_are_measured_as_such() -> None:
    methods = {"exact": EXACT, "nothing": NOTHING, "half": HALF}
    measured = measure(cases.NOMINAL, range(3), methods, silent, "")
    assert measured.nmse_db("nothing") == pytest.approx(0)
    assert measured.nmse_db("half") == pytest.approx(20 * np.log10(0.5), abs=1e-5)
    rows = {row.row: row for row in rows_of(measured, methods, "half")}
    assert rows["nothing"].gain_db == pytest.approx(-6.02, abs=0.01)
    assert rows["half"].gain_db == 0


def test_a_verdict_is_of_the_lower_bound() -> None:
    rng = np.random.default_rng(2)
    errors = {"mine": rng.lognormal(0, 1, 50), "it": 2 * rng.lognormal(0, 1, 50)}
    measured = Measured(errors, np.ones(50))
    gain = measured.gain("mine", "it")
    between = (gain.low_db + gain.db) / 2
    for least_db, held in ((gain.low_db - 0.1, True), (between, False)):
        asked = Asked(name="C0", row="mine", over=(BEST,), least_db=least_db)
        (verdict,) = judged([asked], measured, "it")
        assert verdict.held is held and "it" in verdict.asked
    absent = Asked(name="C0", row="absent", over=("it",), least_db=0)
    assert judged([absent], measured, "it") == ()


def test_the_rival_is_the_best_that_nobody_trained_nor_told() -> None:
    sizes = {"a": 3, "b": 2, "c": 1, "d": 0.5}
    errors = {name: np.full(3, size) for name, size in sizes.items()}
    methods = {
        "a": NOTHING,
        "b": NOTHING,
        "c": replace(NOTHING, told=True),
        "d": replace(NOTHING, learned=True),
    }
    assert best_rival(Measured(errors, np.ones(3)), methods) == "b"


def test_classical_rows_are_what_they_are_called() -> None:
    methods = cases.classical(cases.SCENE)
    image, truth = drawn()
    size = {
        name: np.linalg.norm(methods[name].separate(image, truth) - truth)
        for name in ("svd", "svd-oracle", "svd-randomised", "hand-tuned", "high-pass")
    }
    assert size["svd-oracle"] <= size["svd"] + 1e-5
    assert size["svd-randomised"] == pytest.approx(size["svd"], rel=0.01)
    assert size["hand-tuned"] < 0.8 * size["svd"] < size["high-pass"]
    assert methods["svd-oracle"].told and not methods["svd-oracle"].rival
    assert {"fista", "svd-energy", "svd-incremental", *cases.RPCA} <= set(methods)


def test_more_iterations_are_run_where_a_row_says_so() -> None:
    methods = cases.classical(cases.SCENE)
    image, truth = drawn()
    few, more = (methods[name].separate(image, truth) for name in cases.RPCA[:2])
    assert not np.allclose(few, more, atol=1e-3)


@pytest.mark.parametrize("name", cases.SHIFTS)
def test_a_shift_is_one(name: str) -> None:
    config = cases.SHIFTS[name].config
    assert config != cases.NOMINAL
    if name.startswith("gain"):
        factor = float(name.removeprefix("gain-"))
        image = draw_patches(config, [3], "test", 2).image
        nominal = draw_patches(cases.NOMINAL, [3], "test", 2).image
        np.testing.assert_allclose(image, factor * nominal, rtol=1e-5)


def test_callers_seeds_share_no_patch() -> None:
    ranges = [cases.Evaluating(seed=n).seeds(512, 95_000) for n in range(3)]
    assert len(set().union(*ranges)) == 3 * 512
    assert set(cases.Evaluating(seed=1).seeds(9)) & set(range(100)) == set()
    for large in (688_094, 2**32 - 1, 10**15):  # scenes take no more than 32 bits
        last = cases.Evaluating(seed=large).seeds(512, 95_000)[-1]
        assert 0 <= last <= LARGEST_SEED


def test_a_network_takes_windows_of_its_own_size_from_scratch() -> None:
    image, truth = drawn()
    network = learned(TINY)
    found = network.separate(image, truth)
    assert found.shape == image.shape and network.learned
    np.testing.assert_array_equal(found[8:16], network.separate(image[8:16], truth))
    # the last one begins earlier, and only its newest frames count
    np.testing.assert_array_equal(found[16:], network.separate(image[12:20], truth)[4:])
    first, all_of_it = learned(TINY, 1), learned(TINY, 3)
    assert "1 of 3" in first.what and "of" not in all_of_it.what
    assert not np.allclose(first.separate(image, truth), found, atol=1e-3)


def test_what_is_not_there_is_said(few: cases.Evaluating) -> None:
    score = cases.nominal(few, silent)
    assert score.missing == ("corona-fast", "corona-label-free")
    names = {row.row for row in score.rows}
    assert {"corona", "corona/1", "corona/2", "fista"} <= names
    assert score.rival in names and score.patches == 2
    asked = " ".join(one.asked for one in score.verdicts)
    assert "C1 corona:" in asked and "C2 corona:" in asked
    assert "corona-fast:" not in asked
    # nobody taught the tiny one anything
    assert any("C1" in one for one in missed(score.verdicts))


def test_a_shift_is_judged_against_the_better_of_two_units(
    few: cases.Evaluating,
) -> None:
    score = cases.shifted("gain-1000", few, silent)
    rows = {row.row: row for row in score.rows}
    assert score.rival == "hand-tuned"
    assert rows["hand-tuned-absolute"].gain_db < -1, "absolute thresholds fail here"
    assert score.patches == cases.FEWEST
    low = cases.shifted("gain-1000", few, silent, least_db=-100.0)
    assert not missed(low.verdicts) and missed(score.verdicts)


def test_streams_are_scored_by_their_newest_frame(few: cases.Evaluating) -> None:
    image, truth = drawn(frames=24)
    mark = method(lambda images, truth: images * len(images))
    found = streams.newest(mark, "marked").separate(image, truth)
    assert not found[:19].any()
    np.testing.assert_array_equal(found[19:], image[19:] * 20)
    score = streams.streaming(few, opened, silent)
    rows = {row.row for row in score.rows}
    assert {"corona", "corona-cold", streams.COLD, "rpca-warm-4", "stream-svd"} <= rows
    assert score.missing == ("corona-fast", "corona-label-free")
    assert [one.asked.split(":")[0] for one in score.verdicts].count("C9 corona") == 2


def test_the_first_window_of_a_stream_does_not_count(
    few: cases.Evaluating, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(first: int) -> Method:
        def separate(images: Array, truth: Array) -> Array:
            found = np.zeros_like(truth)
            found[first:] = truth[first:]
            return found

        return method(separate)

    methods = {"in time": late(19), "too late": late(20)}
    monkeypatch.setattr(streams, "streamed", lambda *_: methods)
    score = streams.streaming(few, opened, silent)
    rows = {row.row: row.nmse_db for row in score.rows}
    assert rows["in time"] == FAINTEST_DB and -15 < rows["too late"] < -5
    assert score.patches == 2 and score.rival == "in time"


def test_the_node_is_run_as_it_comes() -> None:
    image, truth = drawn(frames=60)
    found = streams.through(opened, TINY, guard=False).separate(image, truth)
    node = opened("corona", {"model": str(TINY), "guard": False}, SHAPE)
    for n, one in enumerate(image):
        shown = streams.now(node, one)
        np.testing.assert_array_equal(shown.bubbles, found[n])
        total = shown.bubbles + shown.tissue + shown.residual
        np.testing.assert_allclose(total, one, atol=1e-4)
    assert Flags.DEGRADED not in shown.flags
    assert node.report()["falls"] == 0


class Bad:
    """A node that passes everything strong on, flags nothing and refuses nothing."""

    def __init__(self, falls: float = 0.0) -> None:
        self._falls = falls

    def __call__(self, image: Array) -> Shown:
        thresholded = np.where(np.abs(image) < 5, np.complex64(0), image)
        return Shown(thresholded, image, image, Flags(0))

    def report(self) -> dict[str, float]:
        return {"falls": self._falls}


def test_faults_are_found(few: cases.Evaluating) -> None:
    good = list(streams.faults(few, opened, silent))
    # it never learned to stay quiet, but it is a node like any other
    assert all("no bubbles" in one for one in missed(good)) and len(good) == 6
    bad = list(streams.faults(few, lambda *_: Bad(), silent))
    told = " ".join(missed(bad))
    for what in ("frame of NaN", "pixels NaN", "frames of zeros", "dead lines"):
        assert what in told
    assert any("0 refused, NOT FINITE" in one.got for one in bad)


def test_quiet_is_quiet(few: cases.Evaluating) -> None:
    class Mute(Bad):
        def __call__(self, image: Array) -> Shown:
            return Shown(np.zeros_like(image), image, image, Flags(0))

    found = streams._quiet(few, lambda *_: Mute(), "corona", silent)
    scratch, streaming = found
    assert streaming.held and streaming.got == f"{FAINTEST_DB:.1f} dB"
    assert not scratch.held


def test_a_guard_is_asked_to_fall_and_not_to(
    few: cases.Evaluating, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "GUARDED", 4)
    few = replace(few, frames=4)
    for falls in (0.0, 1.0):
        found = list(streams.guarding(few, lambda *_, n=falls: Bad(n), silent))
        diffuse = ["diffuse" in one.asked for one in found]
        assert [one.held for one in found] == [one == bool(falls) for one in diffuse]
        assert sum(diffuse) == len(streams.DIFFUSE_DB) < len(found)


def test_symmetries_are_kept_or_seen_to_break(few: cases.Evaluating) -> None:
    found = list(checks.equivariance(few, opened, silent))
    assert not missed(found) and len(found) == 2 * len(checks.SYMMETRIES)
    broken = missed(checks.equivariance(few, lambda *_: Bad(), silent))
    assert len(broken) == 2 and all("streaming, x" in one for one in broken)


def test_engines_are_held_against_each_other(
    few: cases.Evaluating, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exact(artifact: Artifact[ClutterCard]) -> checks.Twin:
        output = (f"sparse_{artifact.card.layers}",)
        session = Session(cut(artifact.model, output), "here")

        def bubbles(image: Array, basis: Array) -> Array:
            sparse = np.zeros_like(image)
            feeds = {"image": image, "sparse": sparse, "basis": basis}
            return session.run(output, feeds)[0]

        return bubbles

    def live(artifact: Artifact[ClutterCard]) -> checks.LiveTwin:
        output = (f"live_sparse_{artifact.card.live_layers}",)
        session = Session(cut(artifact.model, output), "here")

        def bubbles(recent: Array, hear: Array, say: Array) -> Array:
            feeds = {"recent": recent, "hear": hear, "say": say}
            return session.run(output, feeds)[0]

        return bubbles

    def off(artifact: Artifact[ClutterCard]) -> checks.Twin:
        return lambda image, basis: 1.001 * exact(artifact)(image, basis)

    def live_off(artifact: Artifact[ClutterCard]) -> checks.LiveTwin:
        return lambda *given: 1.001 * live(artifact)(*given)

    monkeypatch.setattr(checks, "PATCHES", 2)
    assert len(list(checks.parity(few, opened, None, silent))) == 3
    found = list(checks.parity(few, opened, checks.Twins(exact, live), silent))
    assert len(found) == 5 and not missed(found)
    (told,) = missed(checks.parity(few, opened, checks.Twins(off, live), silent))
    assert "corona, windows: ONNX and torch" in told
    (told,) = missed(checks.parity(few, opened, checks.Twins(exact, live_off), silent))
    assert "corona, streaming: ONNX and torch" in told


def test_a_node_that_is_another_engine_is_seen(few: cases.Evaluating) -> None:
    class Louder:
        def __init__(self, *given: Any) -> None:
            self._node = opened(*given)

        def __call__(self, image: Array) -> Shown | None:
            shown = self._node(image)
            return shown and shown._replace(bubbles=1.1 * shown.bubbles)

        def report(self) -> dict[str, float]:
            return {}

    told = missed(checks.parity(few, Louder, None, silent))
    assert ["the node" in one for one in told] == [True, True]


def test_seeds_of_training_are_read_off_the_card(
    few: cases.Evaluating, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = Artifact.load(TINY, ClutterCard).card
    row = NmseRow(
        case="c", row="corona", nmse_db=-9, patches=9, seeds=3, each_db=(-9, -8.9, -8.6)
    )
    told = Artifact("", replace(card, metrics=(row,)), b"")
    monkeypatch.setattr(checks.Artifact, "load", lambda *_: told)
    minutes, spread = checks.trained(few)
    assert minutes.held and not spread.held and spread.got == "0.40 dB"


def test_a_picture_is_drawn(
    few: cases.Evaluating, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(clutter_picture, "SHOWN", cases.NOMINAL)  # small
    score = cases.nominal(few, silent)
    path = tmp_path / "new" / "clutter.png"
    clutter_picture.draw_clutter(path, score, few, silent)
    assert path.read_bytes().startswith(b"\x89PNG")
