"""The channel scene: symbols, memory over frames, noise level."""

from __future__ import annotations

import numpy as np

from streamproc.frame import Array
from streamproc.sims.isi import Isi, IsiConfig, channel_taps


def stream(config: IsiConfig, frames: int) -> tuple[Array, Array]:
    scene = Isi(config)
    rows = [scene.next() for _ in range(frames)]
    return (
        np.concatenate([row["observation"] for row in rows]),
        np.concatenate([row["truth"] for row in rows]),
    )


def test_the_channel_remembers_across_frames_and_chunks() -> None:
    seen, sent = stream(IsiConfig(snr_db=300.0), 130)  # noise of 1e-15
    clean = np.convolve(sent, channel_taps(0.2))[: len(sent)]
    np.testing.assert_allclose(seen[3:], clean[3:], atol=1e-12)


def test_symbols_are_fair_and_independent() -> None:
    sent = stream(IsiConfig(seed=1), 200)[1].astype(float)
    assert set(np.unique(sent)) == {-1.0, 1.0}
    # 102 400 symbols: 5 standard errors of a mean and of a correlation
    assert abs(sent.mean()) < 5 / len(sent) ** 0.5
    assert abs((sent[1:] * sent[:-1]).mean()) < 5 / len(sent) ** 0.5


def test_the_snr_is_one_over_the_noise_variance_whatever_the_taps() -> None:
    for gamma in (0.1, 2.0):
        seen, sent = stream(IsiConfig(seed=2, gamma=gamma, snr_db=4.0), 100)
        noise = seen - np.convolve(sent, channel_taps(gamma))[: len(sent)]
        want = 10**-0.4
        error = 5 * want * (2 / len(noise)) ** 0.5
        assert abs(noise[3:].var() - want) < error


def test_taps_decay_from_one() -> None:
    np.testing.assert_allclose(channel_taps(0.5), np.exp([0, -0.5, -1, -1.5]))
