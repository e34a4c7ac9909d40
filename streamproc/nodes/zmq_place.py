"""Where a ZeroMQ node stands, who may come to it, and whom it goes to."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from streamproc import keys
from streamproc.addresses import bracketed, loopback, numeric
from streamproc.errors import PlacementError
from streamproc.nodes.loopback import split_endpoint
from streamproc.transport.curve import Lock, Pass
from streamproc.transport.door import Door
from streamproc.transport.plain import Place


class Reach(Protocol):
    """A config that says where, and with which keys."""

    @property
    def endpoint(self) -> str: ...
    @property
    def bind(self) -> bool: ...
    @property
    def keys(self) -> str: ...
    @property
    def server(self) -> str: ...


def check_keys(config: Reach) -> None:
    """ValueError for keys that say too little or too much."""
    if config.server and (config.bind or not config.keys):
        raise ValueError(
            "server says who the other end must be: it needs keys and bind = false"
        )
    if config.keys and not config.bind and not config.server:
        raise ValueError(
            'connecting with keys needs server = "NAME", whose key is in FOLDER/allowed'
        )
    if config.keys and config.endpoint.startswith("ipc:"):
        raise ValueError("keys belong to tcp; who may use an ipc path, its mode says")


def place_of(config: Reach) -> Place:
    """Where to bind or connect. What was checked is what is used, names included.

    Raises GraphError for what is no endpoint, PlacementError for one beyond this
    machine without keys, and for keys that are not to be had.
    """
    scheme, host, port = split_endpoint(config.endpoint)
    if scheme == "ipc":
        return Place(config.endpoint, config.bind)
    address = numeric(host) if config.keys else loopback(host)
    if not address:
        raise PlacementError(
            f"endpoint {config.endpoint}: host {host!r} is beyond this machine, which "
            'needs keys; add keys = "FOLDER", made by `streamproc keys make FOLDER`, '
            "or use 127.0.0.1, ::1 or ipc"
        )
    endpoint = f"tcp://{bracketed(address)}:{port}"
    if not config.keys:
        return Place(endpoint, config.bind)
    folder = Path(config.keys)
    pair = keys.read_pair(folder)
    if config.bind:
        keys.show(folder)  # refused now rather than at the first who comes
        return Place(endpoint, True, Lock(pair, keys.Allowed(folder)))
    return Place(endpoint, False, Pass(pair, keys.server_key(folder, config.server)))


def refusals(door: Door | None) -> dict[str, float]:
    """How many peers a door sent away, and by which causes, as a node reports it."""
    if door is None:
        return {}
    causes = {f"peers_{cause}": float(n) for cause, n in door.counts.items() if n}
    return {"refused_peers": sum(causes.values()), **causes}
