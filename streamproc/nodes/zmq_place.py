"""Where a ZeroMQ node stands, who may come to it, and whom it goes to."""

from __future__ import annotations

from pathlib import Path
from typing import Generic, Protocol, TypeVar

from streamproc import keys
from streamproc.addresses import bracketed, loopback, numeric
from streamproc.errors import PlacementError
from streamproc.nodes.counting import ConfigT, Counting
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


class End(Protocol):
    """A socket for other programs; door: who came to it over tcp and was sent away."""

    door: Door | None

    @property
    def endpoint(self) -> str: ...


EndT = TypeVar("EndT", bound=End)


class ZmqEnd(Counting[ConfigT], Generic[ConfigT, EndT]):
    """A node whose other side is any ZeroMQ program."""

    _end: EndT | None = None

    @property
    def door(self) -> Door | None:
        """Who came to it over tcp and was sent away."""
        return None if self._end is None else self._end.door

    @property
    def endpoint(self) -> str:
        """Where it listens or connects, once open; says which port `:*` became."""
        return self._opened().endpoint

    def _opened(self) -> EndT:
        if self._end is None:
            raise self._closed()
        return self._end

    def report(self) -> dict[str, float]:
        """Everything counted, by name, and peers sent away, by cause."""
        if self.door is None:
            return super().report()
        causes = {f"peers_{cause}": n for cause, n in self.door.counts.items() if n}
        return {**super().report(), "refused_peers": sum(causes.values()), **causes}
