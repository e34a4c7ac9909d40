"""One node by itself: what a call of open_node costs, on a scene or a recording."""

from __future__ import annotations

import time
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from streamproc.embedding import OpenNode, open_node
from streamproc.errors import EndOfStream, GraphError
from streamproc.frame import Frame, Signature
from streamproc.measure.figures import curve_us, quantiles_us
from streamproc.node import config_type, output_signatures, ports
from streamproc.nodes import kind as kind_of
from streamproc.runtime.clock import Schedule, now_ns, sharpen_timers
from streamproc.schema import build

SCENES = ("scene.isi", "scene.ultrasound", "scene.lorenz")
SEEN = "observation"  # the port of a scene that a sensor would give
MOST_BYTES = 256 << 20  # of frames drawn before the first call
WARM = 20  # calls before any counts: what compiles has compiled


@dataclass(frozen=True)
class Ask:
    """A kind and its config, and where its frames come from.

    source: a kind of source; empty: the first of SCENES whose frames it takes.
    rate_hz: calls at this rate, since what sleeps has cold caches; 0: back to back.
    """

    kind: str
    config: Mapping[str, Any]
    source: str = ""
    source_config: Mapping[str, Any] | None = None
    calls: int = 10_000
    rate_hz: float = 0.0


def measure(ask: Ask) -> dict[str, Any]:
    """Latency of a call (µs), calls/s, CPU s per million calls, what came first.

    Raises what open_node raises; GraphError when nobody has frames for the kind.
    """
    kinds = [ask.source] if ask.source else list(SCENES)
    wanted = tuple(ports(kind_of(ask.kind)).inputs)
    if not wanted:
        raise GraphError(f"{ask.kind} is a source: it takes no frames to be timed with")
    refusals = []
    for source in kinds:
        try:
            signatures = _signatures(source, ask.source_config or {}, wanted)
            _accepts(ask, signatures)
        except GraphError as error:
            refusals.append(f"{source}: {error}")
            continue
        frames = _draw(source, ask.source_config or {}, wanted, ask.calls + WARM)
        node = open_node(ask.kind, signatures=signatures, name="node", **ask.config)
        with node:
            return {"kind": ask.kind, "source": source, **_timed(node, frames, ask)}
    raise GraphError(
        f"{ask.kind}: {'; '.join(refusals)}; name frames it takes: --scene KIND with "
        "--scene.KEY VALUE, or --recording FILE with --scene.KEY VALUE for the keys of "
        "file.source"
    )


def _accepts(ask: Ask, signatures: Mapping[str, Signature]) -> None:
    cls = kind_of(ask.kind)
    output_signatures(
        cls(build(config_type(cls), dict(ask.config), ("node",))), dict(signatures)
    )


def _signatures(
    source: str, config: Mapping[str, Any], wanted: tuple[str, ...]
) -> dict[str, Signature]:
    cls = kind_of(source)
    node = cls(build(config_type(cls), dict(config), ("source",)))
    given = output_signatures(node, {})
    return {port: given[_port_for(port, tuple(given), wanted)] for port in wanted}


def _port_for(port: str, given: tuple[str, ...], wanted: tuple[str, ...]) -> str:
    """Which of a source's ports feeds one of the node's."""
    if port in given:
        return port
    if len(wanted) == 1 and (len(given) == 1 or SEEN in given):
        return SEEN if SEEN in given else given[0]
    raise GraphError(f"has {', '.join(given)}, nothing for the port {port}")


def _draw(
    source: str, config: Mapping[str, Any], wanted: tuple[str, ...], most: int
) -> list[tuple[Frame, ...]]:
    """Frames in the order of the node's ports, before anything is timed."""
    drawn: list[tuple[Frame, ...]] = []
    size = 0
    with open_node(source, **config) as frames:
        outputs = ports(type(frames.node)).outputs
        chosen = [_port_for(port, outputs, wanted) for port in wanted]
        while len(drawn) < most and size < MOST_BYTES:
            try:
                made = frames()
            except EndOfStream:
                break
            row = tuple(made if len(outputs) == 1 else getattr(made, p) for p in chosen)
            if all(frame is not None for frame in row):
                drawn.append(row)
                size += sum(a.nbytes for f in row for a in f.arrays.values())
    if not drawn:
        raise GraphError(f"{source}: gave no frame")
    return drawn


def _timed(node: OpenNode, frames: list[tuple[Frame, ...]], ask: Ask) -> dict[str, Any]:
    """Call it: once, WARM times, and then for the figures."""
    start = time.perf_counter_ns()
    node(*frames[0])
    first_ms = (time.perf_counter_ns() - start) / 1e6
    laps = _Laps(frames)
    for index in range(1, WARM):
        node(*laps.row(index))
    sharpen_timers()
    schedule = Schedule(ask.rate_hz, now_ns()) if ask.rate_hz else None
    took = array("q")
    before = time.process_time()
    begun = time.perf_counter_ns()
    for index in range(WARM, WARM + ask.calls):
        given = laps.row(index)
        if schedule is not None:
            _sleep_until(schedule)
        start = time.perf_counter_ns()
        node(*given)
        took.append(time.perf_counter_ns() - start)
    wall_s = (time.perf_counter_ns() - begun) / 1e9
    ns = np.array(took, np.int64)
    return {
        **quantiles_us(ns),
        "curve_us": curve_us(ns),
        "calls_per_s": ask.calls / wall_s,
        "cpu_s_per_mframe": (time.process_time() - before) / ask.calls * 1e6,
        "first_call_ms": first_ms,
        "late_ticks": schedule.late_ticks if schedule else 0,
        "distinct_frames": min(len(frames), ask.calls + WARM),
    }


class _Laps:
    """Rows of frames again and again, while their times and seqs go on."""

    def __init__(self, rows: list[tuple[Frame, ...]]) -> None:
        self._rows = rows
        first, last = ([f.header for f in row] for row in (rows[0], rows[-1]))
        ends = list(zip(first, last, strict=True))
        span_ns = max(b.t0_ns - a.t0_ns for a, b in ends)
        self._ns = span_ns + span_ns // max(len(rows) - 1, 1)
        self._seqs = [b.seq - a.seq + 1 for a, b in ends]

    def row(self, index: int) -> tuple[Frame, ...]:
        """The frames of a call."""
        lap, place = divmod(index, len(self._rows))
        row = self._rows[place]
        if not lap:
            return row
        return tuple(
            Frame(
                f.header._replace(
                    seq=f.header.seq + lap * seqs, t0_ns=f.header.t0_ns + lap * self._ns
                ),
                f.arrays,
            )
            for f, seqs in zip(row, self._seqs, strict=True)
        )


def _sleep_until(schedule: Schedule) -> None:
    wait_ns = schedule.due_ns - now_ns()
    if wait_ns > 0:
        time.sleep(wait_ns / 1e9)
    schedule.tick(now_ns())
