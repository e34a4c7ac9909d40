"""Frames from a sensor that sends datagrams."""

from __future__ import annotations

import socket
import struct
import sys
import time
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np

from streamproc import wire
from streamproc.errors import FrameError, GraphError, WireError
from streamproc.frame import DTYPES, Array, Frame, Signature
from streamproc.nodes.declared import Declared, fixed, least_bytes
from streamproc.nodes.live import UNKNOWN, LiveSource
from streamproc.nodes.loopback import bind, check_host, new_socket
from streamproc.schema import Max, Min

MOST_BYTES = 65507  # of a datagram over IPv4
_WORD = struct.Struct("<I")
_ROUND = 1 << 32
_SO_RXQ_OVFL = 40  # Linux; the socket module does not name it
_ANCILLARY = socket.CMSG_SPACE(_WORD.size)
LATE_IN_A_ROW = 100  # after which it is the counter that is wrong, not they
_PER_CALL = 256  # refused in one process(), so that others get their turn


@dataclass(frozen=True, slots=True, kw_only=True)
class UdpSourceConfig(Declared):
    """Where datagrams come in, and what each holds.

    address: loopback address to listen on
    port: to listen on; 0: any free one
    header: what stands before the samples: nothing; seq32, a little-endian u32
    counter; wire, the length of a wire header as little-endian u32, and the header
    dtype: of the samples
    dims: names and sizes, all of them known
    unit: of the samples; empty: not stated
    rate_hz: frames in a second; without it, not stated
    buffer_kib: what the kernel holds while nobody reads
    """

    address: str = "127.0.0.1"
    port: Annotated[int, Min(0), Max(65535)]
    header: Literal["none", "seq32", "wire"] = "none"
    buffer_kib: Annotated[int, Min(1), Max(1 << 20)] = 4096


class UdpSource(LiveSource[UdpSourceConfig]):
    """One datagram, one frame of raw little-endian samples.

    Datagrams of another size are refused and counted; those the kernel had no room
    for are counted where it tells (Linux); a gap in a counter flags the next frame,
    and what comes after its turn is refused as late. 100 late ones in a row are none:
    the counter began anew, or one datagram lied; the next one of them is taken and
    flagged, and `restarts` counts it. t0_ns is the time of arrival unless a wire header
    says another.
    """

    pausable = False
    counted: ClassVar[tuple[str, ...]] = (
        "refused_size",
        "refused_wire",
        "refused_signature",
        "late",
        "kernel_drops",
        "gaps",
        "missing",
        "restarts",
    )

    def __init__(self, config: UdpSourceConfig) -> None:
        super().__init__(config)
        self._spec = config.signature.data
        self._dtype = DTYPES[self._spec.dtype]
        self._socket: socket.socket | None = None
        self._reset()

    def _reset(self) -> None:
        self._expected: int | None = None
        self._late = 0  # in a row
        self._told_drops = 0

    def accept(self) -> Signature:
        check_host(self.config.address)
        signature = fixed(
            self.config.signature, "udp.source", "or send [header, bytes] to zmq.source"
        )
        extra = 0 if self.config.header == "none" else _WORD.size
        if extra + least_bytes(signature) > MOST_BYTES:
            raise GraphError(
                f"{signature}: a datagram holds at most {MOST_BYTES} bytes; "
                "send it to tcp.source or zmq.source"
            )
        return signature

    def open(self, device: str) -> None:
        super().open(device)
        self._reset()
        made = new_socket(self.config, socket.SOCK_DGRAM)
        size = self.config.buffer_kib * 1024
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
        if sys.platform == "linux":
            made.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)
        bind(made, self.config)
        self._socket = made
        self._fresh()

    def _fresh(self) -> None:
        """Room for the next frame; the last one belongs to those downstream."""
        if self.config.header == "wire":
            self._room: Array = np.empty(MOST_BYTES, np.uint8)
            self._into: list[Any] = [self._room.data]
            return
        self._room = np.empty(self._spec.shape, self._dtype)
        samples = self._room.reshape(-1).view(np.uint8).data
        self._into = [samples]
        if self.config.header == "seq32":
            self._head = bytearray(_WORD.size)
            self._into = [self._head, samples]

    @property
    def port(self) -> int:
        """Where it listens, once open; says which port 0 became."""
        return int(self._opened().getsockname()[1])

    def _opened(self) -> socket.socket:
        if self._socket is None:
            raise self._closed()
        return self._socket

    def wait_on(self) -> int:
        return self._opened().fileno()

    def process(self) -> Frame | None:
        sensor = self._opened()
        for _ in range(_PER_CALL):
            try:
                size, told, flags, _ = sensor.recvmsg_into(self._into, _ANCILLARY)
            except BlockingIOError:
                return None
            dropped = self._dropped(told)
            frame = self._read(-1 if flags & socket.MSG_TRUNC else size)
            if frame is not None:
                self._fresh()
                self._cut |= bool(dropped)
                return self._mend(frame)
        return None

    def _dropped(self, told: list[tuple[int, int, bytes]]) -> int:
        """How many datagrams the kernel had no room for since the last one."""
        for level, kind, data in told:
            if (level, kind) == (socket.SOL_SOCKET, _SO_RXQ_OVFL):
                (total,) = _WORD.unpack(data[: _WORD.size])
                new = (total - self._told_drops) % _ROUND
                self._told_drops = total
                self._counts["kernel_drops"] += new
                return int(new)
        return 0

    def _read(self, size: int) -> Frame | None:
        if self.config.header == "wire":
            return self._read_wire(size)
        if size != (asked := sum(map(len, self._into))):
            got = "more" if size < 0 else str(size)
            return self._refuse("refused_size", f"expected {asked} bytes, got {got}")
        frame = Frame.of(self._room, t0_ns=time.time_ns())
        if self.config.header == "seq32":
            (seq,) = _WORD.unpack(self._head)
            return self._follow(frame, seq, _ROUND)
        return frame

    def _read_wire(self, size: int) -> Frame | None:
        try:
            parts = _parts(self._room[: max(size, 0)].data)
            frame, _ = wire.decode_plain(parts, UNKNOWN, time.time_ns())
            self.config.signature.check(frame)
        except WireError as error:
            return self._refuse("refused_wire", str(error))
        except FrameError as error:
            return self._refuse("refused_signature", str(error))
        seq = frame.header.seq
        return frame if seq == UNKNOWN else self._follow(frame, seq, 1 << 63)

    def _follow(self, frame: Frame, seq: int, around: int) -> Frame | None:
        """Count what the sensor's counter skipped; refuse what comes out of turn."""
        missing = 0 if self._expected is None else (seq - self._expected) % around
        if missing >= around // 2 and self._late < LATE_IN_A_ROW:
            self._late += 1
            return self._refuse("late", f"seq {seq} after {self._expected}")
        if missing >= around // 2:
            self._counts["restarts"] += 1
            self._cut = True
        elif missing:
            self._missed(frame, missing)
        self._late = 0
        self._expected = (seq + 1) % around
        return frame

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _parts(datagram: memoryview) -> list[wire.Part]:
    """Length, header, samples; of a datagram that is too short, empty parts."""
    end = _WORD.size + int.from_bytes(datagram[: _WORD.size], "little")
    return [datagram[_WORD.size : end], datagram[end:]]
