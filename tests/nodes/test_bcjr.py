"""Streaming BCJR: reference error rates, framing, restore, erasures."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from streamproc.errors import ConfigError, GraphError
from streamproc.frame import FREE, Array, Flags, Frame, Header, Signature
from streamproc.nodes.bcjr import Bcjr, BcjrConfig
from streamproc.sims.isi import Isi, IsiConfig, channel_taps
from streamproc.testing import check_node, run_node
from streamproc_kernels import pick

ANY_SIZE = {"observation": Signature.of("f8", {"symbol": FREE})}
CONFIG = BcjrConfig(gamma=0.2, snr_db=6.0)


def stream(seed: int, snr_db: float, symbols: int) -> tuple[Array, Array]:
    """Observations and truth, (symbols,) each."""
    scene = Isi(IsiConfig(seed=seed, snr_db=snr_db, symbols=4096))
    rows = [scene.next() for _ in range(-(-symbols // 4096))]
    seen = np.concatenate([row["observation"] for row in rows])
    return seen[:symbols], np.concatenate([row["truth"] for row in rows])[:symbols]


def framed(seen: Array, sizes: list[int]) -> list[Frame]:
    """Cut a stream into frames; t0 is the index of the first sample."""
    edges = np.cumsum([0, *sizes])
    return [
        Frame.of(seen[first:last].copy(), t0_ns=int(first))
        for first, last in pairwise(edges)
    ]


def even(seen: Array, size: int) -> list[Frame]:
    return framed(seen, [size] * (len(seen) // size))


def detect(frames: list[Frame], config: BcjrConfig = CONFIG) -> list[Frame]:
    out = run_node(Bcjr(config), {"observation": frames}, signatures=ANY_SIZE)
    for llr, symbols in zip(out["llr"], out["symbols"], strict=True):
        np.testing.assert_array_equal(symbols.data, np.where(llr.data < 0, -1, 1))
    return out["llr"]


def joined(frames: list[Frame]) -> Array:
    return np.concatenate([frame.data for frame in frames])


def whole(seen: Array, snr_db: float) -> Array:
    """LLRs given everything that was seen, from the kernel alone."""
    bits = np.arange(16)[:, None] >> np.arange(4) & 1
    means = (2.0 * bits - 1.0) @ channel_taps(0.2)
    loglik = -((seen[:, None] - means) ** 2) / 2 * 10 ** (snr_db / 10)
    llr = np.empty((1, len(seen)))
    pick("bcjr", "cpu")(loglik[None], len(seen), np.full((1, 16), 1 / 16), llr)
    return np.asarray(llr[0])


def test_bcjr_keeps_the_contract() -> None:
    frames = even(stream(1, 6.0, 20 * 50)[0], 50)
    check_node(lambda: Bcjr(CONFIG), {"observation": frames})


@pytest.mark.parametrize(
    ("snr_db", "reference", "reference_se", "symbols"),
    [
        (-6.0, 0.27287, 2e-4, 2_000_000),
        (0.0, 0.15489, 2e-4, 2_000_000),
        (4.0, 0.04924, 2e-4, 2_000_000),
        (6.0, 1.404e-2, 6e-5, 4_000_000),
        (8.0, 2.041e-3, 2.3e-5, 8_000_000),
    ],
)
def test_error_rates_are_those_of_exact_bcjr(
    snr_db: float, reference: float, reference_se: float, symbols: int
) -> None:
    seen, sent = stream(11, snr_db, symbols)
    config = BcjrConfig(gamma=0.2, snr_db=snr_db, window=992)
    llr = joined(detect(even(seen, 50_000), config))
    wrong = (llr > 0) != (sent > 0)
    # errors come in bursts, so the spread is taken over pieces of 50 000
    pieces = wrong.reshape(-1, 50_000).mean(axis=1)
    se = pieces.std(ddof=1) / len(pieces) ** 0.5
    assert abs(pieces.mean() - reference) < 3 * np.hypot(se, reference_se)


def against_the_whole(lag: int, window: int) -> tuple[int, Array]:
    """Differing decisions, and |p - p| of every symbol, in a million at 6 dB."""
    differing, off = 0, []
    for seed in range(4):
        seen, _ = stream(seed, 6.0, 250_000)
        config = BcjrConfig(gamma=0.2, snr_db=6.0, lag=lag, window=window)
        streamed = joined(detect(even(seen, 500), config))
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


def test_framing_does_not_change_a_bit() -> None:
    seen, _ = stream(2, 4.0, 4095)
    rng = np.random.default_rng(5)
    cuts = np.sort(rng.choice(np.arange(1, 4095), 60, replace=False))
    splits = {
        "ones": [1] * 4095,
        "sevens": [7] * 585,
        "64": [64] * 63 + [63],
        "512": [512] * 7 + [511],
        "random": np.diff([0, *cuts, 4095]).tolist(),
        "empty ones between": [0, 100, 0, 0, 3995, 0],
    }
    wanted = joined(detect(framed(seen, [4095])))
    for sizes in splits.values():
        assert joined(detect(framed(seen, sizes))).tobytes() == wanted.tobytes()


@pytest.mark.parametrize("symbols", [0, 1, 39, 40, 41, 160, 200, 201, 1000])
def test_every_symbol_comes_out_when_inputs_are_over(symbols: int) -> None:
    seen = stream(7, 6.0, 1000)[0][:symbols]
    llr = joined(detect(framed(seen, [symbols // 2, symbols - symbols // 2])))
    assert len(llr) == symbols
    # nothing is known after the last one, as in the whole sequence
    np.testing.assert_allclose(llr[-200:], whole(seen, 6.0)[-200:], atol=1e-3)


def test_a_detector_restored_between_its_last_frames_gives_the_rest() -> None:
    frames = even(stream(8, 6.0, 500)[0], 50)
    wanted = detect(frames)
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
    assert [g.llr.data.tobytes() for g in given] == [f.data.tobytes() for f in wanted]


def test_frames_come_out_with_their_own_time_and_size() -> None:
    seen, _ = stream(3, 6.0, 3000)
    sizes = [100, 1, 7, 512, 0, 300, 64, 1000]
    out = detect(framed(seen, sizes))
    assert [len(frame.data) for frame in out] == sizes
    starts = np.cumsum([0, *sizes[:-1]]).tolist()
    assert [frame.header.t0_ns for frame in out] == starts


@pytest.mark.parametrize("size", [1, 40, 512])
def test_a_restored_detector_goes_on_exactly(size: int) -> None:
    seen, _ = stream(4, 6.0, size * 200)
    check_node(lambda: Bcjr(CONFIG), {"observation": even(seen, size)}, frames=199)


def test_what_is_not_a_number_is_an_erasure_counted_and_flagged() -> None:
    seen, sent = stream(5, 8.0, 4000)
    bad = seen.copy()
    bad[1000], bad[1001], bad[2050], bad[3000] = np.nan, np.inf, -np.inf, 1e200
    node = Bcjr(BcjrConfig(gamma=0.2, snr_db=8.0))
    out = run_node(node, {"observation": even(bad, 100)})["llr"]
    flagged = [n for n, f in enumerate(out) if f.header.flags & Flags.QUARANTINED]
    assert flagged == [10, 20, 30]
    assert node.report() == {"erasures": 4}
    llr = joined(out)
    assert np.isfinite(llr).all()
    # the channel's memory fills most gaps: two errors in a thousand, plus these
    assert np.count_nonzero((llr > 0) != (sent > 0)) < 30


def test_an_erased_stream_says_nothing() -> None:
    llr = joined(detect(even(np.full(400, np.nan), 100)))
    np.testing.assert_allclose(llr, 0, atol=1e-12)


def test_flags_and_entry_time_travel_with_their_frame() -> None:
    frames = [
        Frame(Header("", 0, n, 10 + n, Flags.GAP if n == 1 else 0), {"data": data})
        for n, data in enumerate(np.zeros((6, 50)))
    ]
    out = detect(frames)
    assert [f.header.t_in_ns for f in out] == [10 + n for n in range(6)]
    assert [f.header.flags for f in out] == [0, Flags.GAP, 0, 0, 0, 0]


def test_shorter_channels_and_other_namings_of_the_noise_are_the_same() -> None:
    seen, _ = stream(6, 6.0, 1000)
    taps = channel_taps(0.2)
    named = joined(detect(even(seen, 100), BcjrConfig(taps=taps, snr_db=6.0)))
    given = joined(detect(even(seen, 100), BcjrConfig(taps=taps, noise_var=10**-0.6)))
    assert named.tobytes() == joined(detect(even(seen, 100))).tobytes()
    np.testing.assert_allclose(named, given, rtol=1e-12, atol=1e-12)
    sent = np.where(np.random.default_rng(0).random(500) < 0.5, -1.0, 1.0)
    alone = joined(detect(even(sent, 50), BcjrConfig(taps=(1.0,), noise_var=1.0)))
    # without memory the LLR is 2 y / noise_var
    np.testing.assert_allclose(alone, 2 * sent, atol=1e-12)


@pytest.mark.parametrize(
    "fields",
    [
        {"snr_db": 6.0},
        {"gamma": 0.2},
        {"gamma": 0.2, "taps": (1.0,), "snr_db": 6.0},
        {"gamma": 0.2, "snr_db": 6.0, "noise_var": 1.0},
        {"taps": (1.0,) * 5, "snr_db": 6.0},
    ],
)
def test_a_channel_not_given_exactly_once_is_refused(fields: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="expected"):
        BcjrConfig(**fields)  # type: ignore[arg-type]


def test_images_are_refused() -> None:
    with pytest.raises(GraphError, match="1 dims"):
        Bcjr(CONFIG).accept(Signature.of("f8", {"z": 3, "x": 4}))
