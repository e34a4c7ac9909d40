#!/usr/bin/env python3
"""A detector inside a flow graph: samples of a file, their LLRs into another.

    python3 embed.py samples.f4 llr.f8 --python venv/bin/python

Latency of every call is printed at the end. See streamproc_node.py for --python.
"""

import argparse
import json
from pathlib import Path

from gnuradio import blocks, gr
from streamproc_node import StreamprocNode


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("samples", help="file of float32")
    parser.add_argument("llr", help="file for float64")
    parser.add_argument("--python", help="interpreter that has streamproc")
    parser.add_argument("--kind", default="factor_graph")
    parser.add_argument("--frame", type=int, default=512, help="samples")
    parser.add_argument("--config", default='{"pilots": 200, "online": "soft"}')
    args = parser.parse_args()

    graph = gr.top_block("embed")
    detector = StreamprocNode(
        args.kind, "f4", "f8", args.frame, port="llr", python=args.python,
        **json.loads(args.config),
    )  # fmt: skip
    sink = blocks.file_sink(8, args.llr)
    graph.connect(blocks.file_source(4, args.samples), detector, sink)
    graph.run()
    sink.close()
    with Path(args.llr).open("ab") as file:
        file.write(detector.after.tobytes())
    p50, p99, p999, most = detector.latency_us()
    print(f"{args.kind}: us a call: p50 {p50:.0f} p99 {p99:.0f} p99.9 {p999:.0f} "
          f"max {most:.0f}")  # fmt: skip


if __name__ == "__main__":
    main()
