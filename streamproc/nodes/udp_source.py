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
from streamproc.errors import FrameError, PlacementError, WireError
from streamproc.frame import DTYPES, Array, Flags, Frame, Header, Signature
from streamproc.node import Source
from streamproc.nodes.counts import Counts
from streamproc.nodes.declared import Declared, fixed, least_bytes
from streamproc.nodes.loopback import check_host
from streamproc.schema import Max, Min

MOST_BYTES = 65507  # of a datagram over IPv4
_SEQ = struct.Struct("<I")
_LENGTH = struct.Struct("<I")
_SEQ_ROUND = 1 << 32
_SO_RXQ_OVFL = 40  # Linux; the socket module does not name it
_PER_CALL = 256  # refused in one process(), so that others get their turn


@dataclass(frozen=True, slots=True, kw_only=True)
class UdpSourceConfig(Declared):
    """Where datagrams come in, and what each holds.

    host: loopback address to listen on
    port: to listen on; 0: any free one
    header: what stands before the samples: nothing; seq32, a little-endian u32
    counter; wire, the length of a wire header as little-endian u32, and the header
    dtype: of the samples
    dims: names and sizes, all of them known
    unit: of the samples; empty: not stated
    rate_hz: frames in a second; without it, not stated
    buffer_kib: what the kernel holds while nobody reads
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Min(0), Max(65535)]
    header: Literal["none", "seq32", "wire"] = "none"
    buffer_kib: Annotated[int, Min(1)] = 4096


class UdpSource(Source[UdpSourceConfig]):
    """One datagram, one frame of raw little-endian samples.

    Datagrams of another size are refused and counted; those the kernel had no room
    for are counted where it tells (Linux); a gap in a counter flags the next frame,
    and what comes after its turn is refused as late. t0_ns is the time of arrival
    unless a wire header says another.
    """

    replayable: ClassVar[bool] = False
    pausable: ClassVar[bool] = False

    def __init__(self, config: UdpSourceConfig) -> None:
        super().__init__(config)
        self._spec = config.signature.data
        self._dtype = DTYPES[self._spec.dtype]
        self._socket: socket.socket | None = None
        self._reset()

    def _reset(self) -> None:
        self._counts = Counts(
            "refused_size",
            "refused_wire",
            "refused_signature",
            "late",
            "kernel_drops",
            "gaps",
            "missing",
        )
        self._expected: int | None = None
        self._told_drops = 0

    def accept(self) -> Signature:
        check_host(self.config.host)
        signature = fixed(
            self.config.signature, "udp.source", "or send [header, bytes] to zmq.source"
        )
        if least_bytes(signature) > MOST_BYTES:
            raise FrameTooLarge(signature)
        return signature

    def open(self, device: str) -> None:
        pass
