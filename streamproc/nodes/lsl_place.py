"""The lab streaming layer's library, kept to this machine, and its clock.

LSL has no keys: its outlets and inlets listen on every address, and whoever reaches one
may read or answer. liblsl has no setting for that. So the sockets that it opens here
are bound to the loopback interface right after, which needs no privilege, and whoever
was quicker is cut off.
"""

from __future__ import annotations

import functools
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import numpy as np

from streamproc.errors import PlacementError
from streamproc.frame import Array

# numpy's names of LSL's channel formats, by their numbers in its header; no strings
FORMATS = {1: "f4", 2: "f8", 4: "i4", 5: "i2", 6: "i1", 7: "i8"}

_CONFIG = """[multicast]
ResolveScope = machine
[ports]
IPv6 = disable
[log]
level = -2
"""
_LOOPBACK = b"lo\0"
_ANYWHERE = ("0.0.0.0", "::")
_FAMILIES = (socket.AF_INET, socket.AF_INET6)
_SETTLE_S = 0.02
_TRIES = 9

_loaded: list[Any] = []


def library() -> Any:
    """pylsl, loaded so that it looks for streams on this machine only.

    PlacementError where it is not installed.
    """
    if not _loaded:
        try:
            import pylsl
        except (ImportError, RuntimeError, OSError) as error:
            raise PlacementError(
                f"LSL is not to be had: {error}; pip install 'streamproc[lsl]'"
            ) from error
        pylsl.set_config_content(_CONFIG)
        _loaded.append(pylsl)
    return _loaded[0]


@contextmanager
def confined() -> Iterator[None]:
    """Sockets on every address that were opened inside listen to loopback only.

    PlacementError where the system does not do that for us.
    """
    before = set(_sockets())
    try:
        yield
    finally:
        ports = set()
        for number, _ in set(_sockets()) - before:
            with suppress(OSError), socket.socket(fileno=os.dup(number)) as made:
                if _is_open(made):
                    _confine(made)
                    ports.add(made.getsockname()[1])
        time.sleep(_SETTLE_S)  # LSL takes in who waits already
        _cut_off(ports - {0})


def _is_open(made: socket.socket) -> bool:
    """Whether a socket takes what comes from anywhere, as LSL's do.

    One that is about to connect, such as another thread's, does not, and is let be.
    """
    if made.family not in _FAMILIES or made.getsockname()[0] not in _ANYWHERE:
        return False
    listens = made.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    return bool(listens) or made.type == socket.SOCK_DGRAM


def _confine(made: socket.socket) -> None:
    option = getattr(socket, "SO_BINDTODEVICE", None)
    try:
        if option is None:
            raise OSError("no SO_BINDTODEVICE here")
        made.setsockopt(socket.SOL_SOCKET, option, _LOOPBACK)
    except OSError as error:
        raise PlacementError(
            f"LSL listens on every address and cannot be kept to this machine: "
            f"{error}; it takes Linux 5.7 or newer"
        ) from error


def _cut_off(ports: set[int]) -> None:
    """Who reached one of our ports from elsewhere before it was confined."""
    for one, address, _ in _connected():
        if one.getsockname()[1] in ports and not ip_address(address).is_loopback:
            one.shutdown(socket.SHUT_RDWR)


def strangers(port: int) -> list[str]:
    """Other machines, to a port of which this process is connected."""
    far = [found for _, found, there in _connected() if there == port]
    return sorted({found for found in far if not ip_address(found).is_loopback})


def _connected() -> Iterator[tuple[socket.socket, str, int]]:
    """Connections of this process: a duplicate, and the peer's address and port."""
    for number, _ in _sockets():
        try:
            with socket.socket(fileno=os.dup(number)) as one:
                if one.family in _FAMILIES:
                    address, port = one.getpeername()[:2]
                    yield one, address, port
        except OSError:
            continue  # nobody is at the other end


def _sockets() -> Iterator[tuple[int, str]]:
    """Descriptors of this process that are sockets, and which."""
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue  # closed meanwhile
        if target.startswith("socket:"):
            yield int(name), target


def clock_state(offset_ns: int) -> Array:
    """An offset to UTC for a node's state, with what tells this boot from others.

    LSL's clock begins anew with the machine, and an offset is worth nothing then.
    """
    return np.array([offset_ns, *_boot()], np.int64)


def offset_again(lsl: Any, state: Array) -> int:
    """The offset of a node's earlier life, so that stamps stay what they were."""
    offset_ns, *boot = state.tolist()
    return offset_ns if boot == _boot() else utc_offset_ns(lsl)


@functools.cache
def _boot() -> list[int]:
    told = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    halves: list[int] = np.frombuffer(
        bytes.fromhex(told.replace("-", "")), "<i8"
    ).tolist()
    return halves


def utc_offset_ns(lsl: Any) -> int:
    """What to add to LSL's clock, in ns, to have UTC.

    Taken once and kept: steps between stamps stay what they are, whoever sets the
    time of day.
    """
    best, offset = 1 << 62, 0
    for _ in range(_TRIES):
        before = time.time_ns()
        ticks = lsl.local_clock()
        after = time.time_ns()
        if after - before < best:
            best = after - before
            offset = (before + after) // 2 - round(ticks * 1e9)
    return offset
