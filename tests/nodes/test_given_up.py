"""What a detector gives up, it says; and the rest is as if nothing had been."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamproc.frame import Flags
from streamproc.nodes.bcjr import Bcjr, BcjrConfig
from streamproc.nodes.factor_graph import FactorGraph, FactorGraphConfig
from streamproc.testing import check_node

from .sent import contents, detect, even, framed, free, sent

PILOTS: dict[str, Any] = {"pilots": 200, "pilot_period": 2000}
WAYS: tuple[dict[str, Any], ...] = (
    {"blind": True, "blind_symbols": 1500},
    {"blind": True, "blind_symbols": 1500, **PILOTS},
    PILOTS,
    {"online": "soft", **PILOTS},
)


@pytest.mark.parametrize("kind", ["factor_graph", "bcjr"])
@pytest.mark.parametrize("lost", [np.nan, 0.0, 1e150])
def test_what_is_given_up_is_told_and_memory_stays_bounded(
    kind: str, lost: float
) -> None:
    seen, _ = sent(60_000, seed=3, snr_db=8.0, **PILOTS)
    seen[:40_000] = lost
    graph = FactorGraph(FactorGraphConfig(**PILOTS))
    node = graph if kind == "factor_graph" else Bcjr(BcjrConfig(**PILOTS))
    node.accept(**free(seen))
    node.open("cpu")
    most, flags, llr = 0, [], []
    for frame in even(seen, 500):
        out = node.process(frame)
        most = max(most, node._stream.waiting)
        if out is not None and out.llr is not None:
            flags.append(bool(out.llr.header.flags & Flags.DEGRADED))
            llr.append(out.llr.data)
    assert most <= 8 * 2000 + 700
    assert all(flags[:32])
    assert not np.concatenate(llr)[:30_000].any()
    assert not all(flags)


@pytest.mark.parametrize("config", WAYS)
@pytest.mark.parametrize("lost", [np.nan, 0.0])
def test_after_a_late_start_frames_still_do_not_matter(
    config: dict[str, Any], lost: float
) -> None:
    seen, _ = sent(30_000, seed=3, snr_db=8.0, **PILOTS)
    seen[:17_300] = lost
    cuts = ([30_000], [500] * 60, [7] * 4285 + [5])
    found = [
        contents(detect(FactorGraph(FactorGraphConfig(**config)), framed(seen, sizes)))
        for sizes in cuts
    ]
    assert found[0] == found[1] == found[2]
    check_node(
        lambda: FactorGraph(FactorGraphConfig(**config)),
        {"observation": even(seen, 1000)},
        frames=30,
    )
