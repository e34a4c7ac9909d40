"""What a host's name stands for, and whether that is this machine and no other."""

from __future__ import annotations

import ipaddress
import socket

from streamproc.errors import PlacementError

ANYWHERE = "0.0.0.0"  # every address of this machine, as ZeroMQ's `*`


def is_loopback(host: str) -> bool:
    """Whether every address that a host stands for is this machine's loopback.

    A name that means nothing here may mean something tomorrow: it counts as beyond.
    """
    found = _addresses(host)
    return bool(found) and all(ipaddress.ip_address(a).is_loopback for a in found)


def numeric(host: str) -> str:
    """One address of a host, IPv4 if it has one; a name is asked for only once.

    What was checked is then what is bound or connected to, whatever the name stands
    for a moment later. Raises PlacementError for a name that means nothing.
    """
    found = sorted(_addresses(host), key=lambda address: ":" in address)
    if not found:
        raise PlacementError(
            f"host {host!r} cannot be resolved; give an address, such as 127.0.0.1"
        )
    return found[0]


def bracketed(address: str) -> str:
    """As endpoints have it: IPv6 in brackets."""
    return f"[{address}]" if ":" in address else address


def _addresses(host: str) -> list[str]:
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
