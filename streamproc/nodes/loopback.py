"""What may be listened on or talked to without keys: this machine, nothing else."""

from __future__ import annotations

import ipaddress
import socket
from typing import Protocol

from streamproc.errors import GraphError, PlacementError

_CURE = (
    "use 127.0.0.1, ::1 or ipc, and bring far data here through something that "
    "authenticates, such as an ssh tunnel"
)


def check_host(host: str) -> None:
    """PlacementError unless a host is this machine's loopback."""
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    if not local:
        raise PlacementError(
            f"host {host!r} is beyond this machine, which needs keys; {_CURE}"
        )


def check_endpoint(endpoint: str) -> None:
    """PlacementError for an endpoint beyond loopback, GraphError for none at all."""
    scheme, separator, address = endpoint.partition("://")
    if not separator or not address or scheme not in ("tcp", "ipc"):
        raise GraphError(
            f"endpoint: expected tcp://127.0.0.1:5555 or ipc:///path, got {endpoint!r}"
        )
    if scheme == "tcp":
        host, colon, port = address.rpartition(":")
        if not colon or not (port in ("*", "0") or _is_port(port)):
            raise GraphError(f"endpoint: expected a port in {endpoint!r}")
        check_host(host.removeprefix("[").removesuffix("]"))


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 0 < int(text) < 65536


class Place(Protocol):
    """A config that names a host and a port."""

    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...


def new_socket(place: Place, kind: socket.SocketKind) -> socket.socket:
    """A socket of the host's family that never waits."""
    made = socket.socket(socket.AF_INET6 if ":" in place.host else socket.AF_INET, kind)
    made.setblocking(False)
    return made


def bind(made: socket.socket, place: Place) -> None:
    """Take host and port; PlacementError, and the socket closed, if they are taken."""
    try:
        made.bind((place.host, place.port))
        if made.type == socket.SOCK_STREAM:
            made.listen(1)
    except OSError as error:
        protocol = "tcp" if made.type == socket.SOCK_STREAM else "udp"
        made.close()
        raise PlacementError(
            f"cannot listen on {protocol} {place.host}:{place.port}: "
            f"{error.strerror}; stop the other process, or name another port"
        ) from error
