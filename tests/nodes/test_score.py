"""Scores against their definitions, error bars, restore."""

from __future__ import annotations

import math

import numpy as np
import pytest

from streamproc.errors import BadFrameError, GraphError, PlacementError
from streamproc.frame import Array, Frame, Signature
from streamproc.nodes.score import Metric, Score, ScoreConfig
from streamproc.testing import check_node, frames_of, run_node


def pair(dtype: str = "f8") -> tuple[Array, Array]:
    """Truth and a noisy estimate, (frames 30, 4, 5)."""
    rng = np.random.default_rng(7)
    truth, noise = rng.normal(size=(2, 30, 4, 5)) * [[[[3.0]]], [[[0.5]]]]
    if dtype == "c8":
        truth = truth * np.exp(1j * rng.uniform(0, 6, truth.shape))
    return truth.astype(dtype), (truth + noise).astype(dtype)


def score(
    truth: Array, estimate: Array, metric: Metric, skip: int = 0
) -> tuple[list[Frame], dict[str, float]]:
    node = Score(ScoreConfig(metric=metric, skip=skip))
    inputs = {"truth": frames_of(truth), "estimate": frames_of(estimate)}
    return run_node(node, inputs)["out"], node.report()


@pytest.mark.parametrize("metric", ["mse_db", "nmse_db", "psnr_db", "ser"])
def test_score_keeps_the_contract(metric: Metric) -> None:
    truth, estimate = pair()
    if metric == "ser":
        truth, estimate = (truth > 0).astype("i1"), (estimate > 0).astype("i1")
    inputs = {"truth": frames_of(truth), "estimate": frames_of(estimate)}
    check_node(lambda: Score(ScoreConfig(metric=metric, skip=3)), inputs)


@pytest.mark.parametrize("dtype", ["f8", "c8"])
def test_scores_are_what_their_names_say(dtype: str) -> None:
    truth, estimate = pair(dtype)
    error = np.mean(np.abs(estimate - truth) ** 2)
    wanted = {
        "mse_db": 10 * np.log10(error),
        "nmse_db": 10 * np.log10(error / np.mean(np.abs(truth) ** 2)),
        "psnr_db": 10 * np.log10(np.abs(truth).max() ** 2 / error),
    }
    for metric, value in wanted.items():
        out, report = score(truth, estimate, metric)  # type: ignore[arg-type]
        # float32 sums of 600 squares, 1e-6 relative, are 5e-6 dB
        assert report[metric] == pytest.approx(value, abs=1e-5)
        assert out[-1].data[0] == report[metric] and report["frames"] == 30


def test_rmse_is_of_vectors_and_in_their_unit() -> None:
    truth, estimate = pair()
    distance = np.sqrt(((estimate - truth) ** 2).sum(-1).mean())
    assert score(truth, estimate, "rmse")[1]["rmse"] == pytest.approx(distance)
    one = Signature.of("f8", {"component": 2}, unit="m")
    assert Score(ScoreConfig(metric="rmse")).accept(one, one).data.unit == "m"
    number = Signature.of("f8", {})
    with pytest.raises(GraphError, match="rmse: expected vectors"):
        Score(ScoreConfig(metric="rmse")).accept(number, number)


def test_the_running_value_is_over_what_came_so_far() -> None:
    truth, estimate = pair()
    out, report = score(truth, estimate, "mse_db", skip=10)
    assert len(out) == 20 and report["frames"] == 20
    for n, frame in enumerate(out):
        error = np.mean((estimate[10 : 11 + n] - truth[10 : 11 + n]) ** 2)
        assert frame.data[0] == pytest.approx(10 * np.log10(error))
        assert frame.header.t0_ns == (10 + n) * 1_000_000


def test_symbol_errors_are_counted_for_symbols_and_for_llrs() -> None:
    rng = np.random.default_rng(1)
    sent = rng.integers(0, 2, (40, 100)).astype("i1")
    llr = (2 * sent - 1) * rng.exponential(size=sent.shape)
    wrong = rng.random(sent.shape) < 0.1
    llr[wrong] *= -1
    llr[0, 0], wrong[0, 0] = 0.0, True
    hard = np.where(wrong, 1 - sent, sent).astype("i1")
    for estimate in (llr, llr.astype("f4"), hard):
        _, report = score(sent, estimate, "ser")
        assert report["symbols"] == 4000 and report["errors"] == wrong.sum()
        assert report["ser"] == pytest.approx(wrong.mean())
        spread = wrong.mean(axis=1).std() / math.sqrt(40)
        assert report["se"] == pytest.approx(spread)


def test_symbols_of_more_points_are_compared_by_index() -> None:
    rng = np.random.default_rng(2)
    sent = rng.integers(0, 16, (30, 64)).astype("i1")
    wrong = rng.random(sent.shape) < 0.2
    found = np.where(wrong, (sent + 3) % 16, sent).astype("i2")
    _, report = score(sent, found, "ser")
    assert report["errors"] == wrong.sum() and report["symbols"] == sent.size


def test_pilots_do_not_count() -> None:
    rng = np.random.default_rng(3)
    sent = rng.integers(0, 2, (20, 50)).astype("i1")
    wrong = rng.random(sent.shape) < 0.1
    found = np.where(wrong, 1 - sent, sent).astype("i1")
    sent[:, :10] = -1
    sent[4] = -1  # a frame of pilots alone
    counts = sent >= 0
    for estimate in (found, 2.0 * found - 1):
        _, report = score(sent, estimate, "ser")
        assert report["symbols"] == counts.sum() == 19 * 40
        assert report["errors"] == (wrong & counts).sum()
    first, report = score(sent[4:5], found[4:5], "ser")
    assert math.isnan(first[0].data[0]) and report["errors"] == 0


def test_symbols_that_cannot_be_told_are_refused() -> None:
    node = Score(ScoreConfig(metric="ser"))
    index, llr = Signature.of("i1", {"symbol": 8}), Signature.of("f8", {"symbol": 8})
    node.accept(index, llr)
    with pytest.raises(GraphError, match="ser: expected a truth of symbol indices"):
        node.accept(llr, index)
    with pytest.raises(GraphError, match="ser: expected symbol indices or LLRs"):
        node.accept(index, Signature.of("c16", {"symbol": 8}))
    bits = Signature.of("f8", {"symbol": 8, "bit": 2})
    with pytest.raises(GraphError, match="differ in size"):
        node.accept(index, bits)


def test_no_error_at_all_is_a_finite_number() -> None:
    truth, _ = pair()
    assert score(truth, truth, "mse_db")[1]["mse_db"] == -300
    assert math.isnan(score(truth, truth, "mse_db", skip=99)[1]["mse_db"])


def test_only_the_array_called_data_is_compared() -> None:
    truth = Frame.of(np.zeros(3))
    estimate = truth.with_arrays({"data": np.full(3, 0.1), "P": np.eye(3)})
    node = Score(ScoreConfig())
    out = run_node(node, {"truth": [truth], "estimate": [estimate]})["out"]
    assert out[0].data[0] == pytest.approx(-20)


def test_an_estimate_that_is_not_finite_is_refused_and_not_counted() -> None:
    node = Score(ScoreConfig())
    node.open("cpu")
    with pytest.raises(BadFrameError, match="not finite"):
        node.process(Frame.of(np.zeros(2)), Frame.of(np.array([0.0, np.nan])))
    assert node.report()["frames"] == 0


def test_a_free_size_fits_any() -> None:
    free, fixed = Signature.of("f8", {"a": -1}), Signature.of("f8", {"a": 4})
    assert Score(ScoreConfig()).accept(free, fixed).data.unit == "dB"
    node = Score(ScoreConfig())
    node.open("cpu")
    with pytest.raises(BadFrameError, match="truth"):
        node.process(Frame.of(np.zeros(3)), Frame.of(np.zeros(4)))


def test_what_cannot_be_compared_is_refused_beforehand() -> None:
    node = Score(ScoreConfig())
    with pytest.raises(GraphError, match="differ in size"):
        node.accept(Signature.of("f8", {"a": 3}), Signature.of("f8", {"a": 4}))
    with pytest.raises(GraphError, match="expected unit m"):
        node.accept(
            Signature.of("f8", {"a": 3}, unit="m"),
            Signature.of("f8", {"a": 3}, unit="V"),
        )
    with pytest.raises(PlacementError, match="'cpu' only"):
        node.open("gpu")


def test_a_tracker_s_estimate_is_its_x() -> None:
    truth = Frame.of(np.zeros(3))
    estimate = truth.with_arrays({"x": np.full(3, 0.1), "P": np.ones(3)})
    inputs = {"truth": [truth], "estimate": [estimate]}
    assert run_node(Score(ScoreConfig()), inputs)["out"][0].data[0] == pytest.approx(
        -20
    )
    out = run_node(Score(ScoreConfig(array="P")), inputs)["out"]
    assert out[0].data[0] == pytest.approx(0)


def test_only_the_components_asked_for_are_compared() -> None:
    truth, estimate = (np.zeros((4, 2, 3)), np.arange(24.0).reshape(4, 2, 3))
    for shown in (truth, truth[:, :, 1:]):  # a truth of just so many is taken whole
        inputs = {"truth": frames_of(shown), "estimate": frames_of(estimate)}
        node = Score(ScoreConfig(components=(1, 2)))
        value = run_node(node, inputs)["out"][-1].data[0]
        assert value == pytest.approx(10 * np.log10(np.mean(estimate[..., 1:] ** 2)))
    inputs["truth"] = frames_of(truth)
    check_node(lambda: Score(ScoreConfig(components=(2,))), inputs)
    with pytest.raises(GraphError, match=r"expected components \[3\]"):
        Score(ScoreConfig(components=(3,))).accept(
            Signature.of("f8", {"a": 3}), Signature.of("f8", {"a": 3})
        )
