"""CURVE: the options that make a ZeroMQ socket prove who it is, and hide what it says.

The keys themselves are files, see streamproc.keys.
"""

from __future__ import annotations

from typing import NamedTuple

import zmq

from streamproc.keys import Allowed, Pair

# ZeroMQ asks who may come in by domain, and by exactly this one: a door that
# answers for another domain, or no door at all, lets nobody in.
DOMAIN = "streamproc"


class Lock(NamedTuple):
    """What a listening end needs: its own pair, and who is let in."""

    pair: Pair
    allowed: Allowed


class Pass(NamedTuple):
    """What a connecting end needs: its own pair, and the other end's public key."""

    pair: Pair
    server: str


def new_pair() -> Pair:
    """A pair of keys.

    Call it in a process where no ZeroMQ context runs: libzmq shares its source of
    random numbers without a lock (its issue 4241).
    """
    while True:
        public, secret = (key.decode() for key in zmq.curve_keypair())
        if public[0].isalnum():  # so that no command line takes it for an option
            return Pair(public, secret)


def belongs(pair: Pair) -> bool:
    """Whether the two keys of a pair belong together. As new_pair: no context yet."""
    public: bytes = zmq.curve_public(pair.secret.encode())
    return public.decode() == pair.public


def fit_lock(socket: zmq.Socket[bytes], lock: Lock) -> None:
    """Make a listening socket take nobody but those its door lets in."""
    socket.set(zmq.CURVE_SERVER, 1)
    socket.set(zmq.CURVE_SECRETKEY, lock.pair.secret.encode())
    socket.set(zmq.ZAP_DOMAIN, DOMAIN.encode())
    socket.set(zmq.ZAP_ENFORCE_DOMAIN, 1)  # no door: nobody, instead of everybody


def show_pass(socket: zmq.Socket[bytes], shown: Pass) -> None:
    """Make a connecting socket prove who it is, and talk to no other end."""
    socket.set(zmq.CURVE_PUBLICKEY, shown.pair.public.encode())
    socket.set(zmq.CURVE_SECRETKEY, shown.pair.secret.encode())
    socket.set(zmq.CURVE_SERVERKEY, shown.server.encode())
