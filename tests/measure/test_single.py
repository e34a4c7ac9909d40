"""One node by itself: frames of a recording are given again as if it went on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from streamproc.errors import BadFrameError
from streamproc.frame import Frame, Signature
from streamproc.measure.single import WARM, Ask, measure
from streamproc.node import Node

LINES = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Nothing:
    """No key."""


class Clock(Node[Nothing]):
    """Refuses a frame that is not a tenth of a second after the last one, and next."""

    seen: list[int] = []  # noqa: RUF012 - for the test to look at

    def accept(self, frame: Signature) -> None:
        return None

    def open(self, device: str) -> None:
        self.seen.clear()

    def process(self, frame: Frame) -> None:
        header = frame.header
        if self.seen and header.t0_ns - self.seen[-1] != 100_000_000:
            raise BadFrameError(f"{header.t0_ns} after {self.seen[-1]}")
        if header.seq != len(self.seen):
            raise BadFrameError(f"seq {header.seq}, not {len(self.seen)}")
        self.seen.append(header.t0_ns)


@pytest.fixture
def recording(tmp_path: Path) -> dict[str, object]:
    path = tmp_path / "seen.csv"
    rows = [f"{n / 10},{n % 7},{n % 5}" for n in range(LINES)]
    path.write_text("t,east,north\n" + "\n".join(rows) + "\n")
    return {"path": str(path), "columns": ["east", "north"], "time_column": "t"}


def test_a_recording_goes_on_where_it_ended(recording: dict[str, object]) -> None:
    kind = "tests.measure.test_single:Clock"
    found = measure(Ask(kind, {}, "file.source", recording, calls=200))
    assert (found["n"], found["distinct_frames"]) == (200, LINES)
    assert len(Clock.seen) == 200 + WARM
