"""What a detector says of its channel is true whatever else it was told."""

from __future__ import annotations

import numpy as np
import pytest

from streamproc.frame import Flags, Frame, Signature
from streamproc.nodes.bcjr import Bcjr, BcjrConfig
from streamproc.nodes.factor_graph import Siso, SisoConfig
from streamproc.testing import frames_of, run_node

from .sent import detect, even, sent

PILOTS = {"pilots": 2000, "pilot_period": 4000, "pilot_seed": 7}


def flagged(frames: list[Frame]) -> list[int]:
    return [
        index
        for index, frame in enumerate(frames)
        if frame.header.flags & Flags.DEGRADED
    ]


@pytest.mark.parametrize("snr_db", [-6.0, 0.0, 6.0, 10.0])
@pytest.mark.parametrize("size", [500, 128])
def test_known_symbols_do_not_make_a_right_channel_look_wrong(
    snr_db: float, size: int
) -> None:
    seen, _ = sent(20_000, seed=3, snr_db=snr_db, **PILOTS)
    node = Bcjr(BcjrConfig(gamma=0.2, snr_db=snr_db, **PILOTS))
    out = detect(node, even(seen, size))["confidence"]
    assert flagged(out) == []
    figures = np.array([frame.data[1] for frame in out])
    assert np.nanmedian(figures) == pytest.approx(0, abs=0.01)
    assert np.isnan(figures).any()  # frames of nothing but pilots


def test_a_wrong_channel_shows_between_pilots_as_elsewhere() -> None:
    seen, _ = sent(20_000, seed=3, snr_db=8.0, **PILOTS)
    node = Bcjr(BcjrConfig(taps=(1.0, 0.4, 0.9, 0.4), snr_db=8.0, **PILOTS))
    out = detect(node, even(seen, 500))["confidence"]
    data = [n for n in range(40) if n % 8 >= 4]
    assert set(data) <= set(flagged(out))


@pytest.mark.parametrize("prior", [0.0, 2.0, 20.0])
def test_priors_do_not_make_a_right_channel_look_wrong(prior: float) -> None:
    seen, truth = sent(20_000, seed=5, snr_db=0.0)
    told = prior * (2.0 * truth - 1.0)
    config = SisoConfig(model="isi")
    frames = {
        "observation": frames_of(seen.reshape(-1, 500)),
        "prior": frames_of(told.reshape(-1, 500)),
    }
    like = {
        name: Signature.of("f8", {"symbol": 500}) for name in ("observation", "prior")
    }
    out = run_node(Siso(config), frames, signatures=like)
    if prior:
        assert flagged(out["symbols"]) == []
        assert all(np.isnan(frame.data[1]) for frame in out["confidence"])
    else:  # the artifact is of 6 dB: its noise is another
        assert len(flagged(out["symbols"])) > 30


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e150])
def test_erasures_are_alike_whatever_they_are(bad: float) -> None:
    seen, _ = sent(20_000, seed=5, snr_db=6.0)
    seen = seen.copy()
    seen[::3] = bad
    out = detect(Bcjr(BcjrConfig(gamma=0.2, snr_db=6.0)), even(seen, 500))
    assert flagged(out["confidence"]) == []
    seen[::3] = np.where(
        np.arange(len(seen[::3])) % 10, sent(20_000, seed=5)[0][::3], bad
    )
    few = detect(Bcjr(BcjrConfig(gamma=0.2, snr_db=6.0)), even(seen, 500))
    assert flagged(few["confidence"]) == []
    assert np.isfinite([frame.data[1] for frame in few["confidence"]]).all()


def test_a_right_channel_is_not_flagged_in_tiny_frames() -> None:
    seen, _ = sent(6000, seed=5, snr_db=6.0)
    for size in (1, 2, 16):
        out = detect(Bcjr(BcjrConfig(gamma=0.2, snr_db=6.0)), even(seen, size))
        assert len(flagged(out["confidence"])) == 0
