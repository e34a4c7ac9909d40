"""Frames keep what they were given; signatures admit what they describe, no more."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamproc.errors import FrameError, GraphError
from streamproc.frame import (
    DTYPES,
    FREE,
    MAX_DIMS,
    ArraySpec,
    Flags,
    Frame,
    Header,
    Signature,
)

SEEDED = settings(derandomize=True, deadline=None)
XYZ = Signature.of("f8", {"axis": 3}, unit="m", rate_hz=100.0)


def test_a_frame_freezes_its_arrays_and_copies_nothing() -> None:
    array = np.zeros(3)
    frame = Frame.of(array, t0_ns=5)
    assert frame.data is array
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1
    assert frame.header == Header("", 0, 5, 0, 0, None)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(3, object),
        np.zeros(3, ">f8"),
        np.zeros(3, "f2"),
        np.zeros(3, "U4"),
        np.zeros(3, "M8[ns]"),
        np.zeros(3, [("a", "f4")]),
    ],
    ids=lambda array: str(array.dtype),
)
def test_other_dtypes_are_refused_with_the_cure(array: Any) -> None:
    with pytest.raises(FrameError, match=r"expected one of u1 .*\.astype"):
        Frame.of(array)


@pytest.mark.parametrize("scalar", [np.float64(1), 1.0, [1.0]])
def test_what_is_no_array_is_refused_with_the_cure(scalar: Any) -> None:
    with pytest.raises(FrameError, match=r"expected an array, got .*np\.asarray"):
        Frame.of(np.zeros(2)).with_data(scalar)


def test_arrays_with_gaps_are_refused_with_the_cure() -> None:
    with pytest.raises(FrameError, match="ascontiguousarray"):
        Frame.of(np.zeros((4, 4))[:, ::2])
    with pytest.raises(FrameError, match="ascontiguousarray"):
        Frame.of(np.asfortranarray(np.zeros((4, 3))))


def test_other_data_keeps_the_moment_and_adds_flags() -> None:
    frame = Frame(Header("s", 3, 4, 5, Flags.GAP, {"a": 1}), {"data": np.zeros(2)})
    assert frame.with_data(np.ones(1)).header is frame.header
    flagged = frame.with_data(np.ones(1), Flags.DEGRADED)
    assert flagged.header == frame.header._replace(flags=Flags.GAP | Flags.DEGRADED)
    several = frame.with_arrays({"x": np.ones(1), "y": np.ones(2)})
    assert list(several.arrays) == ["x", "y"]
    assert frame.data.shape == (2,)


def test_a_frame_says_what_it_is() -> None:
    frame = Frame(Header("imu:out", 7), {"data": np.zeros((2, 3), "f4")})
    assert repr(frame) == "Frame(imu:out#7: data f4[2, 3])"


@pytest.mark.parametrize("code", DTYPES)
def test_a_signature_admits_its_own_dtype_only(code: str) -> None:
    signature = Signature.of(code, {"n": 2})
    for other, dtype in DTYPES.items():
        frame = Frame.of(np.zeros(2, dtype))
        if other == code:
            signature.check(frame)
        else:
            with pytest.raises(FrameError, match=r"expected \(n 2\)"):
                signature.check(frame)


@SEEDED
@given(
    st.lists(st.integers(0, 3), max_size=3),
    st.lists(st.integers(-1, 3), max_size=3),
)
def test_a_signature_admits_its_sizes_only(have: list[int], want: list[int]) -> None:
    signature = Signature.of("u1", {f"d{i}": size for i, size in enumerate(want)})
    fits = len(have) == len(want) and all(
        w in (FREE, h) for w, h in zip(want, have, strict=True)
    )
    frame = Frame.of(np.zeros(have, "u1"))
    if fits:
        signature.check(frame)
    else:
        with pytest.raises(FrameError):
            signature.check(frame)


def test_arrays_are_matched_by_name() -> None:
    signature = Signature((ArraySpec("x", "f8"), ArraySpec("y", "f8")))
    x, y = np.zeros(()), np.zeros(())
    signature.check(Frame(Header(), {"y": y, "x": x}))
    for wrong in ({"x": x}, {"x": x, "z": y}, {"x": x, "y": y, "z": y}):
        with pytest.raises(FrameError):
            signature.check(Frame(Header(), wrong))
    with pytest.raises(GraphError, match="'data', got x, y"):
        _ = signature.data


def test_require_gives_the_spec_when_everything_fits() -> None:
    spec = XYZ.require(
        dtype=("f4", "f8"), dims=("axis",), ndim=1, unit="m", sizes={"axis": 3}
    )
    assert spec == XYZ.data


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ({"dtype": "f4"}, "expected dtype f4"),
        ({"dims": ("x", "y")}, r"expected dims \(x, y\)"),
        ({"ndim": 2}, "expected 2 dims"),
        ({"unit": "V"}, "expected unit V, got m"),
        ({"sizes": {"axis": 4}}, "expected axis 4"),
        ({"sizes": {"range": 4}}, "expected range 4"),
    ],
)
def test_require_says_what_does_not_fit(wanted: dict[str, Any], says: str) -> None:
    with pytest.raises(GraphError, match=says):
        XYZ.require(**wanted)


def test_a_unit_not_stated_fits_every_unit() -> None:
    Signature.of("f8", {"axis": 3}).require(unit="V")
    XYZ.require(unit="")


def test_a_free_size_fits_every_size() -> None:
    Signature.of("f8", {"axis": FREE}).require(sizes={"axis": 9})


def test_with_data_changes_the_spec_and_keeps_the_rate() -> None:
    changed = XYZ.with_data(unit="V", dtype="f4")
    assert str(changed) == "(axis 3) f4 V @ 100 Hz"
    assert str(XYZ) == "(axis 3) f8 m @ 100 Hz"


def test_a_signature_says_free_sizes_and_names() -> None:
    specs = (ArraySpec("x", "u1", ("n",), (FREE,)), ArraySpec("data", "b1"))
    assert str(Signature(specs)) == "x (n *) u1, () b1"


names = st.text(max_size=6)
specs = st.lists(names, max_size=MAX_DIMS).flatmap(
    lambda dims: st.builds(
        ArraySpec,
        names,
        st.sampled_from(sorted(DTYPES)),
        st.just(tuple(dims)),
        st.tuples(*(st.integers(-1, 1 << 40) for _ in dims)),
        names,
    )
)


@SEEDED
@given(
    st.lists(specs, max_size=4).map(tuple),
    st.none() | st.floats(min_value=1e-6, max_value=1e9),
)
def test_signatures_survive_as_plain_values(
    arrays: tuple[ArraySpec, ...], rate_hz: float | None
) -> None:
    signature = Signature(arrays, rate_hz)
    assert Signature.from_plain(signature.to_plain()) == signature


@pytest.mark.parametrize(
    "plain",
    [
        {},
        {"arrays": []},
        {"rate_hz": "fast", "arrays": []},
        {"rate_hz": None, "arrays": 3},
        {"rate_hz": None, "arrays": [["data", "f8", ["a"], []]]},
        {"rate_hz": None, "arrays": [["data", "f8", ["a"], [], ""]]},
        {"rate_hz": None, "arrays": [["data", "O", [], [], ""]]},
        {"rate_hz": None, "arrays": [["data", "f8", ["a"], ["b"], ""]]},
        {"rate_hz": None, "arrays": [["data", "f8", ["a"] * 9, [1] * 9, ""]]},
    ],
    ids=str,
)
def test_what_is_no_signature_is_refused(plain: dict[str, Any]) -> None:
    with pytest.raises(GraphError):
        Signature.from_plain(plain)
