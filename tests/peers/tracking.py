"""A tracker's daemon, what a client sends it, and what must come back."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import zmq

from streamproc import open_node
from streamproc.frame import Array, Frame

ROOT = Path(__file__).parents[2]
CLIENTS = ROOT / "deploy/clients"
# What of, and how many frames. The EKF takes them as fast as a client makes them.
TRACKERS: dict[str, tuple[dict[str, object], int]] = {
    "ekf": ({"model": "lorenz"}, 100_000),
    "kalmannet": ({"model": "lorenz-decimated"}, 10_000),
}
STOP_S = 30
PATIENCE_S, TRIES = 1.5, 100  # until it is ready


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
def daemon(graph: Path, *before: str) -> Iterator[subprocess.Popen[str]]:
    """`streamproc run` of a graph, ready; stopped with all it started afterwards.

    Ready is what it tells a service manager. AssertionError with what it said if not,
    or if it does not end well.
    before: a command that starts it.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(b"")  # an abstract name, from the kernel
        manager.settimeout(PATIENCE_S)
        paths = {"PYTHONPATH": f"{ROOT}:{ROOT}/kernels"}
        process = subprocess.Popen(
            [*before, sys.executable, "-m", "streamproc", "run", str(graph), "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=graph.parent,
            env={**os.environ, **paths, "NOTIFY_SOCKET": name_of(manager)},
            text=True,
        )
        try:
            _wait_until_ready(process, manager)
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                complaints = process.communicate(timeout=STOP_S)[1]
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                raise
        assert process.returncode == 0, f"ended badly: {complaints}"


def name_of(manager: socket.socket) -> str:
    """As NOTIFY_SOCKET has it: @ for the zero byte of an abstract name."""
    name: bytes = manager.getsockname()
    return "@" + name[1:].decode()


def _wait_until_ready(process: subprocess.Popen[str], manager: socket.socket) -> None:
    told = b""
    for _ in range(TRIES):
        with suppress(TimeoutError):
            told = manager.recv(4096)
        if b"READY=1" in told:
            return
        if process.poll() is not None:
            raise AssertionError(f"did not start: {process.communicate()[1]}")
    raise AssertionError(f"not ready, said {told!r} last")


def tracker(folder: Path, *, quick: bool = False) -> tuple[Path, str, str]:
    """deploy/clients/tracker.toml on ports of its own: where it is, in, out.

    quick: with the EKF in KalmanNet's place.
    """
    text = (CLIENTS / "tracker.toml").read_text()
    if quick:
        learned = text[text.index('kind  = "kalmannet"') : text.index("taps")]
        text = text.replace(learned, 'kind  = "ekf"\nmodel = "lorenz"\n')
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


def doubled(folder: Path, program: list[str]) -> str:
    """What a client prints that has every fifth estimate twice; here an estimate is
    the observation itself.
    """
    count = 1000
    seen = observations(count).tobytes()
    (folder / "seen.f8").write_bytes(seen)
    with zmq.Context() as context, context.socket(zmq.PULL) as pull:
        push = context.socket(zmq.PUSH)
        ends = [one.bind_to_random_port("tcp://127.0.0.1") for one in (pull, push)]
        places = [f"tcp://127.0.0.1:{port}" for port in ends]
        files = [str(folder / "seen.f8"), str(folder / "made")]
        with subprocess.Popen(
            [*program, *places, "3", *files], stdout=subprocess.PIPE, text=True
        ) as running:
            for n in range(count):
                assert pull.poll(20_000), f"{n} came"
                parts = pull.recv_multipart()
                for _ in range(1 + (n % 5 == 4)):
                    push.send_multipart(parts)
            said = running.communicate(timeout=60)[0]
        push.close(linger=0)
    assert running.returncode == 0, said
    assert (folder / "made").read_bytes() == seen
    return said


def track(folder: Path, program: list[str], kind: str) -> str:
    """Observations from a client through a tracker's daemon and back; what it printed.

    Nothing may be lost, and the bytes must be those of an embedded node.
    """
    config, count = TRACKERS[kind]
    seen = observations(count)
    (folder / "seen.f8").write_bytes(seen.tobytes())
    graph, into, out = tracker(folder, quick=kind == "ekf")
    with daemon(graph):
        files = [str(folder / "seen.f8"), str(folder / "made")]
        said = client([*program, into, out, "3", *files], timeout_s=500)
    assert said.startswith(f"sent {count}, read {count},")
    made = (folder / "made").read_bytes()
    assert made == estimates(seen, kind, taps=False, **config)
    return said
