"""The lab streaming layer's library, kept to this machine, and its clock.

LSL has no keys: its outlets listen on every address, and whoever reaches one may read.
So the sockets that it opens here are bound to the loopback interface right after.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from streamproc.errors import PlacementError

Reach = Literal["machine", "network"]

# numpy's names of LSL's channel formats, by their numbers in its header; no strings
FORMATS = {1: "f4", 2: "f8", 4: "i4", 5: "i2", 6: "i1", 7: "i8"}

_SCOPES = {"machine": "machine", "network": "site"}
_CONFIG = """[multicast]
ResolveScope = {}
[ports]
IPv6 = {}
[log]
level = -2
"""
_LOOPBACK = b"lo\0"
_ANYWHERE = ("0.0.0.0", "::")
_TRIES = 9

_reaches: list[Reach] = []  # of this process, once the library is loaded


def library(reach: Reach | None) -> Any:
    """pylsl, loaded so that it looks for streams no further than `reach`.

    None: as it is loaded already, or on this machine. PlacementError where it is not
    installed, or was loaded with another reach.
    """
    wanted: Reach = reach or (_reaches[0] if _reaches else "machine")
    if _reaches and wanted != _reaches[0]:
        raise PlacementError(
            f"LSL looks on the {_reaches[0]} in this process, not on the {wanted}; "
            "give nodes of another reach a worker of their own"
        )
    try:
        import pylsl
    except (ImportError, RuntimeError, OSError) as error:
        raise PlacementError(
            f"LSL is not to be had: {error}; pip install 'streamproc[lsl]'"
        ) from error
    if not _reaches:
        ipv6 = "disable" if wanted == "machine" else "allow"
        pylsl.set_config_content(_CONFIG.format(_SCOPES[wanted], ipv6))
        _reaches.append(wanted)
    return pylsl


@contextmanager
def confined() -> Iterator[None]:
    """Sockets on every address that were opened inside listen to loopback only.

    PlacementError where the system does not do that for us.
    """
    before = set(_sockets())
    yield
    option = getattr(socket, "SO_BINDTODEVICE", None)
    for number, _ in set(_sockets()) - before:
        with socket.socket(fileno=os.dup(number)) as made:
            if made.family not in (socket.AF_INET, socket.AF_INET6):
                continue
            if made.getsockname()[0] not in _ANYWHERE:
                continue
            try:
                if option is None:
                    raise OSError("no SO_BINDTODEVICE here")
                made.setsockopt(socket.SOL_SOCKET, option, _LOOPBACK)
            except OSError as error:
                raise PlacementError(
                    f"LSL listens on every address and cannot be kept to this machine: "
                    f"{error}; it takes Linux 5.7 or newer"
                ) from error


def _sockets() -> Iterator[tuple[int, str]]:
    """Descriptors of this process that are sockets, and which."""
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue  # closed meanwhile
        if target.startswith("socket:"):
            yield int(name), target


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
