"""A recording is played when it was recorded, or faster, however uneven that was."""

from __future__ import annotations

import numpy as np

from streamproc.frame import Frame
from streamproc.node import Node
from streamproc.runtime.clock import Agenda

from .sensors import KeptConfig

FILE = """
[graph]
name  = "played"
edges = ["file -> kept"]
[nodes.file]
kind = "file.source"
path = "{csv}"
columns = ["a"]
time_column = "t"
pace = "recorded"
speed = {speed}
[nodes.kept]
kind = "tests.runtime.test_recorded_time:Moments"
path = "{kept}"
"""


class Moments(Node[KeptConfig]):
    """Appends t0_ns and t_in_ns, which of a source is when the frame was due."""

    def process(self, frame: Frame) -> None:
        with open(self.config.path, "ab") as file:
            file.write(np.array(frame.header[2:4], np.int64).tobytes())


TIMES_S = (5.0, 5.1, 5.1, 6.4, 6.5, 9.0)


def test_frames_come_when_their_times_say(run_graph, tmp_path):
    csv, kept = tmp_path / "x.csv", tmp_path / "kept"
    lines = [f"{t},{n}" for n, t in enumerate(TIMES_S)]
    csv.write_text("t,a\n" + "\n".join([*lines[:4], "soon,4", *lines[4:]]) + "\n")
    text = FILE.replace("{csv}", str(csv)).replace("{kept}", str(kept))
    run = run_graph(text.replace("{speed}", "4.0"))
    run.join()
    t0_ns, due_ns = np.fromfile(kept, np.int64).reshape(-1, 2).T
    np.testing.assert_array_equal(t0_ns, np.array(TIMES_S) * 1e9)
    np.testing.assert_allclose(np.diff(due_ns), np.diff(t0_ns) / 4, atol=2)
    assert any("line 6" in line for _, line in run.log)


def test_the_agenda_begins_with_the_first_frame_and_counts_what_is_late():
    moments = iter(np.array(TIMES_S) - TIMES_S[0])
    now_s = [next(moments)]
    agenda = Agenda(lambda: now_s[0], 1_000_000_000)
    due = []
    for late_ns in (0, 50_000_000, 2_000_000, 0, 200_000_000, 0):
        due.append(agenda.due_ns)
        assert agenda.tick(agenda.due_ns + late_ns) == due[-1]
        now_s[0] = next(moments, now_s[0])
    np.testing.assert_allclose(
        np.array(due) / 1e9, 1 + np.array(TIMES_S) - TIMES_S[0], atol=1e-9
    )
    assert agenda.late_ticks == 2  # 2 ms where two share a time; 200 ms after 100 ms
