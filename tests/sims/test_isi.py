"""The channel scene: symbols, memory over frames, noises, drift, fading, pilots."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamproc.errors import ConfigError
from streamproc.frame import Array
from streamproc.modulation import Pilots, constellation
from streamproc.sims.isi import Isi, IsiConfig, channel_taps
from streamproc_kernels import pick

QUIET: dict[str, Any] = {"snr_db": 300.0}  # noise of 1e-15
COMPLEX: dict[str, Any] = {"taps": (1.0, 0.3, -0.2), "taps_imag": (0.1, -0.4, 0.5)}


def isi(**fields: Any) -> IsiConfig:
    return IsiConfig(**fields)


def stream(config: IsiConfig, frames: int) -> dict[str, Array]:
    """What each port gave, (symbols,), of taps (frames, taps)."""
    scene = Isi(config)
    rows = [scene.next() for _ in range(frames)]
    ports = {port: np.array([row[port] for row in rows]) for port in rows[0]}
    return {p: a if p == "taps" else a.ravel() for p, a in ports.items()}


def sent(config: IsiConfig, truth: Array) -> Array:
    """Points sent: of the truth, or of the pilots."""
    M = constellation(config.constellation).M
    pilots = Pilots(
        count=config.pilots, period=config.pilot_period, seed=config.pilot_seed
    )
    index = np.where(truth < 0, pilots.known(0, len(truth), M), truth)
    return constellation(config.constellation).points[index]


def residual(config: IsiConfig, frames: int) -> Array:
    """Noise alone: what was seen less what the taps make of the truth."""
    found = stream(config, frames)
    points = sent(config, found["truth"])
    clean = np.convolve(points, found["taps"][0])[: len(points)]
    if not np.iscomplexobj(found["observation"]):
        clean = clean.real
    return (found["observation"] - clean)[6:]


def errors_bound(values: Array) -> float:
    """Five standard errors of the mean."""
    return float(5 * values.std() / len(values) ** 0.5)


@pytest.mark.parametrize("name", ["bpsk", "ook", "qpsk", "qam16"])
@pytest.mark.parametrize("taps", [{"gamma": 0.2, "memory": 6}, {"memory": 1}, COMPLEX])
def test_the_channel_remembers_across_frames_and_chunks(
    name: str, taps: dict[str, Any]
) -> None:
    config = isi(constellation=name, **taps, **QUIET)
    assert abs(residual(config, 130)).max() < 1e-12


@pytest.mark.parametrize("name", ["bpsk", "qam16"])
def test_symbols_are_fair_and_independent(name: str) -> None:
    index = stream(isi(seed=1, constellation=name), 200)["truth"]
    M = constellation(name).M
    assert index.dtype == np.int8
    # of 102 400 symbols, five standard errors
    pairs = np.bincount(index[1:].astype(int) * M + index[:-1], minlength=M * M)
    share = 1 / M**2
    assert abs(pairs / len(index) - share).max() < 5 * (share / len(index)) ** 0.5


def test_complex_where_points_or_taps_are() -> None:
    for name, taps, dtypes in [
        ("bpsk", {}, "f8 f8"),
        ("qpsk", {}, "c16 f8"),
        ("bpsk", COMPLEX, "c16 c16"),
    ]:
        ports = Isi(isi(constellation=name, **taps)).signatures()
        given = f"{ports['observation'].data.dtype} {ports['taps'].data.dtype}"
        assert given == dtypes


@pytest.mark.parametrize("noise", ["gaussian", "laplace"])
@pytest.mark.parametrize("name", ["bpsk", "qpsk"])
def test_the_snr_is_one_over_the_noise_variance_whatever_the_taps(
    noise: str, name: str
) -> None:
    for gamma in (0.1, 2.0):
        config = isi(
            seed=2,
            gamma=gamma,
            snr_db=4.0,
            noise=noise,
            constellation=name,
        )
        noise_of = residual(config, 200)
        power = np.abs(noise_of) ** 2
        assert abs(power.mean() - 10**-0.4) < errors_bound(power)
        if name == "qpsk":
            parts = noise_of.real**2 - noise_of.imag**2
            assert abs(parts.mean()) < errors_bound(parts)
            product = noise_of.real * noise_of.imag
            assert abs(product.mean()) < errors_bound(product)


@pytest.mark.parametrize(("noise", "kurtosis"), [("gaussian", 3.0), ("laplace", 6.0)])
def test_noises_have_their_tails(noise: str, kurtosis: float) -> None:
    w = residual(isi(noise=noise, snr_db=0.0), 400)
    assert abs(np.mean(w**4) - kurtosis) < errors_bound(w**4)


def test_impulses_are_rare_and_strong() -> None:
    config = isi(noise="impulsive", snr_db=0.0, impulse_rate=0.1, impulse_db=40)
    w = residual(config, 400)
    # of impulses, 100 wide, 4 % are under 5; of the background none in 200 000
    strong = (np.abs(w) > 5).astype(float)
    assert abs(strong.mean() - 0.1 * 0.96012) < errors_bound(strong)
    power = w[np.abs(w) > 5] ** 2
    assert power.mean() == pytest.approx(1e4 / 0.96012, rel=0.05)
    assert w[np.abs(w) < 5].var() == pytest.approx(1.0, abs=0.1)


def test_counts_have_the_mean_and_variance_of_their_rate() -> None:
    config = isi(constellation="ook", noise="poisson", snr_db=14.0, gamma=1.0)
    found = stream(config, 400)
    points = sent(config, found["truth"]).real
    rate = 10**0.7 * np.convolve(points, found["taps"][0])[: len(points)] + 1
    rate, counts = rate[3:], found["observation"][3:]
    assert (counts == np.round(counts)).all() and counts.min() == 0
    for one in np.unique(np.round(rate, 9)):
        drawn = counts[np.isclose(rate, one)]
        assert abs(drawn.mean() - one) < errors_bound(drawn)
        spread = (drawn - one) ** 2
        assert abs(spread.mean() - one) < errors_bound(spread)


def test_drifting_taps_follow_their_cosines_over_frames_and_chunks() -> None:
    config = isi(memory=6, drift_symbols=5000, **QUIET)
    found = stream(config, 200)
    points = sent(config, found["truth"]).real
    t = np.arange(len(points))
    want = np.zeros(len(points))
    taps = np.exp(-0.2 * np.arange(6))[:, None] * (
        0.8
        + 0.2
        * np.cos(
            2 * np.pi * t / np.outer([51, 39, 33, 21, 27, 45], 5000 / 51).reshape(6, 1)
        )
    )
    for lag in range(6):
        want[5:] += taps[lag, 5:] * points[5 - lag : len(points) - lag]
    np.testing.assert_allclose(found["observation"][5:], want[5:], atol=1e-9)
    np.testing.assert_allclose(found["taps"], taps.T[256::512], atol=1e-9)
    assert taps[0].min() == pytest.approx(0.6) and taps[0].max() == 1.0


@pytest.mark.parametrize("kind", ["multiplicative", "additive"])
@pytest.mark.parametrize("taps", [{"gamma": 1.0}, COMPLEX])
def test_a_tap_error_is_drawn_anew_for_every_frame(
    kind: str, taps: dict[str, Any]
) -> None:
    config = isi(
        tap_error_var=0.1,
        tap_error=kind,
        symbols=20,
        **taps,
        **QUIET,
    )
    found = stream(config, 3000)
    nominal = Isi(config).taps
    error = found["taps"] - nominal
    if kind == "multiplicative":
        error = error / nominal
    for tap in error.T:
        power = np.abs(tap) ** 2
        assert abs(power.mean() - 0.1) < errors_bound(power)
        assert abs(tap.mean()) < errors_bound(tap)
        assert abs(np.vdot(tap[1:], tap[:-1])) / 3000 < 5 * 0.1 / 3000**0.5
    points = sent(config, found["truth"])
    want = np.zeros(len(points), complex)
    for lag in range(len(nominal)):
        part = np.concatenate([np.zeros(lag), points[: len(points) - lag]])
        want += np.repeat(found["taps"][:, lag], 20) * part
    np.testing.assert_allclose(found["observation"][6:], want[6:], atol=1e-12)


@pytest.mark.parametrize("name", ["bpsk", "qam16"])
def test_pilots_are_sent_and_not_scored(name: str) -> None:
    config = isi(
        constellation=name,
        memory=1,
        pilots=30,
        pilot_period=700,
        pilot_seed=5,
        **QUIET,
    )
    found = stream(config, 150)
    made = constellation(name)
    seen = made.nearest(found["observation"])
    known = Pilots(count=30, period=700, seed=5).known(0, len(seen), made.M)
    pilot = known >= 0
    assert (seen[pilot] == known[pilot]).all()
    assert (found["truth"][pilot] == -1).all() and pilot.sum() == 110 * 30
    assert (seen[~pilot] == found["truth"][~pilot]).all()


def test_taps_decay_from_one() -> None:
    np.testing.assert_allclose(channel_taps(0.5), np.exp([0, -0.5, -1, -1.5]))
    assert (
        channel_taps(0.5, 6)[:4] == channel_taps(0.5) and len(channel_taps(1, 6)) == 6
    )


def poisson(y: Array, means: Array, snr_db: float) -> Array:
    rate = 10 ** (snr_db / 20) * means + 1
    return y * np.log(rate) - rate


def gaussian(y: Array, means: Array, snr_db: float) -> Array:
    return -((y - means) ** 2) / 2 * 10 ** (snr_db / 10)


def impulsive(y: Array, means: Array, snr_db: float) -> Array:
    wide = np.log(0.005) + gaussian(y, means, snr_db - 20)
    return np.asarray(np.logaddexp(np.log(0.95) + gaussian(y, means, snr_db), wide))


# What exact BCJR reaches on the published set-ups, computed elsewhere from scratch.
@pytest.mark.parametrize(
    ("noise", "snr_db", "loglik", "reference", "reference_se"),
    [
        ("gaussian", 6.0, gaussian, 1.404e-2, 6e-5),
        ("poisson", 22.0, poisson, 0.0639, 2e-4),
        ("impulsive", 8.0, impulsive, 1.40e-2, 2e-4),
    ],
)
def test_exact_detection_errs_as_often_as_it_should(
    noise: str, snr_db: float, loglik: Any, reference: float, reference_se: float
) -> None:
    name = "ook" if noise == "poisson" else "bpsk"
    config = isi(
        constellation=name,
        noise=noise,
        snr_db=snr_db,
        seed=4,
    )
    frames = 2000
    found = stream(config, frames)
    digits = np.arange(16)[:, None] >> np.arange(4) & 1
    means = (constellation(name).points.real[digits] @ channel_taps(0.2))[None]
    like = loglik(found["observation"][:, None], means, snr_db)[None]
    total = like.shape[1]
    odds, evidence = np.empty((1, total, 2)), np.empty((1, total))
    alpha = np.full((1, 8), 1 / 8)
    bcjr = pick("bcjr", "cpu")
    bcjr(like, np.empty((1, 0, 2)), total, 0, alpha, odds, evidence)
    wrong = (odds[0, :, 1] > 0) != found["truth"]
    pieces = wrong.reshape(40, -1).mean(axis=1)  # errors come in bursts
    se = pieces.std(ddof=1) / len(pieces) ** 0.5
    assert abs(pieces.mean() - reference) < 3 * np.hypot(se, reference_se)


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"taps": (1.0,) * 7}, "taps: expected 1 to 6 numbers"),
        ({"taps": ()}, "taps: expected 1 to 6 numbers"),
        ({"taps_imag": (1.0,)}, "taps_imag: expected as many as taps"),
        ({"taps": (1.0, 2.0), "taps_imag": (1.0,)}, "taps_imag: expected as many"),
        ({"noise": "poisson"}, "got 'bpsk'; use 'ook'"),
        (
            {"noise": "poisson", "constellation": "ook", "taps": (1.0, -0.1)},
            "needs real taps >= 0",
        ),
        ({"constellation": "psk"}, "no constellation 'psk'"),
        ({"pilots": 20_000}, r"pilots: expected 0 to pilot_period \(10000\)"),
        ({"pilot_seed": 0}, "pilot_seed: expected 1 to"),
    ],
)
def test_a_channel_that_cannot_be_is_refused(
    fields: dict[str, Any], match: str
) -> None:
    with pytest.raises(ConfigError, match=match):
        isi(**fields)
