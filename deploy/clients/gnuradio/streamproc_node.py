"""Any streamproc node as a block of a GNU Radio flow graph.

GNU Radio stands in the system's Python, streamproc in a venv, so say where that is:

    StreamprocNode("factor_graph", "f4", "f8", 512, port="llr", pilots=200,
                   python="venv/bin/python")

The node then has a process of its own, tens of microseconds away. Without `python` it
is called in GNU Radio's own process, which needs both in one interpreter: a venv made
with --system-site-packages, and a GNU Radio that was built with NumPy 2, as streamproc
needs it (3.10.5 of Debian 12 was not, and cannot be imported beside it).
"""

import json
import struct
import subprocess
import time
from pathlib import Path

import numpy as np
from gnuradio import gr

PROGRAM = Path(__file__).with_name("node_process.py")


class Elsewhere:
    """A node in a process of another interpreter. RuntimeError if that ends early."""

    def __init__(self, python, asked, out_dtype):
        self._out_dtype = out_dtype
        self._process = subprocess.Popen(
            [python, str(PROGRAM), json.dumps(asked)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._answer()  # it is ready, or says on stderr why not

    def call(self, samples):
        """What the node makes of a frame; None where it has nothing to give."""
        self._process.stdin.write(samples.tobytes())
        self._process.stdin.flush()
        return self._answer()

    def finish(self):
        """What it still holds, and its end."""
        self._process.stdin.close()
        rest = []
        while head := self._process.stdout.read(4):
            rest.append(self._body(head))
        self._process.wait()
        return rest

    def _answer(self):
        head = self._process.stdout.read(4)
        if len(head) < 4:
            raise RuntimeError("the node's process ended; see above for why")
        return self._body(head)

    def _body(self, head):
        data = self._process.stdout.read(*struct.unpack("<I", head))
        return np.frombuffer(data, self._out_dtype) if data else None


class StreamprocNode(gr.basic_block):
    """Items in, items out, `samples` at a time to a node with one input port.

    kind, config: as in a graph file.
    in_dtype, out_dtype: of the items, as NumPy has them; out_dtype as the port has it.
    samples: of a frame; dim: what they are called.
    port: of the output, where the node has several.
    python: of the venv with streamproc; None: this one.
    after: what the node still held at the end, which a flow graph can no longer take.
    """

    def __init__(
        self, kind, in_dtype, out_dtype, samples, port=None, dim="symbol", python=None,
        **config,
    ):  # fmt: skip
        self._out_dtype = np.dtype(out_dtype)
        gr.basic_block.__init__(
            self, name=kind, in_sig=[np.dtype(in_dtype)], out_sig=[self._out_dtype]
        )
        self._samples = samples
        asked = {"kind": kind, "dtype": in_dtype, "samples": samples}
        asked.update(port=port, dim=dim, config=config)
        if python is None:
            from node_process import Embedded

            self._node = Embedded(asked)
        else:
            self._node = Elsewhere(python, asked, self._out_dtype)
        self._made = self.after = np.empty(0, self._out_dtype)
        self._calls_ns = []

    def forecast(self, noutput_items, ninputs):
        return [0 if len(self._made) else self._samples] * ninputs

    def general_work(self, input_items, output_items):
        given, room = input_items[0], output_items[0]
        taken = written = 0
        while written < len(room):
            if not len(self._made):
                if len(given) - taken < self._samples:
                    break
                self._made = self._call(given[taken : taken + self._samples])
                taken += self._samples
            count = min(len(room) - written, len(self._made))
            room[written : written + count] = self._made[:count]
            self._made = self._made[count:]
            written += count
        self.consume(0, taken)
        return written

    def _call(self, samples):
        start = time.perf_counter_ns()
        made = self._node.call(samples)
        self._calls_ns.append(time.perf_counter_ns() - start)
        if made is None:
            return np.empty(0, self._out_dtype)
        if made.dtype != self._out_dtype:
            raise TypeError(f"expected items of {self._out_dtype}, got {made.dtype}")
        return made

    def stop(self):
        rest = [made for made in self._node.finish() if made is not None]
        self.after = np.concatenate([self._made, *rest])
        return True

    def latency_us(self):
        """p50, p99, p99.9 and max of the node's calls, as GNU Radio sees them."""
        return np.percentile(self._calls_ns, [50, 99, 99.9, 100]) / 1e3
