"""Ports for edges over tcp: free now, and nobody else's in a moment."""

from __future__ import annotations

import random
import socket
from pathlib import Path

from streamproc.errors import PlacementError

LEAST, USUAL_END = 10_000, 32_768
TRIES = 200
EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_port(host: str, taken: set[int]) -> int:
    """A port that can be bound, which is then taken. PlacementError if there is none.

    Not one of those that the kernel gives to outgoing connections: one of them might
    have it before our worker, or while that is started again.
    """
    end = _end()
    for _ in range(TRIES if end > LEAST else 0):
        port = random.randrange(LEAST, end)
        if port not in taken and _bound(host, port):
            taken.add(port)
            return port
    try:
        with _socket(host) as probe:
            probe.bind((host, 0))
            return int(probe.getsockname()[1])
    except OSError as error:
        raise PlacementError(f"host {host!r} has no free port: {error}") from error


def _end() -> int:
    """Where the ports of outgoing connections begin."""
    try:
        return int(EPHEMERAL.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return USUAL_END


def _bound(host: str, port: int) -> bool:
    with _socket(host) as probe:
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _socket(host: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.socket(family, socket.SOCK_STREAM)
