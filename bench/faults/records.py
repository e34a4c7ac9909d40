"""What sinks recorded, and what it proves; the engine's counters are not asked."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bench.faults.kinds import ARRIVAL
from streamproc.frame import Array
from streamproc.nodes.reels import RecordingReel

_LIFE = np.dtype("<i8")


@dataclass
class Recorded:
    """A sink's file: seq, time, flags and a digest of every frame, in order."""

    seqs: list[int] = field(default_factory=list)
    t0_ns: list[int] = field(default_factory=list)
    flags: list[int] = field(default_factory=list)
    digests: list[bytes] = field(default_factory=list)
    torn_bytes: int = 0


def read(path: Path) -> Recorded:
    """Everything in a .frames file. BadFrameError for a spoilt record."""
    reel, told = RecordingReel(path), Recorded()
    index = 0
    while (frame := reel.frame(index)) is not None:
        hashed = hashlib.blake2b(digest_size=16)
        for name, array in frame.arrays.items():
            hashed.update(f"{name}{array.dtype.str}{array.shape}".encode())
            hashed.update(array.tobytes())
        told.seqs.append(frame.header.seq)
        told.t0_ns.append(frame.header.t0_ns)
        told.flags.append(frame.header.flags)
        told.digests.append(hashed.digest())
        index += 1
    told.torn_bytes = reel.torn_bytes
    return told


@dataclass(frozen=True)
class Verdict:
    """How a sink's record differs from the one it should be."""

    frames: int
    lost: int
    duplicated: int
    disordered: int
    differing: int

    @property
    def clean(self) -> bool:
        """Whether it does not."""
        return not (self.lost or self.duplicated or self.disordered or self.differing)


def judge(made: Recorded, due: Recorded) -> Verdict:
    """Compare a disturbed run's record with an undisturbed one's."""
    wanted = dict(zip(due.seqs, _contents(due), strict=True))
    got = list(zip(made.seqs, _contents(made), strict=True))
    steps = np.diff(np.array(made.seqs, np.int64))
    return Verdict(
        frames=len(got),
        lost=len(set(wanted) - set(made.seqs)),
        duplicated=len(got) - len(set(made.seqs)),
        disordered=int((steps < 0).sum()),
        differing=sum(wanted.get(seq) != content for seq, content in got),
    )


def _contents(told: Recorded) -> list[tuple[int, int, bytes]]:
    return list(zip(told.t0_ns, told.flags, told.digests, strict=True))


@dataclass(frozen=True)
class Readings:
    """What a record says of a sensor that shows every reading once.

    unlogged: handed out at the moment of a kill, before the engine had logged them;
    lost: taken over by the engine and not in the record.
    """

    frames: int
    handed_out: int
    unlogged: int
    lost: int
    duplicated: int
    disordered: int


def judge_once(made: Recorded, device: Path) -> Readings:
    """Which readings of kinds.Once are in a record. Their t0_ns counts them, in ms."""
    count = int(np.fromfile(device, _LIFE)[0])
    lives = np.fromfile(f"{device}.lives", _LIFE).tolist()
    told = [t0_ns // 1_000_000 for t0_ns in made.t0_ns]
    missing = set(range(count)) - set(told)
    excused = missing & {start - 1 for start in lives[1:]}
    return Readings(
        frames=len(told),
        handed_out=count,
        unlogged=len(excused),
        lost=len(missing - excused),
        duplicated=len(told) - len(set(told)),
        disordered=int((np.diff(np.array(told, np.int64)) < 0).sum()),
    )


def arrivals(path: Path) -> Array:
    """When frames came that had not come before: (seq, monotonic ns), in order."""
    told = np.fromfile(path, np.dtype("<i8"))
    told = told[: 2 * (len(told) * 8 // ARRIVAL.size)].reshape(-1, 2)
    if not len(told):
        return told
    newest = np.maximum.accumulate(told[:, 0])
    fresh = np.concatenate([[True], newest[1:] > newest[:-1]])
    return told[fresh]


def silences_ms(came: Array, moments_ns: list[int]) -> list[float]:
    """The longest silence at the sink that each moment began or fell into.

    A silence belongs to a moment if it overlaps the time until the next moment.
    """
    times = came[:, 1]
    ends = [*moments_ns[1:], times[-1]]
    out: list[float] = []
    for start, end in zip(moments_ns, ends, strict=True):
        first = max(0, int(np.searchsorted(times, start)) - 1)
        last = min(len(times), int(np.searchsorted(times, end)) + 1)
        gaps = np.diff(times[first:last])
        out.append(float(gaps.max() / 1e6) if len(gaps) else 0.0)
    return out
