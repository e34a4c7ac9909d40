"""What every clutter filter node owes, as checks to call for each kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from streamproc.errors import BadFrameError, GraphError
from streamproc.frame import Array, Flags, Frame, Signature
from streamproc.nodes.clutter import Clutter
from streamproc.sims.ultrasound import Ultrasound, UltrasoundConfig
from streamproc.testing import check_node, frames_of, run_node

Make = Callable[[], Clutter[Any]]


def images(frames: int, seed: int = 0) -> Array:
    """Of a small scene, (frame, 12, 14) c8."""
    scene = Ultrasound(
        UltrasoundConfig(depth_px=12, width_px=14, seed=seed, split="val")
    )
    return np.array([scene.next()["image"] for _ in range(frames)])


def filtered(make: Make, given: Array, port: str = "bubbles") -> list[Frame]:
    """Frames of a port."""
    return run_node(make(), {"image": frames_of(given)})[port]


def bubbles(make: Make, given: Array) -> Array:
    """(frame, z, x) of the port."""
    return np.array([frame.data for frame in filtered(make, given)])


def opened(make: Make) -> Clutter[Any]:
    """A node for such images."""
    node = make()
    node.accept(Signature.of("c8", {"z": 12, "x": 14}))
    node.open("cpu")
    return node


def flagged(frames: list[Frame], flag: Flags) -> list[bool]:
    """Whether each frame has it."""
    return [bool(frame.header.flags & flag) for frame in frames]


def check_contract(make: Make, frames: int = 50) -> None:
    """What every node owes, ports that add up, c8 and f4."""
    given = images(frames)
    for data in (given, np.ascontiguousarray(given.real)):
        check_node(make, {"image": frames_of(data)}, frames=frames)
        ports = run_node(make(), {"image": frames_of(data)})
        assert list(ports) == ["bubbles", "tissue", "rank", "residual"]
        for n, image in enumerate(data):
            parts = [ports[name][n].data for name in ("bubbles", "tissue", "residual")]
            np.testing.assert_allclose(sum(parts), image, atol=1e-5)
            assert parts[0].dtype == data.dtype and ports["rank"][n].data.shape == (1,)
        assert [f.header.t0_ns for f in ports["bubbles"]] == [
            n * 1_000_000 for n in range(frames)
        ]


def check_equivariance(make: Make, atol: float = 1e-4) -> None:
    """Scale, phase and conjugation of the images are those of the bubbles."""
    given = images(40)
    plain = bubbles(make, given)
    size = np.abs(plain).max()
    assert size > 0
    turn = np.complex64(np.exp(0.7j))
    for changed, back in (
        (given * np.float32(1000), lambda y: y / 1000),
        (given / np.float32(1000), lambda y: y * 1000),
        (given * turn, lambda y: y / turn),
        (given.conj(), np.conj),
    ):
        error = np.abs(back(bubbles(make, changed)) - plain).max()
        assert error <= atol * size


def check_bad_pixels(make: Make) -> None:
    """A few are set aside, many refuse the frame, and neither spoils what follows."""
    given = images(40)
    undisturbed = bubbles(make, given)
    spoilt = given.copy()
    spoilt[30, 4, :] = np.nan
    spoilt[30, 5, 2] = np.inf
    out = filtered(make, spoilt)
    assert flagged(out, Flags.QUARANTINED) == [n == 30 for n in range(40)]
    assert not out[30].data[4].any() and not out[30].data[5, 2]
    assert out[30].data.any()
    made = np.array([frame.data for frame in out])
    assert np.isfinite(made).all()
    after = np.abs(made[31:] - undisturbed[31:]).max()
    assert after < 0.5 * np.abs(undisturbed[31:]).max()

    node = opened(make)
    for n, frame in enumerate(frames_of(given)):
        if n % 7 == 3:
            bad = given[n].copy()
            bad[:3] = np.nan if n % 2 else np.inf
            with pytest.raises(
                BadFrameError, match="finite, or not below 1e15, in 42 of 168"
            ):
                node.process(Frame.of(bad))
        made_now = node.process(frame)
        assert made_now is not None
        np.testing.assert_array_equal(made_now.bubbles.data, undisturbed[n])


def check_dead_lines(make: Make) -> None:
    """They come out as zeros, DEGRADED, reported; the rest goes on."""
    given = images(60)
    given[:, 3] = given[:, :, 7] = 0
    out = filtered(make, given)
    assert all(flagged(out, Flags.DEGRADED))
    for frame in out[40:]:
        assert np.isfinite(frame.data).all()
        assert not frame.data[3].any() and not frame.data[:, 7].any()
    assert any(frame.data[5].any() for frame in out[40:])
    node = opened(make)
    for frame in frames_of(given):
        node.process(frame)
    assert node.report()["dead_lines"] == 2
    for frame in frames_of(images(60)[-1:]):
        node.process(frame)
    assert node.report()["dead_lines"] == 0


def check_revived_lines(make: Make) -> None:
    """Zeros, DEGRADED, until the filter has forgotten that they were dark."""
    given = images(170)
    whole, spoilt = bubbles(make, given), given.copy()
    spoilt[:40, 3] = 0  # never seen before
    spoilt[90:94, :, 7] = 0  # not for long enough to be dead
    out = filtered(make, spoilt)
    made = np.array([frame.data for frame in out])
    assert np.isfinite(made).all()
    late = min(opened(make).horizon, 100) - 1
    for lines, first, back in ((made[:, 3], 0, 40), (made[:, :, 7], 90, 94)):
        assert not lines[first : back + late].any() and lines[back + late :].any()
        assert all(flagged(out, Flags.DEGRADED)[first : back + late])
    assert not any(flagged(out, Flags.DEGRADED)[94 + late :])
    # what comes out again is bubbles, not tissue
    for line in (np.s_[120:, 3], np.s_[120:, :, 7]):
        usual = max(np.linalg.norm(whole[line]), 0.1 * np.linalg.norm(whole[120:]))
        assert np.linalg.norm(made[line]) < 1.7 * usual

    node, again = opened(make), opened(make)
    frames = frames_of(spoilt[:100])
    for frame in frames[:96]:
        node.process(frame)
    again.state = {name: np.array(one) for name, one in node.state.items()}
    for frame in frames[96:]:
        one, other = node.process(frame), again.process(frame)
        assert one is not None and other is not None
        np.testing.assert_array_equal(one.bubbles.data, other.bubbles.data)
        assert one.bubbles.header == other.bubbles.header


def check_blank(make: Make) -> None:
    """Zeros give zeros, and one such image leaves no trace."""
    out = filtered(make, np.zeros((30, 12, 14), np.complex64))
    assert all(flagged(out, Flags.DEGRADED))
    assert not any(frame.data.any() for frame in out)
    given = images(40)
    undisturbed = bubbles(make, given)
    made = bubbles(make, np.insert(given, 25, 0, axis=0))
    assert not made[25].any()
    np.testing.assert_array_equal(np.delete(made, 25, axis=0), undisturbed)


def check_refusals(make: Make) -> None:
    """Images of changing size, or of another kind, are none."""
    with pytest.raises(GraphError, match="fixed size"):
        make().accept(Signature.of("c8", {"z": -1, "x": 9}))
    with pytest.raises(GraphError, match="expected dtype c8 or f4"):
        make().accept(Signature.of("f8", {"z": 7, "x": 9}))


EVERY = (
    check_contract,
    check_equivariance,
    check_bad_pixels,
    check_dead_lines,
    check_revived_lines,
    check_blank,
    check_refusals,
)


def check_gpu(make: Make) -> None:
    """The same bubbles, but for single precision."""
    given = images(30)
    frames = frames_of(given)
    made = run_node(make(), {"image": frames}, device="gpu")["bubbles"]
    found = np.array([frame.data for frame in made])
    np.testing.assert_allclose(found, bubbles(make, given), atol=2e-4)
