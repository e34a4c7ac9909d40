"""Two rates as one: what is new, what is not, what is too old."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamproc.errors import GraphError
from streamproc.frame import Array, Flags, Frame, Header, Signature
from streamproc.nodes.fuse import Fuse, FuseConfig
from streamproc.testing import check_node, run_node

from .seen import stacked

STEP_NS = 1_000_000


def frame(value: float, seq: int, t0_ns: int, size: int, flags: int = 0) -> Frame:
    return Frame(
        Header("s", seq, t0_ns, 0, flags), {"data": np.full(size, float(value))}
    )


def paired(every: int = 3, frames: int = 12, behind: int = 0) -> dict[str, list[Frame]]:
    """A fast stream, and one `every` times slower as join = "latest" repeats it."""
    slow = [frame(-n, n, (n * every - behind) * STEP_NS, 2) for n in range(frames)]
    return {
        "fast": [frame(n, n, n * STEP_NS, 1) for n in range(frames)],
        "slow": [slow[n // every] for n in range(frames)],
    }


def fused(inputs: dict[str, list[Frame]], **config: Any) -> tuple[Array, Fuse]:
    node = Fuse(FuseConfig(**config))
    return stacked(run_node(node, inputs)["out"], "data"), node


def test_it_keeps_the_contract() -> None:
    check_node(lambda: Fuse(FuseConfig()), paired(), frames=12)


def test_what_is_not_new_is_missing() -> None:
    data, node = fused(paired())
    np.testing.assert_array_equal(data[:, 0], np.arange(12))
    for n, row in enumerate(data):
        wanted = -n / 3 if n % 3 == 0 else np.nan
        np.testing.assert_array_equal(row[1:], [wanted, wanted])
    assert node.report() == {"slow": 4, "late": 0}


def test_what_is_too_old_is_missing_too() -> None:
    data, node = fused(paired(behind=2), longest_age_s=1e-3)
    assert np.isnan(data[:, 1:]).all() and node.report() == {"slow": 0, "late": 4}
    data, node = fused(paired(behind=1), longest_age_s=1e-3)
    assert node.report() == {"slow": 4, "late": 0}


def test_flags_of_the_slow_frame_come_along_but_not_its_end() -> None:
    flags = int(Flags.QUARANTINED | Flags.END)
    inputs = {"fast": [frame(0, 0, 0, 1)], "slow": [frame(0, 0, 0, 1, flags)]}
    (out,) = run_node(Fuse(FuseConfig()), inputs)["out"]
    assert out.header.flags == Flags.QUARANTINED


def test_components_are_joined_track_by_track_and_units_if_they_agree() -> None:
    fast = Signature.of("f4", {"track": 5, "axis": 2}, unit="m", rate_hz=100)
    slow = Signature.of("f8", {"track": 5, "axis": 1}, unit="m", rate_hz=1)
    made = Fuse(FuseConfig()).accept(fast, slow)
    assert str(made) == "(track 5, component 3) f8 m @ 100 Hz"
    other = Signature.of("f8", {"track": 5, "axis": 1}, unit="rad")
    assert Fuse(FuseConfig()).accept(fast, other).data.unit == ""
    with pytest.raises(GraphError, match="differ in their tracks"):
        Fuse(FuseConfig()).accept(fast, Signature.of("f8", {"track": 4, "axis": 1}))
