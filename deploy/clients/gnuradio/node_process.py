"""A streamproc node for streamproc_node.py: in its process, or as one of its own.

    radio/bin/python node_process.py '{"kind": "ekf", ...}'

As a process it reads frames of fixed size from stdin and answers each with a u32 count
of bytes, and the bytes; after the last one it answers with what the node still held.
"""

import json
import struct
import sys

import numpy as np

from streamproc import Signature, open_node


class Embedded:
    """A node with one input port; arrays in, one port's arrays out, flat.

    asked: kind, config, dtype and samples of a frame, dim, and port: which of its
    output's arrays or ports, if there are several.
    """

    def __init__(self, asked):
        self._port = asked["port"]
        self.dtype, self.samples = np.dtype(asked["dtype"]), asked["samples"]
        with open_node(asked["kind"], **asked["config"]) as probe:
            (port,) = probe.inputs
        frame = Signature.of(self.dtype.str[1:], {asked["dim"]: self.samples})
        self._node = open_node(
            asked["kind"], signatures={port: frame}, **asked["config"]
        )

    def call(self, samples):
        """What the node makes of a frame; None where it has nothing to give."""
        return self._given(self._node(samples))

    def finish(self):
        """What it still holds, and its end."""
        rest = [self._given(made) for made in self._node.finish()]
        self._node.close()
        return rest

    def _given(self, made):
        if made is None or isinstance(made, np.ndarray):
            return made if made is None else made.ravel()
        named = made if isinstance(made, dict) else made._asdict()
        if self._port not in named:
            raise ValueError(f"port: expected one of {[*named]}, got {self._port!r}")
        chosen = named[self._port]
        return None if chosen is None else np.ravel(chosen)


def answer(array):
    """Its bytes, counted."""
    data = b"" if array is None else array.tobytes()
    sys.stdout.buffer.write(struct.pack("<I", len(data)) + data)
    sys.stdout.buffer.flush()


def main():
    node = Embedded(json.loads(sys.argv[1]))
    size = node.samples * node.dtype.itemsize
    answer(None)  # ready
    while len(data := sys.stdin.buffer.read(size)) == size:
        answer(node.call(np.frombuffer(data, node.dtype)))
    for array in node.finish():
        answer(array)


if __name__ == "__main__":
    main()
