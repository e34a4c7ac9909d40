"""The equaliser node: framing, restore, erasures, pilots, error rates."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from streamproc.errors import ConfigError, GraphError, PlacementError
from streamproc.frame import FREE, Array, Flags, Frame, Signature
from streamproc.modulation import constellation
from streamproc.nodes.equaliser import Equaliser, EqualiserConfig
from streamproc.sims.isi import Isi, IsiConfig
from streamproc.testing import check_node, run_node

COMPLEX: dict[str, Any] = {"taps": (1.0, 0.4, -0.2), "taps_imag": (0.2, -0.3, 0.4)}
LEVELS: dict[str, Any] = {"constellation": "qam16", "gamma": 1.0, "snr_db": 20.0}
PILOTS: dict[str, Any] = {"pilots": 60, "pilot_period": 700, "pilot_seed": 3}


class Link:
    """A stream and the equaliser of its channel, known or learned."""

    def __init__(self, method: str, *, learned: bool = False, **scene: Any) -> None:
        self.scene = IsiConfig(symbols=500, seed=5, **scene)
        given: dict[str, Any] = {"constellation": self.scene.constellation}
        for name in ("pilots", "pilot_period", "pilot_seed"):
            given[name] = getattr(self.scene, name)
        if learned:
            given["memory"] = len(Isi(self.scene).taps)
        elif self.scene.taps is None:
            given |= {"gamma": self.scene.gamma, "snr_db": self.scene.snr_db}
        else:
            given |= {"taps": self.scene.taps, "taps_imag": self.scene.taps_imag}
            given["noise_var"] = 10 ** (-self.scene.snr_db / 10)
        self.config = EqualiserConfig(method=method, **given)  # type: ignore[arg-type]

    def stream(self, frames: int) -> tuple[Array, Array]:
        """Observations and truth, (symbols,)."""
        scene = Isi(self.scene)
        rows = [scene.next() for _ in range(frames)]
        seen = np.concatenate([row["observation"] for row in rows])
        return seen, np.concatenate([row["truth"] for row in rows])

    def node(self) -> Equaliser:
        return Equaliser(self.config)

    def run(self, frames: list[Frame]) -> dict[str, list[Frame]]:
        dtype = frames[0].data.dtype.str[1:]
        free = {"observation": Signature.of(dtype, {"symbol": FREE})}
        return run_node(self.node(), {"observation": frames}, signatures=free)

    def ser(self, frames: int) -> float:
        seen, truth = self.stream(frames)
        found = joined(self.run(even(seen, 500))["symbols"])
        counts = truth >= 0
        return float(np.mean(found[counts] != truth[counts]))


def framed(seen: Array, sizes: list[int]) -> list[Frame]:
    """Cut a stream into frames; t0 is the index of the first sample."""
    edges = np.cumsum([0, *sizes])
    return [
        Frame.of(seen[first:last].copy(), t0_ns=int(first))
        for first, last in pairwise(edges)
    ]


def even(seen: Array, size: int) -> list[Frame]:
    return framed(seen, [size] * (len(seen) // size))


def joined(frames: list[Frame]) -> Array:
    return np.concatenate([frame.data for frame in frames])


LINKS = {
    "lmmse": Link("lmmse"),
    "dfe": Link("dfe"),
    "lmmse, widely linear": Link("lmmse", **COMPLEX),
    "dfe, learned": Link(
        "dfe", learned=True, constellation="qpsk", **COMPLEX, **PILOTS
    ),
    "lmmse, learned": Link("lmmse", learned=True, **LEVELS, **PILOTS),
}
EACH = pytest.mark.parametrize("name", list(LINKS))


@EACH
def test_equalisers_keep_the_contract(name: str) -> None:
    link = LINKS[name]
    check_node(link.node, {"observation": even(link.stream(8)[0], 100)}, frames=40)


@EACH
def test_framing_does_not_change_a_bit(name: str) -> None:
    link = LINKS[name]
    seen = link.stream(5)[0][:2047].copy()
    seen[[100, 101, 640, 1500]] = np.nan
    rng = np.random.default_rng(5)
    cuts = np.sort(rng.choice(np.arange(1, 2047), 30, replace=False))
    splits = {
        "ones": [1] * 2047,
        "sevens": [7] * 292 + [3],
        "64": [64] * 31 + [63],
        "random": np.diff([0, *cuts, 2047]).tolist(),
        "empty ones between": [0, 100, 0, 0, 1947, 0],
    }
    whole = link.run(framed(seen, [2047]))
    for sizes in splits.values():
        out = link.run(framed(seen, sizes))
        assert [f.data.shape[0] for f in out["symbols"]] == sizes
        assert [f.header.t0_ns for f in out["llr"]] == np.cumsum([0, *sizes])[
            :-1
        ].tolist()
        for port, frames in out.items():
            assert joined(frames).tobytes() == joined(whole[port]).tobytes()


@EACH
def test_symbols_and_llrs_agree(name: str) -> None:
    link = LINKS[name]
    out = link.run(even(link.stream(6)[0], 500))
    made = constellation(link.scene.constellation)
    llr, symbols = joined(out["llr"]), joined(out["symbols"])
    assert symbols.dtype == np.int8 and llr.shape[1:] == (
        (made.bits,) if made.M > 2 else ()
    )
    hard = llr.reshape(-1, made.bits) > 0
    agree = (hard == made.labels[symbols]).all(axis=1)
    # of 16 points, the likeliest may not be that of the likeliest bits
    assert agree.all() if made.M <= 4 else agree.mean() > 0.98


def test_without_memory_errors_are_those_of_the_channel() -> None:
    for snr_db in (0.0, 6.0):
        link = Link("lmmse", memory=1, taps=(1.0,), snr_db=snr_db)
        want = math.erfc(10 ** (snr_db / 20) / 2**0.5) / 2
        spread = 5 * (want / 200_000) ** 0.5
        assert abs(link.ser(400) - want) < spread


def test_fed_back_decisions_help_where_echoes_are_strong() -> None:
    # exact BCJR errs 2.04e-3 here
    linear, fed_back = (Link(m, snr_db=8.0).ser(400) for m in ("lmmse", "dfe"))
    assert 2.04e-3 < fed_back < linear / 2


@pytest.mark.parametrize("method", ["lmmse", "dfe"])
@pytest.mark.parametrize(
    "scene",
    [
        {"gamma": 0.6, "snr_db": 8.0},
        {"constellation": "qpsk", "gamma": 1.0, "snr_db": 10.0},
        {"constellation": "qam16", "gamma": 1.5, "snr_db": 18.0},
        {"constellation": "ook", "gamma": 1.0, "snr_db": 16.0},
    ],
)
def test_a_channel_learned_from_pilots_is_nearly_as_good(
    method: str, scene: dict[str, Any]
) -> None:
    pilots: dict[str, Any] = {"pilots": 200, "pilot_period": 10_000}
    known = Link(method, **scene, **pilots).ser(200)
    learned = Link(method, learned=True, **scene, **pilots).ser(200)
    assert known > 5e-4 and known * 0.9 < learned < known * 1.4


def test_light_is_read_over_its_background() -> None:
    link = Link(
        "dfe",
        learned=True,
        constellation="ook",
        noise="poisson",
        gamma=1.0,
        snr_db=26.0,
        pilots=200,
    )
    assert link.ser(200) < 0.02


def test_each_run_of_pilots_follows_a_channel_that_drifts() -> None:
    drift: dict[str, Any] = {**LEVELS, "snr_db": 25.0, "drift_symbols": 40_000}
    often = Link("lmmse", learned=True, **drift, pilots=100, pilot_period=2000)
    once = Link("lmmse", learned=True, **drift, pilots=100, pilot_period=100_000)
    assert often.ser(200) < 0.1 * once.ser(200)


def test_more_taps_than_a_trellis_can_have() -> None:
    taps = tuple(0.6**lag for lag in range(6))
    scene: dict[str, Any] = {"constellation": "qam16", "taps": taps, "snr_db": 22.0}
    assert Link("dfe", learned=True, **scene, pilots=200).ser(100) < 0.01


def test_what_is_not_finite_is_an_erasure() -> None:
    link = LINKS["lmmse"]
    seen, truth = link.stream(4)
    clean = joined(link.run(even(seen, 500))["llr"])
    seen[[700, 701, 702]] = np.nan, np.inf, -1e200
    node = link.node()
    out = run_node(node, {"observation": even(seen, 500)})
    assert [f.header.flags for f in out["llr"]] == [0, Flags.QUARANTINED, 0, 0]
    assert node.report()["erasures"] == 3
    llr = joined(out["llr"])
    assert np.isfinite(llr).all()
    near = slice(700 - 20, 703 + 20)
    assert (llr[:680] == clean[:680]).all() and (llr[723:] == clean[723:]).all()
    # they are read with less to go by, and say so
    assert np.abs(llr[near]).mean() < np.abs(clean[near]).mean()
    assert abs(llr[701]) < 0.5 * abs(clean[701])
    wrong = (llr > 0) != truth
    assert np.abs(llr[wrong]).max() < 10


@pytest.mark.parametrize("value", [9e99, 1e-300, 0.0])
@EACH
def test_samples_out_of_all_measure_stop_nothing(name: str, value: float) -> None:
    link = LINKS[name]
    seen, _ = link.stream(6)
    seen[[5, 300, 720]] = value
    seen[1400:1460] = value  # whole runs of pilots
    llr = joined(link.run(even(seen, 500))["llr"])
    assert np.isfinite(llr).all()
    assert np.abs(llr[2200:]).mean() > 1  # and are soon forgotten


@EACH
def test_a_stream_of_nothing_says_nothing(name: str) -> None:
    link = LINKS[name]
    seen = link.stream(1)[0]
    out = link.run(even(np.full_like(seen, np.nan), 100))
    assert not joined(out["llr"]).any()


def test_pilots_not_seen_leave_the_channel_as_it_was() -> None:
    link = LINKS["lmmse, learned"]
    seen, _ = link.stream(6)
    seen[700:760] = np.nan
    node = link.node()
    out = run_node(node, {"observation": even(seen, 500)})
    assert node.report()["fits"] == 4  # at 0, 1400, 2100 and 2800
    assert np.abs(joined(out["llr"])[800:1400]).mean() > 1
    seen[:60] = np.nan
    nothing = joined(link.run(even(seen, 500))["llr"])
    assert not nothing[:1400].any() and np.abs(nothing[1400:]).mean() > 1


@pytest.mark.parametrize("symbols", [0, 1, 19, 20, 59, 60, 61, 700, 701, 1000])
@EACH
def test_every_symbol_comes_out_when_inputs_are_over(name: str, symbols: int) -> None:
    link = LINKS[name]
    seen = link.stream(2)[0][:symbols]
    out = link.run(framed(seen, [symbols // 2, symbols - symbols // 2]))
    assert len(joined(out["symbols"])) == len(joined(out["llr"])) == symbols


def test_outputs_are_what_accept_says() -> None:
    real = Signature.of("f4", {"symbol": 512}, unit="V", rate_hz=10.0)
    wide = Signature.of("c8", {"symbol": 512})
    ports = LINKS["lmmse"].node().accept(real)
    assert str(ports["llr"]) == "(symbol 512) f8 nat @ 10 Hz"
    ports = LINKS["lmmse, learned"].node().accept(wide)
    assert str(ports["llr"]) == "(symbol 512, bit 4) f8 nat"
    assert str(ports["symbols"]) == "(symbol 512) i1"
    with pytest.raises(GraphError, match="expected dtype f8 or f4"):
        LINKS["lmmse"].node().accept(wide)
    with pytest.raises(GraphError, match="expected dtype c16 or c8"):
        LINKS["dfe, learned"].node().accept(real)
    with pytest.raises(PlacementError, match="'cpu' only"):
        LINKS["dfe"].node().open("gpu")


@pytest.mark.parametrize("dtype", ["f4", "f8", "c8", "c16"])
def test_a_real_constellation_may_be_learned_from_any_samples(dtype: str) -> None:
    link = Link("dfe", learned=True, gamma=1.0, snr_db=12.0, **PILOTS)
    seen, truth = link.stream(10)
    if dtype[0] == "c":
        seen = seen * np.exp(0.7j)
    out = link.run(even(seen.astype(dtype), 500))
    counts = truth >= 0
    assert np.mean(joined(out["symbols"])[counts] != truth[counts]) < 2e-3


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"snr_db": 6.0}, "taps or gamma, or pilots to learn them"),
        ({"gamma": 0.2}, "either noise_var or snr_db"),
        ({"gamma": 0.2, "snr_db": 6.0, "noise_var": 1.0}, "either noise_var or snr_db"),
        ({"gamma": 0.2, "taps": (1.0,), "snr_db": 6.0}, "either taps or gamma"),
        ({"taps": (1.0,) * 33, "snr_db": 6.0}, "taps: expected 1 to 32"),
        ({"taps": (1.0,), "taps_imag": (1.0, 2.0), "snr_db": 6.0}, "as many as taps"),
        ({"gamma": 0.2, "taps_imag": (1.0,), "snr_db": 6.0}, "as many as taps"),
        ({"gamma": 0.2, "snr_db": 6.0, "feedback": 2}, "feeds nothing back, got 2"),
        ({"pilots": 8}, "pilots: expected at least 9 for a memory of 4, got 8"),
        ({"pilots": 99, "snr_db": 6.0}, "noise_var, snr_db: learned from pilots"),
        ({"pilots": 99, "pilot_period": 9}, r"0 to pilot_period \(9\)"),
        ({"constellation": "qam", "pilots": 99}, "did you mean 'qam16'"),
    ],
)
def test_what_cannot_be_is_refused(fields: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        EqualiserConfig(**fields)
