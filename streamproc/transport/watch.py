"""Connections of a ZeroMQ socket, and how much of what they sent nobody has got.

ZeroMQ bounds a part and a number of whole sendings, not the parts of one sending: a
peer that never ends one fills the memory of whoever listens, at 64 bytes for every
two that it sends. So the kernel is asked how much came over each connection
(TCP_INFO), and a connection that is too far ahead of what was taken out of the socket
is reset; libzmq then throws away what it had begun.
"""

from __future__ import annotations

import ctypes
import fcntl
import ipaddress
import socket
import struct
import termios
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

MOST_PEERS = 512  # connections of one socket
EVERY_LOOKS = 5  # those that have not shaken hands are looked at
MOST_UNGREETED = 128  # of them, those that have not shaken hands
GREETING_BYTES = 90  # whoever has shaken hands, without keys, has sent more
WELCOME_BYTES = 260  # and with keys, has been sent more: 234 before it proved itself
IDLE_BYTES_PER_S = 1024  # heartbeats and the like, which nobody takes out
MOST_GROWTH_BYTES = 256 << 20  # of the process, while something lies here untaken
CALM_BYTES = 1 << 16  # less than this untaken is nothing
SHORT_PART = 255  # ZMTP: a longer part has a head of 9 bytes, not of 2
CURVE_BYTES = 33  # around a part: command, nonce, proof, flags
AT_ONCE = 10  # connections that an address nobody listed came from may open
PER_S = 1.0  # and so many more in a second
MOST_ADDRESSES = 4096  # that are remembered
_ACKED_AT = 120  # bytes_acked, bytes_received in Linux' struct tcp_info
_U64_2, _INT = struct.Struct("=QQ"), struct.Struct("=i")
_PAGE = 4096
_libc = ctypes.CDLL(None)
_SO_ATTACH_FILTER, _RETURN_NOTHING = 26, struct.pack("=HBBI", 6, 0, 0, 0)


class _Link(NamedTuple):
    """Bytes sent and acknowledged, bytes received, the other end's address."""

    acked: int
    received: int
    address: Any


class Closed(NamedTuple):
    """How many connections were shut down, by cause."""

    flood: int = 0
    crowd: int = 0


class Patience:
    """How many connections an address may open before it is not listened to.

    A handshake by CURVE costs a quarter of a millisecond of the thread that reads for
    everybody, so fifty at once would hold up all who are in.
    """

    def __init__(self) -> None:
        self._trusted: dict[str, None] = {}
        self._spent: dict[str, tuple[float, float]] = {}

    def trust(self, address: str) -> None:
        """Somebody listed came from there: it may open as many as it likes."""
        _remember(self._trusted, _network(address), None)

    def lost(self, address: str, now_s: float) -> bool:
        """Count one more connection; whether it was one too many."""
        network = _network(address)
        if network in self._trusted:
            return False
        spent, when_s = self._spent.get(network, (0.0, now_s))
        spent = max(0.0, spent - PER_S * (now_s - when_s))
        lost = spent + 1 > AT_ONCE
        _remember(self._spent, network, (spent if lost else spent + 1, now_s))
        return lost


def _remember(among: dict[str, Any], network: str, what: Any) -> None:
    """As the newest; the oldest is forgotten when there are too many."""
    among.pop(network, None)
    among[network] = what
    if len(among) > MOST_ADDRESSES:
        del among[next(iter(among))]


def _network(address: str) -> str:
    """Who an address belongs to: of IPv6, whoever has one has 2**64."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if found.version == 6 and found.ipv4_mapped is None:
        return str(int(found) >> 64)
    return str(getattr(found, "ipv4_mapped", None) or found)


class Peer:
    """One connection: its descriptor, the other end, what came and was taken."""

    def __init__(self, descriptor: int, address: Any, now_s: float) -> None:
        self.descriptor, self.address, self.since_s = descriptor, address, now_s
        self.received = self.untaken = self.base = 0
        self.greeted = False


def wire_bytes(size: int, curve: bool) -> int:
    """How many bytes a part of that size is on the wire (ZMTP 3)."""
    size += CURVE_BYTES if curve else 0
    return size + (2 if size <= SHORT_PART else 9)


class Watch:
    """Looks after the connections of one socket.

    taken: bytes taken out of the socket, by descriptor; the owner adds to it.
    allowance: how many bytes of a connection may lie untaken.
    curve: whether a handshake takes keys.
    """

    def __init__(self, taken: dict[int, int], allowance: int, curve: bool) -> None:
        self.peers: dict[int, Peer] = {}
        self._taken, self._allowance, self._curve = taken, allowance, curve
        self._calm_rss = resident_bytes()
        self._looks = 0

    def add(self, descriptor: int, now_s: float) -> str:
        """A connection has come about; from which address, empty if it is gone."""
        found = _received(descriptor)
        if found is None:
            return ""
        peer = Peer(descriptor, found.address, now_s)
        peer.base = self._taken.get(descriptor, 0)
        self.peers[descriptor] = peer
        return str(found.address[0])

    def end(self, descriptor: int, size: int) -> bool:
        """Shut down who sent so many bytes, if it is that one who is there."""
        peer = self.peers.get(descriptor)
        found = _received(descriptor)
        if peer is None or found is None or found.received < size:
            return False
        return self._shut(peer)

    def look(self, now_s: float) -> Closed:
        """Ask after every connection; shut down those that are too much."""
        self._looks += 1
        all_of_them = self._looks % EVERY_LOOKS == 0
        for peer in list(self.peers.values()):
            if peer.greeted or all_of_them:  # who has not shaken hands sends nothing
                self._ask(peer)
        out = self._crowd() if all_of_them else []
        crowd = [self._shut(peer) for peer in out]
        flood = [self._shut(peer) for peer in self._floods(now_s)]
        return Closed(sum(flood), sum(crowd))

    def _ask(self, peer: Peer) -> None:
        found = _received(peer.descriptor)
        if found is None or found.address != peer.address:  # another may be there
            del self.peers[peer.descriptor]
            return
        peer.received = found.received
        proof = found.acked > WELCOME_BYTES, found.received > GREETING_BYTES
        peer.greeted = proof[0] if self._curve else proof[1]
        taken = self._taken.get(peer.descriptor, 0) - peer.base
        peer.untaken = peer.received - taken
        if peer.untaken < 0:  # what an earlier connection of this descriptor had sent
            peer.base -= peer.untaken
            peer.untaken = 0

    def _crowd(self) -> list[Peer]:
        """The oldest that do not shake hands, and the newest beyond all room."""
        silent = [peer for peer in self.peers.values() if not peer.greeted]
        silent.sort(key=lambda peer: peer.since_s)
        out = silent[: max(0, len(silent) - MOST_UNGREETED)]
        surplus = len(self.peers) - len(out) - MOST_PEERS
        newest = sorted(self.peers.values(), key=lambda peer: -peer.since_s)
        return out + [peer for peer in newest if peer not in out][: max(0, surplus)]

    def _floods(self, now_s: float) -> list[Peer]:
        held = [peer for peer in self.peers.values() if peer.untaken > CALM_BYTES]
        rss = resident_bytes()
        if not held:
            self._calm_rss = rss
            return []
        out = [peer for peer in held if self._overdrawn(peer, now_s)]
        if not out and rss - self._calm_rss > MOST_GROWTH_BYTES:
            out = [max(held, key=lambda peer: peer.untaken)]
        return out

    def _overdrawn(self, peer: Peer, now_s: float) -> bool:
        free = self._allowance + IDLE_BYTES_PER_S * (now_s - peer.since_s)
        return peer.untaken > free and peer.untaken - _unread(peer.descriptor) > free

    def _shut(self, peer: Peer) -> bool:
        """End a connection, if it is still the same one; libzmq then forgets it."""
        self.peers.pop(peer.descriptor, None)
        found = _received(peer.descriptor)
        if found is None or found.address != peer.address:
            return False
        return _abort(peer.descriptor)


def _received(descriptor: int) -> _Link | None:
    """How a TCP connection stands; None if the descriptor is none."""
    try:
        end = socket.socket(fileno=descriptor)
    except OSError:
        return None
    try:
        about = end.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        acked, received = _U64_2.unpack_from(about, _ACKED_AT)
        return _Link(acked, received, end.getpeername())
    except (OSError, struct.error):
        return None
    finally:
        end.detach()


def _abort(descriptor: int) -> bool:
    """Reset a TCP connection; what it had sent and nobody has read is gone at once.

    That is what connecting to an address of no family does (connect(2)); `shutdown`
    would leave libzmq megabytes to read.
    """
    nowhere = struct.pack("=H14x", socket.AF_UNSPEC)
    return bool(_libc.connect(descriptor, nowhere, len(nowhere)) == 0)


def ignore(descriptor: int) -> None:
    """Have the kernel drop all that a TCP connection still says, until it is closed.

    To reset it would invite it to try again at once. The filter is one instruction,
    "keep 0 bytes" (socket(7), SO_ATTACH_FILTER); the linger of 0 makes the close a
    reset, as the end of who is not heard never comes.
    """
    code = ctypes.create_string_buffer(_RETURN_NOTHING)
    filtering = struct.pack("@HP", 1, ctypes.addressof(code))
    try:
        end = socket.socket(fileno=descriptor)
    except OSError:
        return
    with suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, filtering)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("@ii", 1, 0))
    end.detach()


def _unread(descriptor: int) -> int:
    """Bytes that still lie in the kernel, and so in nobody's memory here."""
    try:
        told = fcntl.ioctl(descriptor, termios.FIONREAD, bytes(_INT.size))
    except OSError:
        return 0
    return int(_INT.unpack(told)[0])


def resident_bytes() -> int:
    """Memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE
