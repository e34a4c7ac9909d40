"""Learned factor graphs: artifacts, pilots, no labels, drift, and soft inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamproc.artifact import write_artifact
from streamproc.card import DetectorCard, PortRow, TrainingTable
from streamproc.detection.check import drawn
from streamproc.detection.fit import FitConfig, Fitted, fit
from streamproc.detection.stream import Recursion, Stream
from streamproc.detection.trellis import Trellis, as_real
from streamproc.errors import ArtifactError, BadFrameError, ConfigError, GraphError
from streamproc.frame import FREE, Array, Flags, Frame, Signature
from streamproc.modulation import constellation
from streamproc.nodes.bcjr import Bcjr, BcjrConfig
from streamproc.nodes.factor_graph import (
    FactorGraph,
    FactorGraphConfig,
    Siso,
    SisoConfig,
)
from streamproc.testing import check_node, run_node

from .sent import contents, detect, errors, even, framed, free, joined, sent

PILOTS: dict[str, Any] = {"pilots": 400, "pilot_period": 4000, "pilot_seed": 7}
DRIFT: dict[str, Any] = {"drift_symbols": 60_000, "snr_db": 8.0}
SIZES = [1, 7, 512, 64, 0, 1000, 3, 2000, 413]


def graph(**config: Any) -> FactorGraph:
    return FactorGraph(FactorGraphConfig(**config))


def rate(node: FactorGraph, seen: Array, truth: Array) -> float:
    """Symbol error rate."""
    return errors(joined(detect(node, even(seen, 500))["symbols"]), truth)


def known_channel(noise: str = "gaussian", **scene: Any) -> Fitted:
    """A channel fitted to 5000 known symbols."""
    seen, truth = sent(5000, seed=1, split="train", noise=noise, **scene)
    trellis = Trellis(constellation(scene.get("constellation", "bpsk")), 4)
    kind: Any = "poisson" if noise == "poisson" else "mixture"
    return fit(as_real(seen, 1), truth, trellis, FitConfig(noise=kind))


def evidence(trellis: Trellis, fitted: Fitted) -> tuple[float, float]:
    """Mean and deviation over samples of its own, as a card says them."""
    likelihood = fitted.likelihood()
    stream = Stream(trellis, Recursion(), likelihood.dims)
    stream.use(likelihood)
    stream.push(drawn(trellis, likelihood, 10_000))
    stream.finish()
    found = stream.take(10_000).evidence
    return float(found.mean()), float(found.std())


def write(folder: Path, fitted: Fitted, points: str = "bpsk") -> str:
    """A folder with an artifact of a channel."""
    onnx_export = pytest.importorskip("streamproc.models.detector.export")
    head: Any = "mixture" if fitted.rates is None else "poisson"
    model = onnx_export.export(fitted, head)
    classes, dims = fitted.means.shape
    mean, deviation = evidence(Trellis(constellation(points), 4), fitted)
    card = DetectorCard(
        name="tiny",
        package="0",
        sha256="0" * 64,
        training=TrainingTable(
            recipe="t", seed=0, split="train", command="t", minutes=0, iterations=0
        ),
        inputs=(PortRow(name="y", shape=(dims,)),),
        outputs=(PortRow(name="loglik", shape=(classes,)),),
        constellation=points,
        memory=4,
        head=head,
        labels=5000,
        evidence=mean,
        evidence_std=deviation,
    )
    write_artifact(folder, card, model)
    return str(folder)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A mixture for BPSK at 6 dB."""
    return write(tmp_path_factory.mktemp("tiny"), known_channel())


@pytest.mark.parametrize("engine", ["numba", "onnx"])
def test_an_artifact_detects_as_well_as_the_channel_told(
    tiny: str, engine: Any
) -> None:
    seen, truth = sent(200_000, seed=6, snr_db=6.0)
    node = graph(model=tiny, engine=engine)
    out = detect(node, even(seen, 500))
    best = detect(Bcjr(BcjrConfig(gamma=0.2, snr_db=6.0)), even(seen, 500))
    told = errors(joined(best["symbols"]), truth)
    assert errors(joined(out["symbols"]), truth) < 1.03 * told
    loss = np.array([frame.data[1] for frame in out["confidence"]])
    assert abs(loss.mean()) < 0.01
    assert node.report() == {"erasures": 0, "wrong_frames": 0}


def test_both_engines_say_the_same(tiny: str) -> None:
    seen, _ = sent(20_000, seed=6, snr_db=6.0)
    numba, onnx = (
        detect(graph(model=tiny, engine=engine), even(seen, 500))
        for engine in ("numba", "onnx")
    )
    np.testing.assert_allclose(
        joined(onnx["posterior"]), joined(numba["posterior"]), atol=1e-5
    )


@pytest.mark.parametrize("engine", ["numba", "onnx"])
def test_framing_does_not_change_a_bit_of_an_artifact(tiny: str, engine: Any) -> None:
    seen, _ = sent(4000, seed=2, snr_db=4.0)
    wanted = contents(detect(graph(model=tiny, engine=engine), framed(seen, [4000])))
    found = contents(detect(graph(model=tiny, engine=engine), framed(seen, SIZES)))
    ones = contents(detect(graph(model=tiny, engine=engine), even(seen, 1)))
    assert wanted == found == ones


@pytest.mark.parametrize("engine", ["numba", "onnx"])
@pytest.mark.parametrize("algorithm", ["sum_product", "max_log", "viterbi"])
def test_an_artifact_keeps_the_contract(tiny: str, engine: Any, algorithm: Any) -> None:
    frames = even(sent(20 * 70, seed=1)[0], 70)
    check_node(
        lambda: graph(model=tiny, engine=engine, algorithm=algorithm),
        {"observation": frames},
    )


def test_an_artifact_of_counts_runs_on_both_engines(tmp_path: Path) -> None:
    scene: dict[str, Any] = {"constellation": "ook", "noise": "poisson", "snr_db": 26.0}
    model = write(tmp_path, known_channel(**scene), "ook")
    seen, truth = sent(100_000, seed=6, **scene)
    rates = [
        errors(
            joined(detect(graph(model=model, engine=e), even(seen, 500))["symbols"]),
            truth,
        )
        for e in ("numba", "onnx")
    ]
    assert rates == pytest.approx([0.02427] * 2, rel=0.06)
    assert rates[0] == pytest.approx(rates[1], rel=0.002)


def test_an_artifact_for_other_symbols_is_refused_with_both_values(tiny: str) -> None:
    real = Signature.of("f8", {"symbol": 512})
    cases: list[tuple[dict[str, Any], Signature, str]] = [
        ({"constellation": "ook"}, real, "'ook'.*'bpsk'"),
        ({"memory": 3}, real, "3.*4"),
        ({}, Signature.of("c16", {"symbol": 512}), r"\(1,\).*2"),
        ({"engine": "onnx", "online": "decisions"}, real, "online"),
    ]
    for config, signature, said in cases:
        with pytest.raises(GraphError, match=said):
            graph(model=tiny, **config).accept(signature)
    agreed = graph(model=tiny, constellation="bpsk", memory=4).accept(real)
    assert list(agreed) == ["llr", "symbols", "posterior", "confidence"]
    with pytest.raises(ArtifactError, match="nowhere"):
        graph(model="nowhere")


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"model": "x", "blind": True},
        {"model": "x", "online": "pilots"},
        {"model": "x", "online": "decisions", "algorithm": "viterbi"},
        {"pilots": 20, "pilot_period": 10},
    ],
)
def test_configurations_that_make_no_sense_are_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"expected|needs"):
        FactorGraphConfig(**config)


@pytest.mark.parametrize(
    ("scene", "reference", "algorithm"),
    [
        ({"snr_db": 6.0}, 1.404e-2, "sum_product"),
        ({"snr_db": 6.0}, 1.41e-2, "max_log"),
        ({"snr_db": 6.0}, 1.419e-2, "viterbi"),
        ({"snr_db": 8.0, "noise": "impulsive"}, 1.40e-2, "sum_product"),
    ],
)
def test_pilots_teach_a_channel_and_its_noise(
    scene: dict[str, Any], reference: float, algorithm: Any
) -> None:
    seen, truth = sent(300_000, seed=6, **PILOTS, **scene)
    node = graph(**PILOTS, algorithm=algorithm)
    assert rate(node, seen, truth) == pytest.approx(reference, rel=0.15)
    assert node.report()["learned"] == 1


def test_before_its_pilots_are_over_nothing_is_decided() -> None:
    seen, _ = sent(700, seed=6, **PILOTS)
    node = graph(**PILOTS)
    node.open("cpu")
    frames = even(seen, 100)
    waits = [node.process(frame) is None for frame in frames]
    assert waits == [True] * 3 + [False] * 4
    short = detect(graph(**PILOTS), frames[:3])
    assert not joined(short["llr"]).any()
    assert [f.header.flags for f in short["llr"]] == [Flags.DEGRADED] * 3


def test_pilots_that_were_lost_are_waited_for_anew() -> None:
    seen, truth = sent(20_000, seed=6, snr_db=8.0, **PILOTS)
    seen[:390] = np.nan
    out = detect(graph(**PILOTS), even(seen, 500))
    assert errors(joined(out["symbols"])[500:], truth[500:]) < 0.005
    seen[:] = np.nan
    node = graph(**PILOTS)
    out = detect(node, even(np.tile(seen, 2), 500))
    assert not joined(out["llr"]).any() and node.report()["refused_fits"] == 10
    assert all(frame.header.flags & Flags.DEGRADED for frame in out["llr"])


@pytest.mark.parametrize("online", ["off", "pilots", "decisions", "soft"])
def test_framing_does_not_change_a_bit_of_what_is_learned(online: Any) -> None:
    seen, _ = sent(12_000, seed=2, **DRIFT, **PILOTS)
    config: dict[str, Any] = {"online": online, "tolerance": 0.005, **PILOTS}
    nodes = [graph(**config) for _ in range(3)]
    wanted, found, sevens = (
        contents(detect(node, framed(seen, sizes)))
        for node, sizes in zip(
            nodes, ([12_000], SIZES * 3, [7] * 1714 + [2]), strict=True
        )
    )
    assert wanted == found == sevens
    if online in ("decisions", "soft"):
        updates = [node.report()["updates"] for node in nodes]
        assert updates[0] == updates[1] == updates[2] > 1


@pytest.mark.parametrize("online", ["off", "pilots", "decisions", "soft"])
@pytest.mark.parametrize("size", [100, 500])
def test_a_learned_channel_is_restored_exactly(online: Any, size: int) -> None:
    seen, _ = sent(size * 20, seed=2, **DRIFT, **PILOTS)
    config: dict[str, Any] = {"online": online, "tolerance": 0.005, **PILOTS}
    check_node(lambda: graph(**config), {"observation": even(seen, size)}, frames=20)


def test_a_drifting_channel_is_followed_by_decisions() -> None:
    scene: dict[str, Any] = {
        "drift_symbols": 150_000,
        "snr_db": 8.0,
        "pilots": 200,
        "pilot_period": 10_000,
        "pilot_seed": 7,
    }
    pilots = {key: scene[key] for key in PILOTS}
    seen, truth = sent(200_000, seed=6, **scene)
    rates = {}
    for online in ("off", "pilots", "decisions"):
        node = graph(**pilots, noise="gaussian", online=online)
        rates[online] = rate(node, seen, truth)
    assert rates["decisions"] < 0.95 * rates["pilots"] < 0.5 * rates["off"]
    assert 0 < node.report()["updates"] < 200_000 / 5120


def test_an_artifact_is_followed_from_where_it_was_made(tiny: str) -> None:
    seen, truth = sent(100_000, seed=6, drift_symbols=60_000, snr_db=6.0)
    still, moving = (
        errors(
            joined(detect(graph(model=tiny, online=o), even(seen, 500))["symbols"]),
            truth,
        )
        for o in ("off", "decisions")
    )
    assert moving < 0.7 * still


def test_a_channel_is_learned_without_any_label() -> None:
    seen, truth = sent(50_000, seed=6, snr_db=8.0)
    out = detect(graph(blind=True), even(seen, 500))
    found = joined(out["symbols"])
    # without a label nobody can tell a channel from its negative
    assert min(errors(found, truth), errors(1 - found, truth)) < 1.3 * 2.041e-3


def soft(node: Siso, seen: Array, prior: Array, size: int) -> dict[str, list[Frame]]:
    inputs = {"observation": even(seen, size), "prior": even(prior, size)}
    return run_node(node, inputs)


def test_soft_inputs_count_and_are_taken_out_again(tiny: str) -> None:
    seen, truth = sent(40_000, seed=3, snr_db=0.0)
    bits = truth > 0
    # as a decoder would say it: LLRs that are normal with variance twice their mean
    noise = np.random.default_rng(1).standard_normal(40_000)
    prior = np.where(bits, 1.5, -1.5) + 3**0.5 * noise
    config = SisoConfig(model=tiny)
    plain = soft(Siso(config), seen, np.zeros(40_000), 500)
    told = soft(Siso(config), seen, prior, 500)
    np.testing.assert_array_equal(joined(plain["extrinsic"]), joined(plain["llr"]))
    np.testing.assert_allclose(
        joined(told["extrinsic"]), joined(told["llr"]) - prior, atol=1e-12
    )
    rates = [
        np.mean((joined(out[port]) > 0) != bits)
        for out, port in ((plain, "llr"), (told, "extrinsic"), (told, "llr"))
    ]
    # what neighbours were told helps even without one's own prior
    assert rates[1] < 0.9 * rates[0] and rates[2] < 0.8 * rates[1]
    alone = detect(graph(model=tiny), even(seen, 500))
    np.testing.assert_allclose(joined(plain["llr"]), joined(alone["llr"]), atol=1e-9)


def test_soft_inputs_of_several_bits_come_and_go_by_bit() -> None:
    pilots = {**PILOTS, "pilots": 600}
    seen, truth = sent(
        9000, seed=3, snr_db=6.0, constellation="qpsk", gamma=1.0, memory=2, **pilots
    )
    bits = truth[:, None] >> np.array([1, 0]) & 1
    prior = np.where(bits, 20.0, -20.0)
    config = SisoConfig(constellation="qpsk", memory=2, **pilots)
    out = soft(Siso(config), seen, prior, 500)
    assert joined(out["llr"]).shape == joined(out["extrinsic"]).shape == (9000, 2)
    assert errors(joined(out["symbols"]), truth) == 0
    wrong = ((joined(out["extrinsic"]) > 0) != bits)[truth >= 0]
    assert 0 < wrong.mean() < 0.1


def inputs(seen: Array, prior: Array, size: int) -> dict[str, list[Frame]]:
    return {"observation": even(seen, size), "prior": even(prior, size)}


def test_siso_keeps_the_contract_and_frames_do_not_matter(tiny: str) -> None:
    seen, _ = sent(2000, seed=3)
    prior = np.random.default_rng(1).normal(0, 2, 2000)
    check_node(lambda: Siso(SisoConfig(model=tiny)), inputs(seen, prior, 100))
    signatures = {**free(seen), "prior": Signature.of("f8", {"symbol": FREE})}
    found = [
        contents(run_node(Siso(SisoConfig(model=tiny)), given, signatures=signatures))
        for given in (inputs(seen, prior, 2000), inputs(seen, prior, 8))
    ]
    assert found[0] == found[1] and "extrinsic" in found[0]


def test_odd_priors_are_counted_and_do_no_harm(tiny: str) -> None:
    seen, _ = sent(600, seed=3)
    prior = np.zeros(600)
    prior[10:13] = np.nan, np.inf, -np.inf
    node = Siso(SisoConfig(model=tiny))
    out = soft(node, seen, prior, 100)
    llr = joined(out["llr"])
    assert np.isfinite(llr).all()
    taken = llr - joined(out["extrinsic"])
    assert taken[10:13] == pytest.approx([0, 30, -30])  # and no more than that
    assert node.report()["erasures"] == 1


def test_priors_of_other_sizes_are_refused(tiny: str) -> None:
    node = Siso(SisoConfig(model=tiny))
    with pytest.raises(GraphError, match="prior"):
        node.accept(
            Signature.of("f8", {"symbol": 8}), Signature.of("f8", {"symbol": 9})
        )
    node.accept(
        Signature.of("f8", {"symbol": FREE}), Signature.of("f4", {"symbol": FREE})
    )
    node.open("cpu")
    with pytest.raises(BadFrameError, match="8"):
        node.process(Frame.of(np.zeros(8)), Frame.of(np.zeros(9, np.float32)))
    with pytest.raises(ConfigError, match="viterbi"):
        SisoConfig(model=tiny, algorithm="viterbi")
