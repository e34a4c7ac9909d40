"""The spare: a process that has loaded what the workers need, and forks them.

A worker that has numba and ONNX Runtime to load takes seconds to start. The spare
imports the modules of every node of the graph, and rehearses those whose kind allows
it: it opens one, shows it frames of zeros, closes it, and keeps another one open. A
worker forked from it finds all that in its memory, shared until it writes there. The
spare has no threads, sockets or devices, and never runs a worker itself.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import numpy as np

from streamproc.errors import EndOfStream, StreamprocError
from streamproc.frame import DTYPES, Frame, Header, Signature
from streamproc.mount import Mount
from streamproc.node import Node, Source
from streamproc.nodes import kind
from streamproc.on_demand import Compiling
from streamproc.runtime.control import Line, readable
from streamproc.runtime.mounted import Kept, mounted, open_mount, twin_of

BARE, IMPORTED, REHEARSED = range(3)  # how much a spare loads
WORD_BYTES = 256
MOST_BYTES = 1 << 24  # of the zeros that a node is shown
SHOWN = 2  # the first call may be a special one
LOAD_S = 120  # at each level; what takes longer, a worker does for itself
_PR_SET_PDEATHSIG = 1
GRACE_S = 3.0  # for workers whose supervisor has gone


def rehearse(nodes: Iterable[dict[str, Any]], level: int) -> Kept:
    """Load what these nodes need; what is wrong with them a worker will say.

    Once Numba's cache turns out to be empty, other processes fill it as well.
    """
    kept: Kept = {}
    both = [(entry, twin_of(entry)) for entry in nodes] if level > BARE else []
    rest = [one for pair in both for one in pair if one is not None]
    compiling, shared = Compiling(), level < REHEARSED
    while rest:
        one = rest.pop(0)
        with suppress(StreamprocError):
            kind(one["kind"])  # loads Numba, which is then listened to
            compiling.seen  # noqa: B018
            _load(one, level, kept)
        if not shared and compiling.seen:
            shared = True
            rest = _compile_together(rest, kept)
    compiling.close()
    return kept


def _compile_together(rest: list[dict[str, Any]], kept: Kept) -> list[dict[str, Any]]:
    """Load nodes here and in hands, one on each other core; who is left to load here.

    Hands leave in Numba's cache what they compile. Kinds of one family share most of
    it, so that the first of each family come first: the others find it there. The very
    first is loaded here, where it would else be loaded again.
    """
    families: dict[str, dict[str, Any]] = {}
    for one in rest:
        families.setdefault(_family(one), one)
    firsts = list(families.values())
    order = firsts + [one for one in rest if one not in firsts]
    hands = min(len(os.sched_getaffinity(0)), len(firsts)) - 1
    if hands < 1 or len(os.listdir("/proc/self/task")) > 1:
        return rest
    queue, to_queue = os.pipe()
    os.write(to_queue, np.arange(1, len(order), dtype=np.uint16).tobytes())
    os.close(to_queue)
    own = order[:1]
    pids = [_hand(queue, order) for _ in range(hands)]
    with suppress(StreamprocError):
        _load(own[0], REHEARSED, kept)
    _work_off(queue, order, kept, own)
    os.close(queue)
    for pid in pids:
        os.waitpid(pid, 0)
    return [one for one in rest if one not in own]


def _family(entry: dict[str, Any]) -> str:
    """The kind's first ancestor that is a node, but no mere Node or Source."""
    with suppress(StreamprocError):
        lineage = [one for one in kind(entry["kind"]).__mro__ if hasattr(one, "accept")]
        return [one.__name__ for one in lineage if one not in (Node, Source)][-1]
    return ""


def _hand(queue: int, order: list[dict[str, Any]]) -> int:
    """Its process id; it ends with the spare."""
    pid = os.fork()
    if pid:
        return pid
    try:
        _end_with_parent(signal.SIGKILL)
        signal.alarm(LOAD_S)
        _work_off(queue, order, {}, [])
    finally:
        os._exit(0)


def _end_with_parent(number: int) -> None:
    """By this signal, from now on; 0: by none."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)


def _work_off(
    queue: int,
    order: list[dict[str, Any]],
    kept: Kept,
    done: list[dict[str, Any]],
) -> None:
    while word := os.read(queue, 2):
        one = order[int.from_bytes(word, sys.byteorder)]
        with suppress(StreamprocError):
            _load(one, REHEARSED, kept)
        done.append(one)


def _load(entry: dict[str, Any], level: int, kept: Kept) -> None:
    found = kind(entry["kind"])
    on_cpu = entry["options"]["device"] == "cpu"  # a GPU's context outlives no fork
    if level == REHEARSED and found.rehearses and on_cpu:
        for last in (False, True):
            mount = mounted(entry)
            open_mount(mount, entry["options"], resumed=False)
            if last:
                kept[entry["name"], entry["kind"]] = mount
            else:
                _try_out(mount, entry)


def _try_out(mount: Mount, entry: dict[str, Any]) -> None:
    signatures = [Signature.from_plain(plain) for plain in entry["inputs"].values()]
    if _size(signatures) <= MOST_BYTES:
        for seq in range(SHOWN):
            with suppress(StreamprocError, EndOfStream):
                mount([_zeros(signature, seq) for signature in signatures])
    mount.node.close()


def _size(signatures: list[Signature]) -> int:
    return sum(
        DTYPES[spec.dtype].itemsize * int(np.prod(np.maximum(spec.shape, 1)))
        for signature in signatures
        for spec in signature.arrays
    )


def _zeros(signature: Signature, seq: int) -> Frame:
    """A frame that fits; where sizes are free, of size 1."""
    arrays = {
        spec.name: np.zeros([max(size, 1) for size in spec.shape], DTYPES[spec.dtype])
        for spec in signature.arrays
    }
    return Frame(Header("", seq, seq), arrays)


def stand_by(channel: socket.socket, level: int) -> tuple[Line, Kept] | None:
    """Load what standard input names, then fork a worker for every line that is sent.

    Or another spare, which stands by at a channel of its own and has loaded the same.

    Returns in a worker, with its line and the nodes that are open already; in the
    spare, with None, when its supervisor has gone, or what it has loaded has started
    threads, which a fork would lose. Loading for too long ends it by SIGALRM.
    """
    _prepare()
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(LOAD_S)
    _end_with_parent(signal.SIGKILL)  # while it loads it hears nobody go
    gc.set_threshold(50_000)  # at its usual 700 a compiler spends an eighth on it
    kept = rehearse(json.load(sys.stdin), level)
    _end_with_parent(0)
    signal.alarm(0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), sys.stdin.fileno())
    gc.collect()
    gc.freeze()  # the collector of a worker leaves these pages shared
    threads = len(os.listdir("/proc/self/task"))
    _tell(channel, {"threads": threads})
    if threads > 1 and level > BARE:
        return None
    children: dict[int, tuple[int, int]] = {}  # pidfd -> number, pid
    while True:
        for ready in readable([channel.fileno(), *children]):
            if ready in children:
                _reap(channel, ready, *children.pop(ready))
                continue
            word, fds = _hear(channel)
            if not word:
                _outlast(children)
                return None
            told = json.loads(word)
            own = _fork(channel, told["fork"], fds[0], children)
            if own is not None and not told["as_spare"]:
                return Line(own), kept
            if own is not None:
                channel, children = own, {}
                break


def _prepare() -> None:
    """Signals, and descriptors that no child of a node may hold on to."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, it would be inherited
    stops = (signal.SIGINT, signal.SIGTERM)
    for number in stops:
        # The supervisor decides. Children of nodes would inherit SIG_IGN.
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, stops)  # blocked until now
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # that of the listing itself is closed
            os.set_inheritable(int(name), int(name) <= sys.stderr.fileno())


def _hear(channel: socket.socket) -> tuple[bytes, list[int]]:
    """What the supervisor says, and a line; nothing once it has gone."""
    try:
        word, fds, _, _ = socket.recv_fds(channel, WORD_BYTES, 1)
    except ConnectionResetError:
        return b"", []
    return word, fds


def _fork(
    channel: socket.socket, number: int, fd: int, children: dict[int, tuple[int, int]]
) -> socket.socket | None:
    """In the child, its end of what connects it with the supervisor."""
    pid = os.fork()
    if not pid:
        for other in (channel.fileno(), *children):
            os.close(other)
        channel.detach()
        return socket.socket(fileno=fd)
    os.close(fd)
    exit_fd = os.pidfd_open(pid)
    children[exit_fd] = number, pid
    _tell(channel, {"born": number, "pid": pid}, [exit_fd])
    return None


def _reap(channel: socket.socket, exit_fd: int, number: int, pid: int) -> None:
    os.close(exit_fd)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    _tell(channel, {"ended": number, "code": code})


def _tell(
    channel: socket.socket, word: dict[str, int], fds: Iterable[int] = ()
) -> None:
    with suppress(BrokenPipeError, ConnectionResetError):
        socket.send_fds(channel, [json.dumps(word).encode()], list(fds))


def _outlast(children: dict[int, tuple[int, int]]) -> None:
    """Workers end when their supervisor has gone; those that hang are made to."""
    end = time.monotonic() + GRACE_S
    while children and (left_s := end - time.monotonic()) > 0:
        for exit_fd in readable(children, left_s):
            os.waitpid(children.pop(exit_fd)[1], 0)
    for exit_fd, (_, pid) in children.items():
        signal.pidfd_send_signal(exit_fd, signal.SIGKILL)
        os.waitpid(pid, 0)
