"""What a host's name stands for, and whether that is this machine and no other."""

from __future__ import annotations

import ipaddress
import re
import socket

from streamproc.errors import PlacementError

ANYWHERE = "0.0.0.0"  # every address of this machine, as ZeroMQ's `*`
# ZeroMQ reads `[::1%1]:0;[0.0.0.0]:5` as a source and an address: a host with any of
# these is none, and counts as beyond.
_NO_HOST = re.compile(r"[%;\[\]\s\x00-\x1f\x7f]")


def is_loopback(host: str) -> bool:
    """Whether every address that a host stands for is this machine's loopback.

    A name that means nothing here may mean something tomorrow: it counts as beyond.
    """
    return _all_loopback(_addresses(host))


def numeric(host: str) -> str:
    """One address of a host, IPv4 if it has one; a name is asked for only once.

    What was checked is then what is bound or connected to, whatever the name stands
    for a moment later. Raises PlacementError for a name that means nothing.
    """
    return _first(host, _addresses(host))


def loopback(host: str) -> str:
    """As `numeric`, where every address is loopback; empty where one is beyond.

    The name is asked for once: what is judged here is what is used.
    """
    found = _addresses(host)
    return _first(host, found) if _all_loopback(found) else ""


def refuse_beyond(endpoint: str) -> None:
    """PlacementError unless a numeric tcp endpoint, as a socket has it, is loopback."""
    host = endpoint.removeprefix("tcp://").rpartition(":")[0]
    if not is_loopback(host.removeprefix("[").removesuffix("]")):
        raise PlacementError(
            f"cannot bind {endpoint}: expected loopback where there are no keys; "
            "use 127.0.0.1 or ::1, or make keys with `streamproc keys make FOLDER`"
        )


def bracketed(address: str) -> str:
    """As endpoints have it: IPv6 in brackets."""
    return f"[{address}]" if ":" in address else address


def _all_loopback(found: list[str]) -> bool:
    return bool(found) and all(ipaddress.ip_address(a).is_loopback for a in found)


def _first(host: str, found: list[str]) -> str:
    if not found:
        raise PlacementError(
            f"host {host!r} cannot be resolved; give an address, such as 127.0.0.1"
        )
    return min(found, key=lambda address: ":" in address)


def _addresses(host: str) -> list[str]:
    if _NO_HOST.search(host):
        return []
    host = ANYWHERE if host == "*" else host
    try:
        return [str(ipaddress.ip_address(host))]
    except ValueError:
        pass
    if not host or not host.isascii():
        return []
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))
