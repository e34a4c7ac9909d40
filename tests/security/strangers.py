"""Peers that mean no good, as small as they can be: raw ZMTP and wrong keys."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgpack
import zmq

from streamproc import keys
from streamproc.keys import Pair
from streamproc.nodes.zmq_source import ZmqSource, ZmqSourceConfig
from streamproc.schema import build

HOST = "127.0.0.1"
STRANGE = "127.66.6.6"  # an address of loopback that no listed peer has
EVERYWHERE = "tcp://0.0.0.0:*"
XYZ = {"dtype": "f8", "dims": {"axis": 3}}
MIB = 1 << 20

# Drawn once, before any context runs; never used for anything but these tests.
GOOD, OTHER, SERVER = (
    Pair(*(key.decode() for key in zmq.curve_keypair())) for _ in range(3)
)


def key_folder(folder: Path, own: Pair = SERVER, **allowed: Pair) -> Path:
    """A folder with a pair, and public keys let in."""
    keys.make(folder, own)
    for name, pair in allowed.items():
        keys.allow(folder, name, pair.public)
    return folder


def new_node(**config: Any) -> ZmqSource:
    """A zmq.source, open, for whom it is to close."""
    node = ZmqSource(build(ZmqSourceConfig, {**XYZ, **config}))
    node.accept()
    node.open("cpu")
    return node


@contextmanager
def opened(**config: Any) -> Iterator[ZmqSource]:
    """A zmq.source of frames of three numbers."""
    node = new_node(**config)
    try:
        yield node
    finally:
        node.close()


def port_of(node: ZmqSource) -> int:
    return int(node.endpoint.rpartition(":")[2])


def packed(seq: int, value: float = 1.0) -> list[bytes]:
    """A good frame."""
    head = [1, "good", seq, None, None, 0, [["data", "f8", [3]]], None]
    return [msgpack.packb(head), struct.pack("<3d", value, value, value)]


def pusher(
    context: zmq.Context[Any],
    port: int,
    pair: Pair | None,
    server: str = "",
    source: str = "",
) -> zmq.Socket[bytes]:
    """A PUSH client; with a pair it speaks CURVE. source: the address it has."""
    made = context.socket(zmq.PUSH)
    made.set(zmq.LINGER, 0)
    made.set(zmq.RECONNECT_IVL, 20)
    if pair is not None:
        made.set(zmq.CURVE_PUBLICKEY, pair.public.encode())
        made.set(zmq.CURVE_SECRETKEY, pair.secret.encode())
        made.set(zmq.CURVE_SERVERKEY, (server or SERVER.public).encode())
    own = f"{source}:0;" if source else ""
    made.connect(f"tcp://{own}{HOST}:{port}")
    return made


def values(node: ZmqSource, wait_s: float, least: int = 0) -> list[float]:
    """First values of the frames that come within `wait_s`, or of the first few."""
    found: list[float] = []
    end = time.monotonic() + wait_s
    while time.monotonic() < end and not (least and len(found) >= least):
        frame = node.process()
        if frame is None:
            time.sleep(0.002)
        else:
            found.append(float(frame.data[0]))
    return found


def until(what: Any, wait_s: float = 20.0) -> Any:
    """Ask again until it is true."""
    end = time.monotonic() + wait_s
    while not (found := what()):
        assert time.monotonic() < end, "never came true"
        time.sleep(0.01)
    return found


# Raw ZMTP 3.


def greeting(mechanism: bytes = b"NULL", version: bytes = b"\3\0") -> bytes:
    return (
        b"\xff" + bytes(8) + b"\x7f" + version + mechanism.ljust(20, b"\0") + bytes(32)
    )


def ready(kind: bytes = b"PUSH") -> bytes:
    named = b"\x0bSocket-Type" + struct.pack(">I", len(kind)) + kind
    body = b"\x05READY" + named + b"\x08Identity" + bytes(4)
    return b"\4" + bytes([len(body)]) + body


def shaken(port: int, kind: bytes = b"PUSH") -> socket.socket:
    """A connection that has shaken hands without any mechanism."""
    made = socket.create_connection((HOST, port), timeout=10)
    made.sendall(greeting() + ready(kind))
    made.recv(64)
    time.sleep(0.05)
    return made


def resident_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / MIB
