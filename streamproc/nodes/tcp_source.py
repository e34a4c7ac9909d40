"""Frames from a stream of raw samples over TCP."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from streamproc.errors import EndOfStream
from streamproc.frame import DTYPES, Array, Frame, Signature
from streamproc.nodes.bell import Bell
from streamproc.nodes.declared import Declared, fixed
from streamproc.nodes.live import LiveSource
from streamproc.nodes.loopback import bind, check_host, checked, new_socket
from streamproc.schema import Max, Min

FIRST_WAIT_S = 0.05  # before trying again; doubled up to
LONGEST_WAIT_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpSourceConfig(Declared):
    """Where samples come from, and how they make frames.

    address: loopback address to listen on or to connect to
    port: likewise; 0: any free one, when listening
    listen: whether the sender connects to this end, or it to the sender
    reconnect: whether a lost connection is waited for or made again; else it is the
    end of the stream
    dtype: of the samples, little-endian
    dims: names and sizes, all of them known
    unit: of the samples; empty: not stated
    rate_hz: frames in a second; without it, not stated
    """

    address: str = "127.0.0.1"
    port: Annotated[int, Min(0), Max(65535)]
    listen: bool = False
    reconnect: bool = True

    def __post_init__(self) -> None:
        Declared.__post_init__(self)
        if not self.port and not self.listen:
            raise ValueError("port 0 needs listen = true")


class TcpSource(LiveSource[TcpSourceConfig]):
    """Cuts a stream of samples into frames of the declared size.

    One sender at a time; another waits until it has gone. What a lost connection
    leaves of a frame is thrown away and counted, and the next frame is flagged.
    t0_ns is the time at which the last sample arrived.
    """

    counted: ClassVar[tuple[str, ...]] = ("connections", "partial", "partial_bytes")

    def __init__(self, config: TcpSourceConfig) -> None:
        super().__init__(config)
        self._spec = config.signature.data
        self._listener: socket.socket | None = None
        self._sender: socket.socket | None = None
        self._bell: Bell | None = None
        self._reset()

    def _reset(self) -> None:
        self._over = False
        self._wait_s = FIRST_WAIT_S
        self._try_at = 0.0
        self._fresh()

    def _fresh(self) -> None:
        """Room for the next frame; the last one belongs to those downstream."""
        self._room: Array = np.empty(self._shape, DTYPES[self._spec.dtype])
        self._bytes = self._room.reshape(-1).view(np.uint8).data
        self._have = 0

    @property
    def _shape(self) -> tuple[int, ...]:
        return tuple(max(size, 0) for size in self._spec.shape)

    def accept(self) -> Signature:
        check_host(self.config.address)
        return fixed(
            self.config.signature, "tcp.source", "or send [header, bytes] to zmq.source"
        )

    def open(self, device: str) -> None:
        super().open(device)
        self._reset()
        self._bell = Bell()
        if not self.config.listen:
            self._bell.ring()
            return
        made = new_socket(self.config, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bind(made, self.config)
        self._listener = made

    @property
    def port(self) -> int:
        """Where it listens, once open; says which port 0 became."""
        if self._listener is None:
            return self.config.port
        return int(self._listener.getsockname()[1])

    def wait_on(self) -> int:
        if self._bell is None:
            raise self._closed()
        if self._over:
            self._bell.ring()
        elif self._sender is not None:
            return self._sender.fileno()
        elif self._listener is not None:
            return self._listener.fileno()
        return self._bell.fileno()

    def process(self) -> Frame | None:
        if self._over:
            raise EndOfStream
        if self._sender is None:
            self._sender = self._accepted() if self._listener else self._connected()
        while self._sender is not None:
            try:
                size = self._sender.recv_into(self._bytes[self._have :])
            except BlockingIOError:
                return None
            except OSError:
                size = 0
            if not size:
                self._lose()
                return None
            self._have += size
            if self._have == len(self._bytes):
                return self._full()
        return None

    def _accepted(self) -> socket.socket | None:
        assert self._listener is not None
        try:
            sender, _ = self._listener.accept()
        except OSError:  # nobody is there, or no longer
            return None
        sender.setblocking(False)
        self._counts["connections"] += 1
        return sender

    def _connected(self) -> socket.socket | None:
        """A connection under way; whether it comes about shows when it is read."""
        if time.monotonic() < self._try_at:
            return None
        sender = new_socket(self.config, socket.SOCK_STREAM)
        try:
            sender.connect(checked(self.config))
        except BlockingIOError:
            pass
        except OSError:
            sender.close()
            self._try_later()
            return None
        self._counts["connections"] += 1
        return sender

    def _try_later(self) -> None:
        assert self._bell is not None
        self._try_at = time.monotonic() + self._wait_s
        self._bell.ring_after(self._wait_s)
        self._wait_s = min(2 * self._wait_s, LONGEST_WAIT_S)

    def _lose(self) -> None:
        assert self._sender is not None
        self._sender.close()
        self._sender = None
        if self._have:
            frame, have = len(self._bytes), self._have
            self._refuse("partial", f"connection lost at byte {have} of {frame}")
            self._counts["partial_bytes"] += self._have
            self._have = 0
        self._cut = True
        self._over = not self.config.reconnect
        if not self._over and self._listener is None:
            self._try_later()

    def _full(self) -> Frame:
        frame = Frame.of(self._room, t0_ns=time.time_ns())
        self._wait_s = FIRST_WAIT_S
        self._fresh()
        return self._mend(frame)

    def close(self) -> None:
        for end in (self._sender, self._listener, self._bell):
            if end is not None:
                end.close()
        self._sender = self._listener = self._bell = None
