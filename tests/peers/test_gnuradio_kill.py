"""What the death of a gnuradio.source loses of a live flow graph is counted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from streamproc import open_node
from streamproc.frame import Flags
from tests.runtime.conftest import Run, run_graph

from .gnuradio_peer import SCRIPTS, needed, radio

__all__ = ["run_graph"]  # a fixture

pytestmark = needed
FRAME, FRAMES, SENT = 512, 1600, 100_000
TAPS = np.exp(-0.2 * np.arange(4))
GRAPH = """
[graph]
name  = "killed"
edges = ["radio -> disk"]
[nodes.radio]
kind     = "gnuradio.source"
endpoint = "ipc://{folder}/iq"
socket   = "pull"
dtype    = "f4"
dims     = {{ symbol = 512 }}
on_gap   = "fill"
[nodes.disk]
kind = "file.sink"
path = "samples.frames"
"""


def test_what_dies_with_the_source_is_counted_and_the_rest_keeps_its_place(
    tmp_path: Path, run_graph: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """GNU Radio's sockets have no acks: its offsets say what went down."""
    monkeypatch.chdir(tmp_path)
    words = f"--endpoint ipc://{tmp_path}/iq --socket push --snr-db 200 --repeat"
    more = f"--symbols {SENT} --rate 200000 --truth truth.npy"
    script = str(SCRIPTS / "transmit.py")
    with radio(script, *words.split(), *more.split(), cwd=tmp_path):
        run = run_graph(GRAPH.format(folder=tmp_path), frames=FRAMES)
        run.wait_for_frames(400)
        run.kill("radio")
        told = run.join()["scores"]["radio"]
    frames = list(open_node("file.source", path=str(tmp_path / "samples.frames")))
    offsets = [dict(frame.header.meta or {})["offset"] for frame in frames]
    assert [at - offsets[0] for at in offsets] == list(range(0, FRAMES * FRAME, FRAME))

    samples = np.concatenate([frame.data for frame in frames])
    lost = np.isnan(samples)
    print(f"killed: {lost.sum()} of {samples.size} samples lost, told: {told}")
    assert told["gaps"] == 1 and told["restarts"] == told["refused_wire"] == 0
    assert told["missing"] == told["filled"] == lost.sum() > 0
    assert np.ptp(np.flatnonzero(lost)) + 1 == lost.sum(), "lost in one piece"
    flagged = [bool(frame.header.flags & Flags.GAP) for frame in frames]
    first = int(np.argmax(lost)) // FRAME
    assert flagged.index(True) == first

    clean = np.convolve(2.0 * np.tile(np.load(tmp_path / "truth.npy"), 2) - 1, TAPS)
    place = offsets[0] + np.arange(samples.size)
    place = np.where(place < SENT, place, place % SENT + SENT)
    assert np.abs(samples - clean[place])[~lost].max() < 1e-5
