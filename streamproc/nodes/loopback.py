"""What may be listened on or talked to without keys: this machine, nothing else."""

from __future__ import annotations

import ipaddress

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
