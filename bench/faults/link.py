"""Link down and up, in a network namespace of its own, under a graph on tcp edges.

    python -m bench.faults.link --down-s 2 10 60       prints JSON

What `cut` starts runs this module inside `unshare --net`: the loopback device there is
the link between the graph's processes, and nobody else's.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.faults import graphs
from bench.faults.run import Disturbed, handed_out, judged

RATE_HZ = 500
LONGEST_S = 200.0


def why_not() -> str:
    """Why there can be no namespace here; empty if there can."""
    if not shutil.which("unshare") or not shutil.which("ip"):
        return "unshare (util-linux) and ip (iproute2) are not installed"
    tried = subprocess.run(
        [*_namespace(), "ip", "link", "set", "lo", "up"],
        capture_output=True,
        check=False,
    )
    return "" if tried.returncode == 0 else f"no namespace: {tried.stderr.decode()}"


def _namespace() -> list[str]:
    own = [] if os.geteuid() == 0 else ["--map-root-user"]
    return ["unshare", "--net", *own]


def cut(down_s: Sequence[float], name: str = "chain") -> dict[str, Any]:
    """Cut a graph's link for so long, again and again, in a namespace; what came of it.

    Returns a Verdict's keys, and `resumed_s`: from link-up to the next frame.
    """
    command = [sys.executable, "-m", "bench.faults.link", "--graph", name]
    done = subprocess.run(
        [*_namespace(), *command, "--down-s", *map(str, down_s)],
        stdout=subprocess.PIPE,
        timeout=LONGEST_S + sum(down_s),
        check=True,
    )
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def over_tcp(text: str) -> str:
    """The same graph with every edge over tcp on loopback."""
    return text.replace("\nkind = ", '\nhost = "127.0.0.1"\nkind = ')


def _set(state: str) -> None:
    subprocess.run(["ip", "link", "set", "lo", state], check=True)


def _resumes(run: Disturbed, down_s: float) -> float:
    run.flowing(run.newest()[0] + RATE_HZ // 4)
    _set("down")
    time.sleep(down_s)
    before, _ = run.newest()
    up = time.monotonic()
    _set("up")
    run.flowing(before, within_s=90)
    return time.monotonic() - up


def measure(name: str, down_s: Sequence[float], folder: Path) -> dict[str, Any]:
    """Run the graph where this process is, and cut its link."""
    _set("up")
    text = over_tcp(graphs.text(name, folder, rate_hz=RATE_HZ))
    with Disturbed(text, folder) as run:
        run.flowing(RATE_HZ // 4)
        resumed = {f"{down:g}": _resumes(run, down) for down in down_s}
        run.flowing(run.newest()[0] + RATE_HZ // 4)
        summary = run.finish()
        made = run.recorded()
    told = judged(name, folder, made, handed_out(summary), {"rate_hz": RATE_HZ})
    return {**asdict(told), "resumed_s": resumed}


def main() -> None:
    """Entry inside the namespace."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--down-s", type=float, nargs="+", default=[2.0])
    parser.add_argument("--graph", default="chain", choices=sorted(graphs.GRAPHS))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(args.graph, args.down_s, Path(folder))))


if __name__ == "__main__":
    main()
