"""A tracker's daemon, what a client sends it, and what must come back."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from streamproc import open_node
from streamproc.frame import Array, Frame

ROOT = Path(__file__).parents[2]
CLIENTS = ROOT / "deploy/clients"
STOP_S = 30


def observations(count: int) -> Array:
    """Positions (count, 3) of Lorenz targets seen in noise, by the scene's own hand."""
    rows = []
    with open_node("scene.lorenz", x0="attractor") as scene:
        for seen in scene:
            rows.append(seen.observation.data)
            if len(rows) == count:
                return np.array(rows)
    raise AssertionError(f"the scene ended after {len(rows)} frames")


def estimates(seen: Array, kind: str, only: str = "", **config: object) -> bytes:
    """Every array of every estimate, or one, as an embedded node gives them."""
    made = bytearray()
    with open_node(kind, **config) as track:
        for n, row in enumerate(seen):
            frame = track(Frame.of(row.copy(), t0_ns=n))
            for name, array in frame.arrays.items():
                made += array.tobytes() if only in ("", name) else b""
    return bytes(made)


def free_ports(count: int) -> list[int]:
    """Ports that nobody has now, below those the system gives away."""
    low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    found: list[int] = []
    port = low - 1 - os.getpid() % 4000 * 5
    while len(found) < count:
        port = port - 1 if port > 2048 else low - 1
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
    return found


@contextmanager
def daemon(graph: Path) -> Iterator[subprocess.Popen[str]]:
    """`streamproc run` of a graph; stopped, and said to have ended well, afterwards."""
    process = subprocess.Popen(
        [sys.executable, "-m", "streamproc", "run", str(graph), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=graph.parent,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT}/kernels"},
        text=True,
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.communicate(timeout=STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise


def tracker(folder: Path) -> tuple[Path, str, str]:
    """deploy/clients/tracker.toml on ports of its own: where it is, in, out."""
    text = (CLIENTS / "tracker.toml").read_text()
    place = folder / "tracker.toml"
    ends = []
    for usual, port in zip((5555, 5556), free_ports(2), strict=True):
        ends.append(f"tcp://127.0.0.1:{port}")
        assert text.count(f"tcp://127.0.0.1:{usual}") == 1
        text = text.replace(f"tcp://127.0.0.1:{usual}", ends[-1])
    place.write_text(text)
    return place, ends[0], ends[1]


def client(command: list[str], timeout_s: float = 150) -> str:
    """What a client printed; AssertionError with what it complained of."""
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=timeout_s, check=False
    )
    assert done.returncode == 0, f"{command[0]}: {done.stdout}{done.stderr}"
    return done.stdout
