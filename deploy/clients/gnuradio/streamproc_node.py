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
import sys
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
        self._body(self._process.stdout.read(4))  # ready, or says on stderr why not

    def call(self, samples):
        """What the node makes of a frame; None where it has nothing to give."""
        try:
            self._process.stdin.write(samples.tobytes())
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._died() from None
        return self._body(self._process.stdout.read(4))

    def finish(self):
        """What it still holds, and its end."""
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            raise self._died() from None
        rest = []
        while head := self._process.stdout.read(4):
            rest.append(self._body(head))
        if self._process.wait():
            raise self._died()
        return rest

    def _body(self, head):
        (size,) = struct.unpack("<I", head) if len(head) == 4 else (-1,)
        data = self._process.stdout.read(size) if size > 0 else b""
        if len(data) != size:
            raise self._died()
        return np.frombuffer(data, self._out_dtype) if data else None

    def _died(self):
        status = self._process.wait()
        return RuntimeError(
            f"the node's process ended with status {status}; see above for why"
        )


class StreamprocNode(gr.basic_block):
    """Items in, items out, `samples` at a time to a node with one input port.

    kind, config: as in a graph file.
    in_dtype, out_dtype: of the items, as NumPy has them; out_dtype as the port has it.
    samples: of a frame; dim: what they are called.
    port: of the output, or array of it, where the node has several.
    python: of the venv with streamproc; None: this one.
    after: what the node still held at the end, which a flow graph can no longer take.
    rest: items at the end that were too few for a frame; the node never saw them.
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
        # A flow graph's buffers may be smaller than a frame, so it grows in here.
        self._frame, self._have = np.empty(samples, in_dtype), 0
        self._calls_ns = []

    def forecast(self, noutput_items, ninputs):
        return [0 if len(self._made) else 1] * ninputs

    def general_work(self, input_items, output_items):
        given, room = input_items[0], output_items[0]
        taken = written = 0
        while written < len(room):
            if not len(self._made):
                count = min(self._samples - self._have, len(given) - taken)
                end = self._have + count
                self._frame[self._have : end] = given[taken : taken + count]
                self._have, taken = end, taken + count
                if end < self._samples:
                    break
                self._have = 0
                self._made = self._call(self._frame.copy())
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

    @property
    def rest(self):
        return self._frame[: self._have].copy()

    def stop(self):
        if self._have:
            print(
                f"{self.name()}: {self._have} items at the end make no frame of "
                f"{self._samples}; they are in `rest`",
                file=sys.stderr,
            )
        rest = [made for made in self._node.finish() if made is not None]
        self.after = np.concatenate([self._made, *rest])
        return True

    def latency_us(self):
        """p50, p99, p99.9 and max of the node's calls, as GNU Radio sees them."""
        return np.percentile(self._calls_ns, [50, 99, 99.9, 100]) / 1e3
