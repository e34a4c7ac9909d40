"""Detectors on samples that are no samples, and configurations that cannot be."""

from __future__ import annotations

import re
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest

from streamproc.artifact import Artifact, seal, shipped
from streamproc.card import DetectorCard
from streamproc.errors import ArtifactError, ConfigError, GraphError
from streamproc.frame import FREE, Array, Flags, Signature
from streamproc.nodes.bcjr import Bcjr, BcjrConfig
from streamproc.nodes.factor_graph import FactorGraph, FactorGraphConfig
from streamproc.testing import check_node

from .sent import contents, detect, errors, even, framed, joined, sent

PILOTS: dict[str, Any] = {"pilots": 200, "pilot_period": 2000}
REAL = Signature.of("f8", {"symbol": FREE})
ARTIFACTS = Path(__file__).parents[2] / "streamproc" / "artifacts"


def graph(**config: Any) -> FactorGraph:
    return FactorGraph(FactorGraphConfig(**config))


def bcjr(**config: Any) -> Bcjr:
    return Bcjr(BcjrConfig(**config))


@pytest.mark.parametrize("make", [graph, bcjr])
@pytest.mark.parametrize("lost", [np.nan, 0.0, 1e150])
def test_pilots_that_are_lost_for_long_end_nothing(make: Any, lost: float) -> None:
    seen, truth = sent(40_000, seed=3, snr_db=8.0, **PILOTS)
    seen[:20_000] = lost
    node = make(**PILOTS)
    out = detect(node, even(seen, 500))
    assert errors(joined(out["symbols"])[21_000:], truth[21_000:]) < 0.01
    assert node.report()["refused_fits"] == 10


@pytest.mark.parametrize("lost", [np.nan, 0.0, 1e150])
def test_a_blind_start_slides_on_to_the_signal(lost: float) -> None:
    seen, truth = sent(12_000, seed=3, snr_db=8.0)
    seen[:3500] = lost
    node = graph(blind=True)
    found = joined(detect(node, even(seen, 500))["symbols"])[4000:]
    told = truth[4000:]
    assert min(errors(found, told), errors(1 - found, told)) < 0.005
    assert node.report()["refused_fits"] > 0


@pytest.mark.parametrize("make", [graph, bcjr])
@pytest.mark.parametrize("fault", [1e3, 1e90, 1e150, 1e300, -np.inf])
def test_one_sample_among_pilots_ruins_no_channel(make: Any, fault: float) -> None:
    pilots = {"pilots": 400, "pilot_period": 100_000}
    seen, truth = sent(20_000, seed=3, snr_db=8.0, **pilots)
    seen[100] = fault
    node = make(**pilots)
    out = detect(node, even(seen, 500))
    assert errors(joined(out["symbols"]), truth) < 0.004
    assert node.report()["faults"] <= 1


def test_one_count_below_zero_is_no_error() -> None:
    scene: dict[str, Any] = {"constellation": "ook", "noise": "poisson"}
    seen, truth = sent(20_000, seed=3, snr_db=28.0, **scene, **PILOTS)
    seen[50] = -1.0
    out = detect(graph(**scene, **PILOTS), even(seen, 500))
    assert errors(joined(out["symbols"]), truth) < 0.02
    below = detect(graph(**scene, **PILOTS), even(-1 - seen, 500))  # none is a count
    assert all(frame.header.flags & Flags.DEGRADED for frame in below["llr"])


def odd(count: int) -> Array:
    seen, _ = sent(count, seed=4, snr_db=8.0, drift_symbols=20_000, **PILOTS)
    seen[:4100:2] = np.nan
    seen[[4500, 6050, 6051, 8030]] = 1e4, 1e90, -np.inf, 300.0
    return seen


@pytest.mark.parametrize("online", [None, "off", "soft"])
def test_framing_and_restore_hold_with_pilots_lost(online: str | None) -> None:
    seen = odd(11_000)

    def make() -> Any:
        return bcjr(**PILOTS) if online is None else graph(online=online, **PILOTS)

    nodes = [make() for _ in range(3)]
    sizes = ([11_000], [512] * 21 + [248], [7] * 1571 + [3])
    found = [
        contents(detect(node, framed(seen, one)))
        for node, one in zip(nodes, sizes, strict=True)
    ]
    assert found[0] == found[1] == found[2]
    assert nodes[0].report() == pytest.approx(nodes[1].report(), abs=30)
    check_node(make, {"observation": even(seen, 500)}, frames=22)


def test_least_squares_are_renewed_with_each_run_of_pilots() -> None:
    scene: dict[str, Any] = {"drift_symbols": 60_000, "snr_db": 8.0, **PILOTS}
    seen, truth = sent(100_000, seed=6, **scene)
    node = bcjr(**PILOTS)
    renewed = errors(joined(detect(node, even(seen, 500))["symbols"]), truth)
    assert node.report()["updates"] == 49
    once = graph(noise="gaussian", base="taps", **PILOTS)
    kept = errors(joined(detect(once, even(seen, 500))["symbols"]), truth)
    assert renewed < 0.7 * kept


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"gamma": -1000.0, "snr_db": 6.0}, "gamma: expected taps"),
        ({"gamma": float("nan"), "snr_db": 6.0}, "gamma: expected taps"),
        ({"taps": (1.0, float("inf")), "snr_db": 6.0}, "taps: expected taps"),
        ({"taps": (1e200,), "snr_db": 6.0}, "taps: expected taps"),
        ({"gamma": 0.2, "snr_db": 4000.0}, "snr_db: expected a noise variance"),
        ({"gamma": 0.2, "snr_db": -4000.0}, "snr_db: expected a noise variance"),
        ({"gamma": 0.2, "noise_var": 1e200}, "noise_var: expected a noise variance"),
        ({"pilots": 6, "memory": 2}, None),
        ({"pilots": 4, "memory": 2}, "pilots: expected 5 or more"),
        ({"pilots": 10}, "pilots: expected 11 or more"),
        ({"pilots": 16}, None),
        ({"pilots": 10**12, "pilot_period": 10**13}, "pilots: expected at most"),
    ],
)
def test_channels_and_pilots_of_bcjr(config: dict[str, Any], said: str | None) -> None:
    if said is None:
        bcjr(**config)
        return
    with pytest.raises(ConfigError, match=said):
        bcjr(**config)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"model": "isi", "noise": "poisson"}, "noise: expected to be left out"),
        ({"model": "isi", "base": "means"}, "base: expected to be left out"),
        ({"model": "isi", "components": 2}, "components: expected to be left out"),
        ({"model": "isi", "blind_symbols": 900}, "blind_symbols: expected to be left"),
        ({"blind": True, "noise": "gaussian"}, "noise: expected to be left out"),
        ({"pilots": 200, "blind_symbols": 900}, "blind_symbols: expected to be left"),
        ({"blind": True, "blind_symbols": 150}, "blind_symbols: expected 200 or more"),
        ({"pilots": 30, "base": "means"}, "pilots: expected 35 or more"),
        ({"pilots": 40, "components": 4}, "pilots: expected 83 or more"),
        ({"pilots": 30, "memory": 12}, "memory: expected 1 to 6"),
    ],
)
def test_keys_of_factor_graph_that_do_not_fit(
    config: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        graph(**config)


def test_light_that_is_complex_is_refused() -> None:
    node = graph(constellation="ook", noise="poisson", pilots=200)
    with pytest.raises(GraphError, match="noise = 'poisson'"):
        node.accept(Signature.of("c16", {"symbol": FREE}))


TAMPERED = [
    ("isi", r"^memory = 4", "memory = 3", r"8 classes"),
    ("isi", r"^memory = 4", "memory = 5", r"32 classes"),
    ("isi", r'^head = "mixture"', 'head = "poisson"', "rates"),
    ("isi-poisson", r'^head = "poisson"', 'head = "mixture"', "means"),
    ("isi", r"^evidence_std = .*", "evidence_std = 1e-300", "evidence_std"),
    ("viterbinet", r"^evidence_std = .*", "evidence_std = 1e-300", "evidence_std"),
    ("viterbinet", r"^memory = 4", "memory = 3", r"8 classes"),
    ("viterbinet", r'^head = "dnn"', 'head = "poisson"', "rates"),
]


@pytest.mark.skipif("isi" not in shipped(), reason="no artifact is shipped")
@pytest.mark.parametrize(("name", "line", "other", "said"), TAMPERED)
def test_cards_that_were_edited_are_refused_before_anything_starts(
    tmp_path: Path, name: str, line: str, other: str, said: str
) -> None:
    folder = copytree(ARTIFACTS / name, tmp_path / name)
    card = folder / "card.toml"
    edited, count = re.subn(line, other, card.read_text(), flags=re.MULTILINE)
    assert count == 1
    card.write_text(edited)
    with pytest.raises(ArtifactError, match=rf"{name}.*{said}"):
        seal(folder)
        graph(model=str(folder)).accept(REAL)


FORGED = [
    ("isi", "means", (15, 1), 1.0),
    ("isi", "means", (16, 0), 1.0),
    ("isi", "means", (16,), 1.0),
    ("isi", "means", (16, 1), np.nan),
    ("isi", "weights", (0,), 1.0),
    ("isi", "weights", (3000,), 1.0),
    ("isi", "weights variances", (3000,), 1.0),  # fit each other: 72 GB of tables
    ("isi", "variances", (1,), 0.0),
    ("isi-poisson", "rates", (3,), 1.0),
    ("isi-poisson", "rates", (30_000,), 1.0),
    ("isi-poisson", "rates", (16,), -1.0),
]


@pytest.mark.skipif("isi" not in shipped(), reason="no artifact is shipped")
@pytest.mark.parametrize(("name", "which", "shape", "value"), FORGED)
def test_weights_of_other_shapes_or_values_are_refused(
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    which: str,
    shape: tuple[int, ...],
    value: float,
) -> None:
    weights = Artifact.load(name, DetectorCard).weights()
    forged = {k: np.full(shape, value, np.float32) for k in which.split()}
    assert forged.keys() <= weights.keys()
    monkeypatch.setattr(Artifact, "weights", lambda _: {**weights, **forged})
    with pytest.raises(ArtifactError, match="expected finite weights"):
        graph(model=name).accept(REAL)


@pytest.mark.skipif("isi" not in shipped(), reason="no artifact is shipped")
@pytest.mark.parametrize("name", [n for n in shipped() if n.startswith(("isi", "vit"))])
def test_what_is_shipped_is_accepted(name: str) -> None:
    assert set(graph(model=name).accept(REAL)) >= {"llr", "symbols"}
