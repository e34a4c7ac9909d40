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
from streamproc.nodes.counting import ConfigT, Counting

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
    """What LSL opens inside on every address listens to loopback only.

    Other threads may open sockets meanwhile: those of Python and of ZeroMQ, which
    unlike LSL's are closed on exec, are let be. Those of another library that does
    not close them are taken for LSL's: open them before, or after.
    PlacementError where the system does not do that for us, or nothing is LSL's.
    """
    before = set(_sockets())
    ports = set()
    try:
        yield
    finally:
        for number, _ in set(_sockets()) - before:
            with suppress(OSError), socket.socket(fileno=os.dup(number)) as made:
                if os.get_inheritable(number) and _is_open(made):
                    _confine(made)
                    ports.add(made.getsockname()[1])
        time.sleep(_SETTLE_S)  # LSL takes in who waits already
        _cut_off(ports - {0})
    if not ports:
        raise PlacementError(
            "LSL's sockets are not to be told from others, so it cannot be kept to "
            "this machine; it takes pylsl 1.18"
        )


def _is_open(made: socket.socket) -> bool:
    """Whether it takes what comes from anywhere; one about to connect does not."""
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


class LslNode(Counting[ConfigT]):
    """A node with stamps of LSL's clock, which stay what they were after a crash."""

    _offset_ns = 0  # from LSL's clock to UTC

    def open(self, device: str) -> None:
        super().open(device)
        self._offset_ns = utc_offset_ns(library())

    def _kept(self) -> dict[str, Array]:
        clock = np.array([self._offset_ns, *_boot()], np.int64)
        return {**super()._kept(), "clock": clock}

    def _restore(self, state: dict[str, Array]) -> None:
        super()._restore(state)
        offset_ns, *boot = state["clock"].tolist()
        if boot == _boot():  # else LSL's clock began anew, and an old offset is wrong
            self._offset_ns = offset_ns


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
