"""Power Doppler node: one image for many, whole at the end, flags kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamproc.errors import BadFrameError, GraphError
from streamproc.frame import Array, Flags, Frame, Header, Signature
from streamproc.nodes.power_doppler import PowerDoppler, PowerDopplerConfig
from streamproc.schema import build
from streamproc.testing import check_node, frames_of, run_node


def images(frames: int = 10) -> Array:
    parts = np.random.default_rng(0).normal(size=(frames, 4, 5, 2))
    return np.asarray(parts.astype(np.float32).view(np.complex64)[..., 0])


def node(**config: Any) -> PowerDoppler:
    return PowerDoppler(build(PowerDopplerConfig, {"frames": 4, **config}))


def made(frames: list[Frame], **config: Any) -> list[Frame]:
    return run_node(node(**config), {"bubbles": frames})["out"]


@pytest.mark.parametrize("memory", ["ensemble", "fading", "all"])
@pytest.mark.parametrize("what", ["power", "maximum"])
def test_it_keeps_the_contract(memory: str, what: str) -> None:
    frames = frames_of(images(11))
    check_node(lambda: node(memory=memory, what=what), {"bubbles": frames})


def test_one_image_for_each_ensemble_and_one_for_the_rest() -> None:
    given = images()
    out = made(frames_of(given))
    power_db = 10 * np.log10(np.abs(given.astype(complex)) ** 2)
    assert [f.header.t0_ns for f in out] == [3_000_000, 7_000_000, 9_000_000]
    assert [bool(f.header.flags & Flags.DEGRADED) for f in out] == [0, 0, 1]
    for frame, part in zip(out, (slice(0, 4), slice(4, 8), slice(8, 10)), strict=True):
        want = 10 * np.log10((10 ** (power_db[part] / 10)).mean(0))
        np.testing.assert_allclose(frame.data, want, atol=1e-4)
        assert frame.data.dtype == np.float32


def test_nothing_is_left_over_when_it_comes_out_even() -> None:
    assert len(made(frames_of(images(8)))) == 2


def test_maximum_intensity_since_the_beginning_only_grows() -> None:
    out = made(frames_of(images(12)), what="maximum", memory="all", db=False)
    np.testing.assert_allclose(out[-1].data, np.abs(images(12)).max(0) ** 2, rtol=1e-6)
    assert (out[2].data >= out[1].data).all() and (out[1].data >= out[0].data).all()


def test_flags_are_those_of_all_its_frames() -> None:
    frames = frames_of(images(8))
    bad = frames[1]
    frames[1] = Frame(
        Header("", 0, bad.header.t0_ns, 0, Flags.QUARANTINED.value), bad.arrays
    )
    out = made(frames)
    assert [f.header.flags for f in out] == [Flags.QUARANTINED, 0]


def test_the_signature_says_unit_and_rate() -> None:
    image = Signature.of("c8", {"z": 4, "x": 5}, unit="V", rate_hz=100)
    for db, unit in ((True, "dB"), (False, "V^2")):
        out = node(db=db).accept(image)
        assert (out.data.dtype, out.data.unit, out.rate_hz) == ("f4", unit, 25)
    with pytest.raises(GraphError, match="fixed size"):
        node().accept(Signature.of("c8", {"z": -1, "x": 5}))


def test_a_bad_image_leaves_no_trace() -> None:
    one = node()
    one.accept(Signature.of("c8", {"z": 4, "x": 5}))
    one.open("cpu")
    want = made(frames_of(images(4)))[0].data
    for frame in frames_of(images(4)):
        bad = frame.data.copy()
        bad[0, 0] = np.inf
        with pytest.raises(BadFrameError, match="finite"):
            one.process(Frame.of(bad))
        out = one.process(frame)
    assert out is not None
    np.testing.assert_array_equal(out.data, want)


def test_a_blank_screen_is_finite() -> None:
    (out,) = made(frames_of(np.zeros((4, 4, 5), np.complex64)))
    assert (out.data == -300).all()
