"""Streaming BCJR: reference error rates, framing, restore, erasures, other channels."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

from streamproc.errors import ConfigError, GraphError
from streamproc.frame import FREE, Array, Flags, Frame, Header, Signature
from streamproc.nodes.bcjr import Bcjr, BcjrConfig
from streamproc.sims.isi import Isi, IsiConfig
from streamproc.testing import check_node, run_node
from streamproc_kernels import pick

from .sent import contents, detect, errors, even, framed, joined, sent

CONFIG = BcjrConfig(gamma=0.2, snr_db=6.0)
TAPS = np.exp(-0.2 * np.arange(4))


def stream(seed: int, snr_db: float, symbols: int) -> tuple[Array, Array]:
    return sent(symbols, seed=seed, snr_db=snr_db)


def llrs(frames: list[Frame], config: BcjrConfig = CONFIG) -> Array:
    """LLRs of a stream, whose other ports say the same."""
    out = detect(Bcjr(config), frames)
    llr, share = joined(out["llr"]), joined(out["posterior"])
    np.testing.assert_array_equal(joined(out["symbols"]), llr > 0)
    np.testing.assert_allclose(share[:, 1], 1 / (1 + np.exp(-llr)), rtol=1e-12)
    np.testing.assert_allclose(share.sum(axis=1), 1, rtol=1e-12)
    return llr


def whole(seen: Array, snr_db: float) -> Array:
    """LLRs given everything that was seen, from the kernel alone."""
    bits = np.arange(16)[:, None] >> np.arange(4) & 1
    means = (2.0 * bits - 1.0) @ TAPS
    loglik = -((seen[:, None] - means) ** 2) / 2 * 10 ** (snr_db / 10)
    n = len(seen)
    odds, evidence, alpha = (
        np.empty((1, n, 2)),
        np.empty((1, n)),
        np.full((1, 8), 0.125),
    )
    bcjr, nothing = pick("bcjr", "cpu"), np.empty((1, 0, 2))
    bcjr(loglik[None], nothing, max(n, 1), 0, alpha, odds, evidence)
    return np.asarray(odds[0, :, 1])


def test_bcjr_keeps_the_contract() -> None:
    frames = even(stream(1, 6.0, 20 * 50)[0], 50)
    check_node(lambda: Bcjr(CONFIG), {"observation": frames})


@pytest.mark.parametrize(
    ("snr_db", "reference", "reference_se", "symbols"),
    [
        (-6.0, 0.27287, 2e-4, 1_000_000),
        (0.0, 0.15489, 2e-4, 1_000_000),
        (4.0, 0.04924, 2e-4, 1_000_000),
        (6.0, 1.404e-2, 6e-5, 2_000_000),
        (8.0, 2.041e-3, 2.3e-5, 4_000_000),
    ],
)
def test_error_rates_are_those_of_exact_bcjr(
    snr_db: float, reference: float, reference_se: float, symbols: int
) -> None:
    seen, truth = stream(11, snr_db, symbols)
    out = detect(Bcjr(BcjrConfig(gamma=0.2, snr_db=snr_db)), even(seen, 50_000))
    wrong = joined(out["symbols"]) != truth
    # errors come in bursts, so the spread is taken over pieces of 50 000
    pieces = wrong.reshape(-1, 50_000).mean(axis=1)
    se = pieces.std(ddof=1) / len(pieces) ** 0.5
    assert abs(pieces.mean() - reference) < 3 * np.hypot(se, reference_se)
    # what it says of its own errors is true, as they are
    said = np.mean([frame.data[0] for frame in out["confidence"]])
    assert said == pytest.approx(reference, rel=0.03)


def against_the_whole(lag: int, window: int) -> tuple[int, Array]:
    """Differing decisions, and |p - p| of every symbol, in a million at 6 dB."""
    differing, off = 0, []
    for seed in range(4):
        seen, _ = stream(seed, 6.0, 250_000)
        config = BcjrConfig(gamma=0.2, snr_db=6.0, lag=lag, window=window)
        streamed = llrs(even(seen, 500), config)
        exact = whole(seen, 6.0)
        differing += int(np.count_nonzero((streamed > 0) != (exact > 0)))
        off.append(np.abs(1 / (1 + np.exp(-streamed)) - 1 / (1 + np.exp(-exact))))
    return differing, np.concatenate(off)


def test_a_lag_of_32_decides_as_the_whole_sequence_does() -> None:
    differing, off = against_the_whole(lag=32, window=32)
    assert differing == 0
    # long alternating error patterns outlast the lag now and then: in 4 million
    # symbols 34 were off by more than 1e-5, so 8 or 9 of these
    assert np.count_nonzero(off > 1e-5) < 8.5 + 5 * 8.5**0.5


@pytest.mark.parametrize("window", [40, 160])
def test_a_lag_of_40_gives_the_posteriors_of_the_whole_sequence(window: int) -> None:
    differing, off = against_the_whole(lag=40, window=window)
    assert differing == 0 and off.max() <= 1e-5


CHANNELS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "bpsk": ({}, {"gamma": 0.2, "snr_db": 4.0}),
    "pilots": (
        {"pilots": 60, "pilot_period": 700, "pilot_seed": 3},
        {"pilots": 60, "pilot_period": 700, "pilot_seed": 3, "memory": 4},
    ),
    "qpsk": (
        {"constellation": "qpsk", "taps": (1.0, 0.4), "taps_imag": (0.1, -0.3)},
        {
            "constellation": "qpsk",
            "taps": (1.0, 0.4),
            "taps_imag": (0.1, -0.3),
            "noise_var": 10**-0.4,
        },
    ),
}
SPLITS: dict[str, list[int]] = {
    "ones": [1] * 2495,
    "sevens": [7] * 356 + [3],
    "64": [64] * 38 + [63],
    "512": [512] * 4 + [447],
    "random": np.diff(
        [0, *np.sort(np.random.default_rng(5).integers(1, 2495, 40)), 2495]
    ).tolist(),
    "empty ones between": [0, 100, 0, 0, 2395, 0],
}


@pytest.mark.parametrize("algorithm", ["sum_product", "max_log", "viterbi"])
@pytest.mark.parametrize("channel", CHANNELS)
def test_framing_does_not_change_a_bit(channel: str, algorithm: Any) -> None:
    scene, told = CHANNELS[channel]
    seen, _ = sent(2495, seed=2, snr_db=4.0, **scene)
    config = BcjrConfig(algorithm=algorithm, **told)
    wanted = contents(detect(Bcjr(config), framed(seen, [2495])))
    assert "symbols" in wanted and ("llr" in wanted) == (algorithm != "viterbi")
    for name, sizes in SPLITS.items():
        assert contents(detect(Bcjr(config), framed(seen, sizes))) == wanted, name


@pytest.mark.parametrize("symbols", [0, 1, 39, 40, 41, 160, 200, 201, 1000])
def test_every_symbol_comes_out_when_inputs_are_over(symbols: int) -> None:
    seen = stream(7, 6.0, 1000)[0][:symbols]
    llr = llrs(framed(seen, [symbols // 2, symbols - symbols // 2]))
    assert len(llr) == symbols
    # nothing is known after the last one, as in the whole sequence
    np.testing.assert_allclose(llr[-200:], whole(seen, 6.0)[-200:], atol=1e-3)


def test_a_detector_restored_between_its_last_frames_gives_the_rest() -> None:
    frames = even(stream(8, 6.0, 500)[0], 50)
    wanted = detect(Bcjr(CONFIG), frames)["llr"]
    first = Bcjr(CONFIG)
    first.open("cpu")
    given = [made for frame in frames if (made := first.process(frame))]
    ends = first.finish()
    given += [next(iter(ends)), next(iter(ends))]
    second = Bcjr(CONFIG)
    second.open("cpu")
    second.state = {name: array.copy() for name, array in first.state.items()}
    given += second.finish()
    assert list(second.finish()) == []
    soft = [one.llr.data.tobytes() for one in given if one.llr is not None]
    assert soft == [frame.data.tobytes() for frame in wanted]


def test_frames_come_out_with_their_own_time_and_size() -> None:
    seen, _ = stream(3, 6.0, 3000)
    sizes = [100, 1, 7, 512, 0, 300, 64, 1000]
    out = detect(Bcjr(CONFIG), framed(seen, sizes))
    starts = np.cumsum([0, *sizes[:-1]]).tolist()
    for port in ("llr", "symbols", "posterior"):
        assert [len(frame.data) for frame in out[port]] == sizes
    for frames in out.values():
        assert [frame.header.t0_ns for frame in frames] == starts


@pytest.mark.parametrize("size", [1, 40, 512])
def test_a_restored_detector_goes_on_exactly(size: int) -> None:
    seen, _ = stream(4, 6.0, size * 100)
    check_node(lambda: Bcjr(CONFIG), {"observation": even(seen, size)}, frames=99)


@pytest.mark.parametrize("channel", ["pilots", "qpsk"])
def test_other_channels_are_restored_exactly(channel: str) -> None:
    scene, told = CHANNELS[channel]
    seen, _ = sent(3000, seed=2, snr_db=4.0, **scene)
    config = BcjrConfig(**told)
    for size, frames in ((30, 3), (70, 40)):  # before anything is learned, and after
        check_node(
            lambda: Bcjr(config), {"observation": even(seen, size)}, frames=frames
        )


def test_what_is_not_a_number_is_an_erasure_counted_and_flagged() -> None:
    seen, truth = stream(5, 8.0, 4000)
    bad = seen.copy()
    bad[1000], bad[1001], bad[2050], bad[3000] = np.nan, np.inf, -np.inf, 1e200
    node = Bcjr(BcjrConfig(gamma=0.2, snr_db=8.0))
    out = run_node(node, {"observation": even(bad, 100)})
    flags = [frame.header.flags for frame in out["llr"]]
    assert [n for n, f in enumerate(flags) if f & Flags.QUARANTINED] == [10, 20, 30]
    assert node.report() == {"erasures": 4, "wrong_frames": 0}
    assert np.isfinite(joined(out["llr"])).all()
    # the channel's memory fills most gaps: two errors in a thousand, plus these
    assert errors(joined(out["symbols"]), truth) < 30 / 4000


def test_an_erased_stream_says_nothing() -> None:
    out = detect(Bcjr(CONFIG), even(np.full(400, np.nan), 100))
    np.testing.assert_allclose(joined(out["llr"]), 0, atol=1e-12)
    error, loss = out["confidence"][0].data
    assert error == pytest.approx(0.5) and np.isnan(loss)


def test_flags_and_entry_time_travel_with_their_frame() -> None:
    seen, _ = stream(6, 6.0, 300)
    frames = [
        Frame(Header("", 0, n, 10 + n, Flags.GAP if n == 1 else 0), {"data": data})
        for n, data in enumerate(seen.reshape(6, 50))
    ]
    out = detect(Bcjr(CONFIG), frames)["llr"]
    assert [f.header.t_in_ns for f in out] == [10 + n for n in range(6)]
    assert [f.header.flags for f in out] == [0, Flags.GAP, 0, 0, 0, 0]


def test_nothing_is_allocated_but_what_leaves() -> None:
    observed, _ = sent(12 * 4096, snr_db=6.0)
    node = Bcjr(BcjrConfig(gamma=0.2, snr_db=6.0))
    node.accept(Signature.of("f8", {"symbol": FREE}))
    node.open("cpu")
    tracemalloc.start()
    try:
        for n, frame in enumerate(even(observed, 4096)):
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            made = node.process(frame)
            _, peak = tracemalloc.get_traced_memory()
            leaves = sum(one.data.nbytes for one in made or () if one is not None)
            assert n < 5 or leaves > 4096 * 25  # llr, posterior, symbols
            assert n < 5 or peak - before - leaves < 4096
    finally:
        tracemalloc.stop()


def test_other_namings_of_channel_and_noise_are_the_same() -> None:
    seen, _ = stream(6, 6.0, 1000)
    taps = tuple(TAPS.tolist())
    wanted = llrs(even(seen, 100))
    named = llrs(even(seen, 100), BcjrConfig(taps=taps, snr_db=6.0))
    given = llrs(even(seen, 100), BcjrConfig(taps=taps, noise_var=10**-0.6))
    assert named.tobytes() == wanted.tobytes()
    np.testing.assert_allclose(named, given, rtol=1e-12, atol=1e-12)
    single = llrs(even(seen.astype(np.float32), 100))
    np.testing.assert_allclose(single, wanted, atol=1e-3)
    wide = BcjrConfig(taps=taps, noise_var=2 * 10**-0.6)  # a half of it on each axis
    np.testing.assert_allclose(llrs(even(seen + 0j, 100), wide), wanted, rtol=1e-9)


def test_without_memory_the_llr_is_that_of_a_sample() -> None:
    y = np.where(np.random.default_rng(0).random(500) < 0.5, -1.0, 1.0)
    alone = llrs(even(y, 50), BcjrConfig(taps=(1.0,), noise_var=1.0))
    np.testing.assert_allclose(alone, 2 * y, atol=1e-12)


def test_sixteen_points_without_memory_are_told_by_their_bits() -> None:
    scene: dict[str, Any] = {"constellation": "qam16", "taps": (1.0,)}
    seen, truth = sent(8000, seed=3, snr_db=15.0, **scene)
    config = BcjrConfig(constellation="qam16", taps=(1.0,), snr_db=15.0)
    out = detect(Bcjr(config), even(seen, 500))
    assert joined(out["llr"]).shape == (8000, 4)
    assert joined(out["posterior"]).shape == (8000, 16)
    bits = truth[:, None] >> np.arange(4)[::-1] & 1
    # 3/2 Q(sqrt(0.2 * 10^1.5)) (1 - ...) = 1.8e-2 symbol errors, a quarter in bits
    assert errors(joined(out["symbols"]), truth) == pytest.approx(1.78e-2, rel=0.25)
    wrong = np.mean((joined(out["llr"]) > 0) != bits)
    assert wrong == pytest.approx(1.78e-2 / 4, rel=0.25)
    said = np.mean([frame.data[0] for frame in out["confidence"]])
    assert said == pytest.approx(1.78e-2, rel=0.1)


def test_a_channel_fitted_to_pilots_is_as_good_as_told() -> None:
    scene: dict[str, Any] = {"pilots": 500, "pilot_period": 10_000, "pilot_seed": 7}
    seen, truth = sent(200_000, seed=6, snr_db=6.0, **scene)
    fitted = detect(Bcjr(BcjrConfig(**scene)), even(seen, 500))["symbols"]
    told = detect(Bcjr(BcjrConfig(gamma=0.2, snr_db=6.0, **scene)), even(seen, 500))
    best = errors(joined(told["symbols"]), truth)
    assert best == pytest.approx(1.404e-2, rel=0.1)
    assert errors(joined(fitted), truth) < 1.06 * best


def test_known_symbols_are_decided_as_known_and_help_their_neighbours() -> None:
    scene: dict[str, Any] = {"pilots": 2, "pilot_period": 4, "pilot_seed": 7}
    seen, truth = sent(40_000, seed=6, snr_db=0.0, **scene)
    blind = detect(Bcjr(BcjrConfig(gamma=0.2, snr_db=0.0)), even(seen, 500))
    told = detect(Bcjr(BcjrConfig(gamma=0.2, snr_db=0.0, **scene)), even(seen, 500))
    found = joined(told["symbols"])
    pilots = BcjrConfig(gamma=0.2, snr_db=0.0, **scene).known()
    assert pilots is not None
    known = pilots.known(0, 40_000, 2)
    np.testing.assert_array_equal(found[known >= 0], known[known >= 0])
    # 0.55 where both pilots are alike, 0.71 where not, as here
    assert errors(found, truth) < 0.75 * errors(joined(blind["symbols"]), truth)
    # what it expects of its errors leaves pilots out, as the truth does
    said = np.mean([frame.data[0] for frame in told["confidence"]])
    assert said == pytest.approx(errors(found, truth), rel=0.05)


def fading(scene: dict[str, Any], frames: int) -> Array:
    """Observations of frames as the scene cuts them, for taps may change with them."""
    sim = Isi(IsiConfig(**scene))
    return np.concatenate([sim.next()["observation"] for _ in range(frames)])


@pytest.mark.parametrize(("snr_db", "area"), [(0.0, 0.9), (4.0, 0.98), (8.0, 0.99)])
def test_frames_of_a_wrong_channel_are_told(snr_db: float, area: float) -> None:
    figures, flagged = [], []
    for error in (0.0, 0.1):
        seen = fading({"tap_error_var": error, "snr_db": snr_db, "symbols": 500}, 400)
        node = Bcjr(BcjrConfig(gamma=0.2, snr_db=snr_db))
        out = detect(node, even(seen, 500))["confidence"]
        figures.append(np.array([frame.data[1] for frame in out]))
        flags = [bool(frame.header.flags & Flags.DEGRADED) for frame in out]
        assert sum(flags) == node.report()["wrong_frames"]
        flagged.append(np.mean(flags))
    right, wrong = figures
    assert abs(right.mean()) < 0.002 and flagged[0] == 0
    # area under the curve: how often a right frame's figure is above a wrong one's
    assert np.mean(right[:, None] > wrong) > area
    assert snr_db < 8 or flagged[1] > 0.9


@pytest.mark.parametrize(
    "fields",
    [
        {"snr_db": 6.0},
        {"gamma": 0.2},
        {"gamma": 0.2, "taps": (1.0,), "snr_db": 6.0},
        {"gamma": 0.2, "snr_db": 6.0, "noise_var": 1.0},
        {"taps": (1.0, 0.5), "taps_imag": (0.1,), "snr_db": 6.0},
        {"gamma": 0.2, "taps_imag": (0.1,), "snr_db": 6.0},
        {"taps": (1.0, 0.5), "memory": 3, "snr_db": 6.0},
        {"pilots": 10, "gamma": 0.2},
        {"pilots": 10, "taps_imag": (0.1,)},
        {"pilots": 10, "pilot_period": 5},
    ],
)
def test_a_channel_not_given_exactly_once_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="expected"):
        BcjrConfig(**fields)


def test_more_than_a_trellis_can_hold_is_refused() -> None:
    with pytest.raises(ConfigError, match="equaliser"):
        Bcjr(BcjrConfig(constellation="qam16", gamma=0.2, snr_db=6.0))
    with pytest.raises(ConfigError, match="memory"):
        Bcjr(BcjrConfig(taps=(0.1,) * 7, snr_db=6.0))


def test_samples_of_the_wrong_kind_are_refused() -> None:
    with pytest.raises(GraphError, match="1 dims"):
        Bcjr(CONFIG).accept(Signature.of("f8", {"z": 3, "x": 4}))
    real = Signature.of("f8", {"symbol": 4})
    with pytest.raises(GraphError, match="complex"):
        Bcjr(BcjrConfig(constellation="qpsk", gamma=1.0, snr_db=6.0)).accept(real)
    with pytest.raises(GraphError, match="complex"):
        Bcjr(BcjrConfig(taps=(1.0,), taps_imag=(0.5,), snr_db=6.0)).accept(real)
