"""What may be listened on or talked to without keys: this machine, nothing else."""

from __future__ import annotations

import socket
from typing import Protocol

from streamproc.addresses import is_loopback, numeric
from streamproc.errors import GraphError, PlacementError

_CURE = (
    "use 127.0.0.1, ::1 or ipc, and bring far data here through something that "
    "authenticates, such as an ssh tunnel"
)


def check_host(host: str) -> None:
    """PlacementError unless a host is this machine's loopback, whatever its name."""
    if not is_loopback(host):
        raise PlacementError(
            f"host {host!r} is beyond this machine, which needs keys; {_CURE}"
        )


def split_endpoint(endpoint: str) -> tuple[str, str, str]:
    """Scheme, host and port; of ipc, the path and nothing. GraphError for neither."""
    scheme, separator, address = endpoint.partition("://")
    if not separator or not address or scheme not in ("tcp", "ipc"):
        raise GraphError(
            f"endpoint: expected tcp://127.0.0.1:5555 or ipc:///path, got {endpoint!r}"
        )
    if scheme == "ipc":
        if address == "*" or address.startswith("@"):
            raise GraphError(
                f"endpoint: expected ipc:///path, whose mode says who may use it, got "
                f"{endpoint!r}; name a path in a folder of one's own"
            )
        return scheme, address, ""
    host, colon, port = address.rpartition(":")
    if not colon or not (port in ("*", "0") or _is_port(port)):
        raise GraphError(f"endpoint: expected a port in {endpoint!r}")
    return scheme, host.removeprefix("[").removesuffix("]"), port


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 0 < int(text) < 65536


class Place(Protocol):
    """A config that names a host and a port."""

    @property
    def address(self) -> str: ...
    @property
    def port(self) -> int: ...


def checked(place: Place) -> tuple[str, int]:
    """The address to use: what the name stands for now, which must be loopback."""
    address = numeric(place.address)
    check_host(address)
    return address, place.port


def new_socket(place: Place, kind: socket.SocketKind) -> socket.socket:
    """A socket of the host's family that never waits."""
    six = ":" in numeric(place.address)
    made = socket.socket(socket.AF_INET6 if six else socket.AF_INET, kind)
    made.setblocking(False)
    return made


def bind(made: socket.socket, place: Place) -> None:
    """Take host and port; PlacementError, and the socket closed, if they are taken."""
    try:
        made.bind(checked(place))
        if made.type == socket.SOCK_STREAM:
            made.listen(1)
    except OSError as error:
        protocol = "tcp" if made.type == socket.SOCK_STREAM else "udp"
        made.close()
        raise PlacementError(
            f"cannot listen on {protocol} {place.address}:{place.port}: "
            f"{error.strerror}; stop the other process, or name another port"
        ) from error
