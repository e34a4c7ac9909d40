"""Those who attack, and the one who means well: processes for bench/attack.py."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import zmq

from streamproc import Frame, Node, Signature, wire
from streamproc.frame import Header
from streamproc.keys import Pair
from tests.security.strangers import HOST, STRANGE, pusher, shaken

GOOD_TAG = 20261122.0  # what the good peer's frames hold, and nobody else's
GOOD_HZ = 500.0
HALF_OPEN = 1000


class Target(NamedTuple):
    """Where to: a port with keys, one without, and the pairs to use."""

    locked: int
    plain: int
    server: str
    pair: Pair


@dataclass(frozen=True, kw_only=True)
class LandingConfig:
    """path: where to write."""

    path: str


class Landing(Node[LandingConfig]):
    """Keeps (sent, tag, seq, arrived) of every frame, times on the monotonic clock."""

    def accept(self, x: Signature) -> None:
        return None

    def open(self, device: str) -> None:
        self._file = os.open(self.config.path, os.O_WRONLY | os.O_CREAT, 0o600)

    def process(self, x: Frame) -> None:
        os.write(self._file, np.array([*x.data, time.monotonic()]).tobytes())


def landed(path: str) -> np.ndarray:
    """What a Landing kept: (n, 4)."""
    return np.fromfile(path).reshape(-1, 4)


def good_peer(target: Target, until_s: float) -> None:
    """A frame every 2 ms, from a process and by a key of its own."""
    push = pusher(zmq.Context(), target.locked, target.pair, target.server)
    push.set(zmq.SNDHWM, 0)
    tick, seq = time.monotonic(), 0
    while time.monotonic() < until_s:
        tick += 1 / GOOD_HZ
        time.sleep(max(0.0, tick - time.monotonic()))
        data = np.array([time.monotonic(), GOOD_TAG, float(seq)])
        frame = Frame(Header("good", seq), {"data": data})
        push.send_multipart(wire.encode(frame))
        seq += 1
    push.close(2000)


def wrong_keys(target: Target, until_s: float, source: str = STRANGE) -> int:
    """Peers with a key that nobody listed, 50 at a time; how many tried."""
    tried, (port, _, server, pair) = 0, target
    while time.monotonic() < until_s:
        crowd = zmq.Context()
        peers = [pusher(crowd, port, pair, server, source) for _ in range(50)]
        for peer in peers:
            peer.send_multipart([b"x", b"y"])
            tried += 1
        time.sleep(0.25)
        crowd.destroy(linger=0)
    return tried


def wrong_keys_beside(target: Target, until_s: float) -> int:
    """The same from the good peer's own address, which is not held to be strange."""
    return wrong_keys(target, until_s, "")


def claims(target: Target, until_s: float) -> int:
    """Frame heads that claim 8 GiB, before and after the handshake."""
    head, tried = b"\2" + (8 << 30).to_bytes(8, "big"), 0
    while time.monotonic() < until_s:
        for port in (target.locked, target.plain):
            with suppress(OSError), shaken(port) as end:
                end.sendall(head + bytes(4096))
                tried += 1
    return tried


def endless(target: Target, until_s: float) -> int:
    """Multiparts that never end: raw ones, and one by a key that is let in."""
    listed = zmq.Context()
    push = pusher(listed, target.locked, target.pair, target.server)
    tried, parts = 0, [b"x"] * 50_000
    while time.monotonic() < until_s:
        with suppress(zmq.Again):
            push.send_multipart(parts, zmq.NOBLOCK)
        with suppress(OSError), shaken(target.plain) as end:
            tried += 1
            while time.monotonic() < until_s:
                end.sendall(b"\1\0" * 32768)
    listed.destroy(linger=0)
    return tried


def half_open(target: Target, until_s: float) -> int:
    """Up to 1,000 connections that say nothing; those hung up on are made again."""
    open_ends: list[socket.socket] = []
    tried = 0
    while time.monotonic() < until_s:
        with suppress(OSError):
            to, source = (HOST, target.locked), (STRANGE, 0)
            end = socket.create_connection(to, timeout=1, source_address=source)
            open_ends.append(end)
            tried += 1
        if len(open_ends) > HALF_OPEN:
            open_ends.pop(0).close()
        time.sleep(0.001)
    return tried


ATTACKS: dict[str, Callable[[Target, float], int]] = {
    "wrong_keys": wrong_keys,
    "wrong_keys_beside": wrong_keys_beside,
    "claims": claims,
    "endless": endless,
    "half_open": half_open,
}
