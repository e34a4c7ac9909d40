"""Our codec against GNU Radio's own, both ways, and a node inside a flow graph."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from streamproc import open_node
from streamproc.frame import Frame
from streamproc.modulation import Pilots
from streamproc.nodes.gnuradio_sink import GnuradioSink, GnuradioSinkConfig

from .gnuradio_peer import PYTHON, SCRIPTS, needed, radio, run_graph

pytestmark = needed

TAGS = """
import sys, time
import pmt
from gnuradio import blocks, gr, zeromq
values = [
    pmt.PMT_T, pmt.PMT_F, pmt.PMT_NIL, pmt.intern("sym"), pmt.from_long(-5),
    pmt.from_long(1 << 40), pmt.from_uint64(1 << 63), pmt.from_double(1.5),
    pmt.from_complex(1 + 2j), pmt.cons(pmt.intern("a"), pmt.from_long(1)),
    pmt.list3(pmt.from_long(1), pmt.from_long(2), pmt.from_long(3)),
    pmt.make_vector(2, pmt.from_long(3)),
    pmt.make_tuple(pmt.from_uint64(7), pmt.from_double(0.25)),
    pmt.dict_add(pmt.make_dict(), pmt.intern("k"), pmt.from_long(1)),
    pmt.init_u8vector(3, [1, 2, 3]), pmt.init_s16vector(2, [-1, 2]),
    pmt.init_f64vector(2, [0.5, -2]), pmt.init_c32vector(1, [1 + 2j]),
]
tags = []
for place, value in enumerate(values):
    tag = gr.tag_t()
    tag.offset, tag.key, tag.value = 10 * place, pmt.intern("t%d" % place), value
    tags.append(tag)
graph = gr.top_block()
source = blocks.vector_source_s(list(range(1000)), False, 1, tags)
graph.connect(source, zeromq.push_sink(gr.sizeof_short, 1, sys.argv[1], 100, True))
graph.run()
time.sleep(20)
"""
VALUES = [
    True, False, None, "sym", -5, 1 << 40, 1 << 63, 1.5, [1.0, 2.0], ["a", 1],
    [1, 2, 3], [3, 3], [7, 0.25], {"k": 1}, [1, 2, 3], [-1, 2], [0.5, -2.0],
]  # fmt: skip
TAKES = """
import os, sys, time
import numpy as np
from gnuradio import blocks, gr, zeromq
graph = gr.top_block()
sink = blocks.vector_sink_f(3)
graph.connect(zeromq.pull_source(gr.sizeof_float, 3, sys.argv[1], 100, True), sink)
graph.start()
while len(sink.data()) < 3000:
    time.sleep(0.05)
np.array(sink.data(), "<f4").tofile("taken.f4")
os._exit(0)  # a ZMQ source that waits does not stop
"""

GRAPH = """
[graph]
name  = "embedded"
edges = ["samples -> detector:observation", "detector:llr -> disk"]
[nodes.samples]
kind = "file.source"
path = "samples.npy"
[nodes.detector]
kind   = "factor_graph"
pilots = 200
online = "soft"
[nodes.disk]
kind = "file.sink"
path = "llr.npy"
"""


def test_every_tag_of_gnu_radio_is_read_where_it_lies(tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/tags"
    config = {"endpoint": endpoint, "socket": "pull", "dtype": "i2"}
    with (
        radio("-c", TAGS, endpoint, cwd=tmp_path),
        open_node("gnuradio.source", dims={"n": 10}, **config) as source,
    ):
        frames = [source() for _ in range(100)]
    assert np.concatenate([f.data for f in frames]).tolist() == list(range(1000))
    tags = [(frame.header.meta or {}).get("tags", []) for frame in frames[:17]]
    assert tags == [[[0, f"t{n}", value]] for n, value in enumerate(VALUES)]
    # The last one's numbers are nested deeper than a frame's meta may be.
    assert "tags" not in (frames[17].header.meta or {})
    assert source.node.report()["tags_dropped"] == 1


def test_gnu_radio_takes_what_the_sink_sends(tmp_path: Path) -> None:
    endpoint = f"ipc://{tmp_path}/out"
    node = GnuradioSink(
        GnuradioSinkConfig(endpoint=endpoint, socket="push", vlen=3, timeout_s=8.0)
    )
    samples = np.arange(3000, dtype=np.float32)
    node.open("cpu")
    with radio("-c", TAKES, endpoint, cwd=tmp_path) as taking:
        for part in samples.reshape(20, 150):
            node.process(Frame.of(part.copy()))
        assert taking.wait(60) == 0
    node.close()
    assert np.array_equal(np.fromfile(tmp_path / "taken.f4", "<f4"), samples)


def test_a_node_inside_a_flow_graph_gives_the_daemons_bytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    symbols = rng.integers(2, size=200 * 512)
    symbols[:200] = Pilots(count=200, period=10_000).symbols(2)
    taps = np.exp(-0.2 * np.arange(4))
    clean = np.convolve(2.0 * symbols - 1, taps)[: len(symbols)]
    samples = (clean + rng.normal(0, 0.5, len(clean))).astype(np.float32)
    samples.tofile(tmp_path / "samples.f4")
    np.save(tmp_path / "samples.npy", samples.reshape(-1, 512))
    done = subprocess.run(
        [PYTHON, SCRIPTS / "embed.py", "samples.f4", "llr.f8", "--python",
         sys.executable],
        cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    assert "us a call: p50" in done.stdout
    (tmp_path / "graph.toml").write_text(GRAPH)
    ran = run_graph(tmp_path)
    assert ran.returncode == 0, ran.stderr
    llr = np.load(tmp_path / "llr.npy")
    assert llr.size == samples.size
    assert llr.tobytes() == (tmp_path / "llr.f8").read_bytes()


def test_a_frame_may_be_larger_than_a_flow_graphs_buffers(tmp_path: Path) -> None:
    np.ones(40_960, "<f4").tofile(tmp_path / "samples.f4")
    done = subprocess.run(
        [PYTHON, SCRIPTS / "embed.py", "samples.f4", "llr.f8", "--python",
         sys.executable, "--frame", "20000"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "llr.f8").stat().st_size == 40_000 * 8
    assert "960 items at the end make no frame of 20000" in done.stderr


def test_a_node_that_dies_elsewhere_is_said_with_its_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of an answer, and before the next question."""
    played = SimpleNamespace(basic_block=Scheduled)
    monkeypatch.setitem(sys.modules, "gnuradio", SimpleNamespace(gr=played))
    monkeypatch.syspath_prepend(str(SCRIPTS))
    found = importlib.import_module("streamproc_node")
    program = tmp_path / "dies.py"
    program.write_text(
        "import os, sys\nos.write(1, bytes(4))\nsys.stdin.buffer.read(8)\n"
        "os.write(1, b'\\x10\\0\\0\\0half')\nos._exit(7)\n"
    )
    monkeypatch.setattr(found, "PROGRAM", program)
    node = found.Elsewhere(sys.executable, {}, np.dtype("f8"))
    for _ in range(2):
        with pytest.raises(RuntimeError, match="ended with status 7"):
            node.call(np.zeros(1))
    with pytest.raises(RuntimeError, match="ended with status 7"):
        node.finish()


@pytest.mark.parametrize("size", [2, 10])
def test_a_node_in_gnu_radios_own_process_gives_the_same(
    size: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """GNU Radio's part is played here: Debian's does not import beside NumPy 2."""
    played = SimpleNamespace(basic_block=Scheduled)
    monkeypatch.setitem(sys.modules, "gnuradio", SimpleNamespace(gr=played))
    monkeypatch.syspath_prepend(str(SCRIPTS))
    found = importlib.import_module("streamproc_node")
    keys = {"model": "lorenz", "taps": False}
    samples = np.random.default_rng(3).normal(size=302)
    node = found.StreamprocNode("ekf", "f8", "f8", 3, port="x", dim="axis", **keys)
    made, room = [], np.empty(7)
    rest = samples
    while len(rest):
        assert node.forecast(7, 1) in ([0], [1])
        written = node.general_work([rest[:size]], [room])
        made.append(room[:written].copy())
        rest = rest[node.consumed :]
    assert node.stop() and not len(node.after)
    assert node.rest.tolist() == samples[300:].tolist()
    assert "2 items at the end make no frame of 3" in capsys.readouterr().err
    with open_node("ekf", **keys) as track:
        want = [track(row.copy())["x"] for row in samples[:300].reshape(-1, 3)]
    assert np.concatenate(made).tobytes() == np.concatenate(want).tobytes()
    assert len(node._calls_ns) == 100


class Scheduled:
    """As much of GNU Radio's own kind of node as ours calls."""

    def __init__(self, name: str, in_sig: object, out_sig: object) -> None:
        self._name, self.consumed = name, 0

    def name(self) -> str:
        return self._name

    def consume(self, port: int, count: int) -> None:
        self.consumed = count
