"""Wire version 1: round trips without copies; whatever else comes is a WireError."""

from __future__ import annotations

import math
import struct
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamproc import wire
from streamproc.errors import WireError
from streamproc.frame import CODES, DTYPES, Array, Frame, Header, Signature

SHAPES = [(), (1,), (0,), (3, 0, 2), (5,), (2, 3), (2, 3, 4), (1,) * 8]
NOTHING: list[Any] = [1, "s", 0, 0, 0, 0, [["data", "f8", [2]]], None]
EXAMPLES = settings(max_examples=2000, deadline=None, derandomize=True)


def filled(code: str, shape: tuple[int, ...]) -> Array:
    rng = np.random.default_rng([len(shape), *code.encode()])
    size = math.prod(shape)
    if code == "b1":
        return rng.integers(0, 2, size).astype(bool).reshape(shape)
    dtype = DTYPES[code]
    return np.frombuffer(rng.bytes(size * dtype.itemsize), dtype).reshape(shape).copy()


def as_sent(parts: list[wire.Part]) -> list[bytes]:
    return [bytes(part) for part in parts]


def there_and_back(frame: Frame) -> Frame:
    return wire.decode(as_sent(wire.encode(frame)))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("code", DTYPES)
def test_every_dtype_and_shape_survives(code: str, shape: tuple[int, ...]) -> None:
    array = filled(code, shape)
    back = there_and_back(Frame(Header("a:out", 7, 8, 9, 2), {"data": array}))
    assert back.header == Header("a:out", 7, 8, 9, 2, None)
    assert back.data.dtype == DTYPES[code]
    assert back.data.shape == shape
    assert back.data.tobytes() == array.tobytes()
    assert not back.data.flags.writeable


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.binary(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)
headers = st.builds(
    Header,
    st.text(max_size=20),
    st.integers(0, wire.MAX_SEQ),
    st.integers(0, wire.MAX_SEQ),
    st.integers(0, wire.MAX_SEQ),
    st.integers(0, 255),
    st.none() | st.dictionaries(st.text(max_size=4), plain, max_size=3),
)


def depth(value: Any) -> int:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    return 0


@EXAMPLES
@given(headers)
def test_every_header_survives_or_is_refused_for_depth(header: Header) -> None:
    sent = as_sent(wire.encode(Frame(header, {"data": np.zeros(2)})))
    if depth(header.meta) > 5:
        with pytest.raises(WireError):
            wire.decode(sent)
    elif depth(header.meta) < 5:
        assert wire.decode(sent).header == header


def test_meta_may_hold_what_is_not_a_number() -> None:
    header = Header(meta={"snr": math.nan, "gain": math.inf})
    back = there_and_back(Frame(header, {"data": np.zeros(1)})).header.meta
    assert back is not None
    assert math.isnan(back["snr"])
    assert back["gain"] == math.inf


def test_several_arrays_keep_names_and_order() -> None:
    arrays = {name: filled("f4", (n,)) for n, name in enumerate("zyxw")}
    back = there_and_back(Frame(Header(), dict(arrays)))
    assert list(back.arrays) == list("zyxw")
    for name, array in arrays.items():
        assert back.arrays[name].tobytes() == array.tobytes()


def test_encoding_copies_no_payload() -> None:
    array = filled("c16", (50, 20))
    _, part = wire.encode(Frame(Header(), {"data": array}))
    assert np.shares_memory(np.frombuffer(part, np.uint8), array)


def test_decoding_copies_no_payload() -> None:
    array = filled("f8", (50, 20))
    parts = as_sent(wire.encode(Frame(Header(), {"data": array})))
    assert np.shares_memory(np.frombuffer(parts[1], np.uint8), wire.decode(parts).data)


@pytest.mark.parametrize("offset", range(9))
def test_a_payload_at_any_address_gives_aligned_arrays(offset: int) -> None:
    array = filled("c16", (3, 5))
    head, part = as_sent(wire.encode(Frame(Header(), {"data": array})))
    buffer = memoryview(bytearray(offset) + part)[offset:]
    back = wire.decode([memoryview(head), buffer])
    assert back.data.flags.aligned
    assert back.data.tobytes() == array.tobytes()
    assert not back.data.flags.writeable


def test_a_frame_composed_by_hand_in_another_language_is_read() -> None:
    head = b"\x98\x01\xa3imu\xc0\xc0\xc0\x00\x91\x93\xa4data\xa2f4\x91\x03\xc0"
    payload = struct.pack("<3f", 1, 2, 3)
    frame, was_filled = wire.decode_plain([head, payload], 41, 42)
    assert was_filled
    assert frame.header == Header("imu", 41, 42, 0, 0, None)
    assert frame.data.tolist() == [1, 2, 3]
    with pytest.raises(WireError, match="nil"):
        wire.decode([head, payload])


def test_what_a_plain_client_says_itself_is_kept() -> None:
    head = msgpack.packb([1, "s", 5, 6, 7, 1, [["data", "u1", [0]]], {"a": 1}])
    frame, was_filled = wire.decode_plain([head, b""], 41, 42)
    assert not was_filled
    assert frame.header == Header("s", 5, 6, 0, 1, {"a": 1})


def sent(**changes: Any) -> list[bytes]:
    """A good sending with fields of its header changed, by name."""
    names = ("v", "stream", "seq", "t0_ns", "t_in_ns", "flags", "arrays", "meta")
    head = [changes.get(name, good) for name, good in zip(names, NOTHING, strict=True)]
    return [msgpack.packb(head), bytes(16)]


def nested(levels: int) -> Any:
    return {"a": nested(levels - 1)} if levels else 1


@pytest.mark.parametrize(
    "changes",
    [
        {"v": 2}, {"v": None}, {"v": "1"},
        {"stream": 1}, {"stream": None}, {"stream": "x" * 257}, {"stream": b"x"},
        {"seq": -1}, {"seq": 1 << 63}, {"seq": 1.0}, {"seq": "1"}, {"seq": True},
        {"seq": None}, {"t0_ns": 1 << 63}, {"t0_ns": -1}, {"t_in_ns": [1]},
        {"flags": 256}, {"flags": -1}, {"flags": None}, {"flags": True},
        {"meta": 1}, {"meta": []}, {"meta": {1: 2}}, {"meta": {b"a": 2}},
        {"meta": nested(7)}, {"meta": {"a": msgpack.ExtType(1, b"")}},
        {"meta": {"a": msgpack.Timestamp(1)}}, {"meta": {"a": "x" * 5000}},
        {"arrays": None}, {"arrays": []}, {"arrays": {}}, {"arrays": [1]},
        {"arrays": [["data", "f8"]]}, {"arrays": [["data", "f8", [2], 1]]},
        {"arrays": [["data", "f8", [2]], ["data", "f8", [2]]]},
        {"arrays": [["", "f8", [2]]]}, {"arrays": [[1, "f8", [2]]]},
        {"arrays": [["x" * 257, "f8", [2]]]},
        {"arrays": [["data", "O", [2]]]}, {"arrays": [["data", "V8", [2]]]},
        {"arrays": [["data", "<f8", [2]]]}, {"arrays": [["data", "M8[ns]", [2]]]},
        {"arrays": [["data", ["f8"], [2]]]}, {"arrays": [["data", {}, [2]]]},
        {"arrays": [["data", "f8", 2]]}, {"arrays": [["data", "f8", None]]},
        {"arrays": [["data", "f8", [-2]]]}, {"arrays": [["data", "f8", [2.0]]]},
        {"arrays": [["data", "f8", [True, 2]]]}, {"arrays": [["data", "f8", ["2"]]]},
        {"arrays": [["data", "f8", [1 << 62]]]}, {"arrays": [["data", "f8", [3]]]},
        {"arrays": [["data", "f8", [1 << 30, 1 << 30, 1 << 30, 0]]]},
        {"arrays": [["data", "f8", [1 << 20] * 8]]},
        {"arrays": [["data", "f8", [1] * 9]]},
    ],
    ids=str,
)  # fmt: skip
def test_a_header_that_is_wrong_in_one_place_is_refused(
    changes: dict[str, Any],
) -> None:
    with pytest.raises(WireError):
        wire.decode(sent(**changes))


def test_duplicate_names_are_refused() -> None:
    arrays = [["data", "f8", [2]], ["data", "f8", [2]]]
    with pytest.raises(WireError, match="repeated name"):
        wire.decode([*sent(arrays=arrays), bytes(16)])


@pytest.mark.parametrize(
    "head",
    [
        b"", b"\xc1", b"\x98", b"\xff" * 100, b"\x00" * 4097,
        b"\xdd\xff\xff\xff\xff",  # a list of 4 G
        b"\xdf\xff\xff\xff\xff",  # a map of 4 G
        b"\xc6\xff\xff\xff\xff",  # bytes of 4 G
        b"\xdb\xff\xff\xff\xff",  # text of 4 G
        b"\xc9\xff\xff\xff\xff\x01",  # an extension of 4 G
        b"\x91" * 4096, b"\x81\xa1a" * 1300,  # nested without end
        b"\x98\x01\xa1\xff\x00\x00\x00\x00\x90\xc0",  # text that is not UTF-8
        sent()[0] + b"\x00", sent()[0][:-1], sent()[0] * 2,
    ],
    ids=lambda head: f"{head[:8].hex()}-{len(head)}",
)  # fmt: skip
def test_a_header_that_claims_too_much_is_refused(head: bytes) -> None:
    with pytest.raises(WireError):
        wire.decode([head, bytes(16)])
    with pytest.raises(WireError):
        wire.decode_plain([head, bytes(16)], 0, 0)


@pytest.mark.parametrize("count", [0, 1, 3, 66, 1000])
def test_a_wrong_number_of_parts_is_refused(count: int) -> None:
    with pytest.raises(WireError):
        wire.decode((sent() * count)[:count])


def test_a_truth_value_is_nought_or_one() -> None:
    head = sent(arrays=[["data", "b1", [3]]])[0]
    assert wire.decode([head, b"\0\1\1"]).data.tolist() == [False, True, True]
    with pytest.raises(WireError, match="neither 0 nor 1"):
        wire.decode([head, b"\0\2\1"])


@pytest.mark.parametrize("meta", [{"a": object()}, {"a": 1 << 70}, {"a": "x" * 5000}])
def test_meta_that_cannot_be_sent_is_refused_by_the_sender(
    meta: dict[str, Any],
) -> None:
    with pytest.raises(WireError):
        wire.encode(Frame(Header(meta=meta), {"data": np.zeros(1)}))


def decodes_or_refuses(parts: list[bytes]) -> None:
    """Nothing but WireError may come out, and what decodes is a whole frame."""
    for read in (wire.decode, lambda p: wire.decode_plain(p, 0, 0)[0]):
        try:
            frame = read(parts)
        except WireError:
            continue
        total = sum(array.nbytes for array in frame.arrays.values())
        assert total == sum(map(len, parts[1:]))
        assert all(array.dtype in CODES for array in frame.arrays.values())
        wire.encode(frame)


@EXAMPLES
@given(st.lists(st.binary(max_size=80), max_size=4))
def test_random_bytes_never_break_it(parts: list[bytes]) -> None:
    decodes_or_refuses(parts)


@st.composite
def spoilt(draw: st.DrawFn) -> list[bytes]:
    """A good sending, cut, with bits turned, bytes put in, or parts swapped."""
    arrays = {
        f"a{index}": filled(draw(st.sampled_from(sorted(DTYPES))), (2, 3))
        for index in range(draw(st.integers(1, 3)))
    }
    parts = as_sent(wire.encode(Frame(draw(headers), arrays)))
    for _ in range(draw(st.integers(1, 4))):
        which = draw(st.integers(0, len(parts) - 1))
        part = bytearray(parts[which])
        at = draw(st.integers(0, len(part)))
        how = draw(st.sampled_from(["cut", "turn", "put", "swap", "drop"]))
        if how == "cut":
            del part[at:]
        elif how == "turn" and at < len(part):
            part[at] ^= 1 << draw(st.integers(0, 7))
        elif how == "put":
            part[at:at] = draw(st.binary(min_size=1, max_size=6))
        parts[which] = bytes(part)
        if how == "swap":
            parts[which], parts[-1] = parts[-1], parts[which]
        elif how == "drop":
            del parts[which]
            if not parts:
                break
    return parts


@EXAMPLES
@given(spoilt())
def test_spoilt_frames_never_break_it(parts: list[bytes]) -> None:
    decodes_or_refuses(parts)


sizes = st.integers(-3, 70) | st.sampled_from([1 << 31, 1 << 62, 1 << 63])
entries = st.lists(
    st.lists(
        st.sampled_from(["data", "", "f8", "b1", "u1", "O", "c16"])
        | plain
        | st.lists(sizes, max_size=9),
        min_size=2,
        max_size=4,
    )
    | plain,
    max_size=4,
)


@EXAMPLES
@given(st.data(), entries, plain, st.lists(st.binary(max_size=40), max_size=4))
@example(None, [["data", "f8", [0, 1 << 30]]], None, [b""])
def test_any_plain_values_in_a_header_never_break_it(
    data: st.DataObject | None, arrays: Any, meta: Any, payloads: list[bytes]
) -> None:
    head = [1, "s", 0, 0, 0, 0, arrays, meta]
    if data is not None and data.draw(st.booleans()):
        head[data.draw(st.integers(0, 7))] = data.draw(plain)
    decodes_or_refuses([msgpack.packb(head), *payloads])


def test_a_signature_is_sent_as_plain_values() -> None:
    signature = Signature.of("f8", {"axis": 3, "n": -1}, unit="m", rate_hz=10.5)
    sent_as = msgpack.unpackb(wire.encode_signature(signature))
    assert Signature.from_plain(sent_as) == signature


def test_a_shape_that_only_a_zero_makes_small_is_refused() -> None:
    head = [1, "s", 0, 0, 0, 0, [["data", "f8", [0, 1 << 30, 1 << 30, 1 << 30]]], None]
    with pytest.raises(WireError, match="larger than a frame may be"):
        wire.decode([msgpack.packb(head), b""])


def test_a_plain_header_leaves_room_for_its_new_stream_name() -> None:
    meta = {"note": "x" * 3100}
    head = [1, "s", 0, 0, 0, 0, [["data", "u1", [1]]], meta]
    with pytest.raises(WireError, match="at most 3072"):
        wire.decode_plain([msgpack.packb(head), b"0"], 0, 0)
