"""For tests of nodes and plug-ins: run any node bare, check any node kind."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any

import numpy as np

from streamproc.errors import EndOfStream
from streamproc.frame import Array, Frame, Signature
from streamproc.mount import Mount, Outputs
from streamproc.node import Node, output_signatures, ports
from streamproc_kernels.twins import check_twin

__all__ = ["check_node", "check_twin", "run_node"]

Streams = dict[str, list[Frame]]


def run_node(
    node: Node[Any],
    inputs: Mapping[str, Iterable[Frame]] | None = None,
    *,
    signatures: Mapping[str, Signature] | None = None,
    frames: int | None = None,
    device: str = "cpu",
) -> Streams:
    """Open a node, feed it, close it; what came out, by output port.

    inputs: frames by input port, taken in step (the n-th of each together).
    signatures: by input port; read off the first frame where not given.
    frames: how many times a source is asked.
    """
    mount, feed = _mounted(node, dict(inputs or {}), signatures or {}, frames)
    node.open(device)
    try:
        return _finish(mount, _drive(mount, feed))
    finally:
        node.close()


def _mounted(
    node: Node[Any],
    inputs: dict[str, Iterable[Frame]],
    signatures: Mapping[str, Signature],
    frames: int | None,
) -> tuple[Mount, list[tuple[Frame, ...]]]:
    names = ports(type(node)).inputs
    if set(inputs) != set(names):
        cure = f"; pass inputs={{{names[0]!r}: frames_of(arrays)}}" if names else ""
        raise TypeError(
            f"expected frames for {_listed(names)}, got {_listed(inputs)}{cure}"
        )
    if names:
        feed = list(
            islice(zip(*(inputs[name] for name in names), strict=False), frames)
        )
        if not feed:
            raise ValueError(f"expected frames for {_listed(names)}, got none")
    else:
        feed = [()] * (100 if frames is None else frames)
    known = {
        name: signatures.get(name) or Signature.of_frame(feed[0][index])
        for index, name in enumerate(names)
    }
    return Mount("node", node, output_signatures(node, known)), feed


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "no port"


def _drive(mount: Mount, feed: Iterable[tuple[Frame, ...]]) -> Streams:
    out: Streams = {port: [] for port in mount.outputs}
    for frames in feed:
        try:
            _append(out, mount(frames))
        except EndOfStream:
            break
    return out


def _finish(mount: Mount, out: Streams) -> Streams:
    for made in mount.finish():
        _append(out, made)
    return out


def _append(out: Streams, made: Outputs) -> None:
    for port, frame in zip(out, made, strict=True):
        if frame is not None:
            out[port].append(frame)


def check_node(
    make: Callable[[], Node[Any]],
    inputs: Mapping[str, list[Frame]] | None = None,
    *,
    signatures: Mapping[str, Signature] | None = None,
    frames: int = 20,
    device: str = "cpu",
) -> None:
    """Assert what every node kind owes its users.

    Inputs stay unmutated, outputs match `accept`, the same seed gives the same
    bytes, `close` may come twice, a reopened node starts clean, and a state taken
    half-way and restored goes on bit-equal.
    """
    given = dict(inputs or {})
    if given:
        frames = min(frames, *(len(stream) for stream in given.values()))
    before = {name: [_content(f) for f in stream] for name, stream in given.items()}

    def run(node: Node[Any]) -> Streams:
        return run_node(
            node, given, signatures=signatures, frames=frames, device=device
        )

    node = make()
    first = run(node)
    after = {name: [_content(f) for f in stream] for name, stream in given.items()}
    assert before == after, "process changed its input"
    node.close()
    assert _contents(run(make())) == _contents(first), "same seed, other bytes"
    assert _contents(run(node)) == _contents(first), "reopening did not start clean"
    assert any(first.values()) or not first, "no frame came out"
    _check_restore(make, given, signatures or {}, frames, device, first)


def _check_restore(
    make: Callable[[], Node[Any]],
    inputs: dict[str, list[Frame]],
    signatures: Mapping[str, Signature],
    frames: int,
    device: str,
    undisturbed: Streams,
) -> None:
    mount, feed = _mounted(make(), dict(inputs), signatures, frames)
    half = len(feed) // 2
    mount.node.open(device)
    head = _drive(mount, feed[:half])
    state = mount.snapshot()
    _drive(mount, feed[half:])  # goes astray after the snapshot, then dies
    mount.node.close()
    mount, _ = _mounted(make(), dict(inputs), signatures, frames)
    mount.node.resumed = True
    mount.node.open(device)
    mount.restore(state)
    tail = _finish(mount, _drive(mount, feed[half:]))
    mount.node.close()
    joined = {port: head[port] + tail[port] for port in head}
    assert _contents(joined) == _contents(undisturbed), "restored state diverged"


def _content(frame: Frame) -> tuple[Any, ...]:
    header = frame.header
    arrays = {
        name: (a.dtype.str, a.shape, a.tobytes()) for name, a in frame.arrays.items()
    }
    return header.stream, header.seq, header.t0_ns, header.flags, arrays


def _contents(streams: Streams) -> dict[str, list[tuple[Any, ...]]]:
    return {port: [_content(f) for f in stream] for port, stream in streams.items()}


def frames_of(arrays: Iterable[Array], step_ns: int = 1_000_000) -> list[Frame]:
    """Frames with these `data` arrays, `step_ns` apart."""
    return [
        Frame.of(np.ascontiguousarray(array), t0_ns=index * step_ns)
        for index, array in enumerate(arrays)
    ]
