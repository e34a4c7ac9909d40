"""Sensors of two rates, in real processes, fused and tracked."""

from __future__ import annotations

import numpy as np

from .sensors import position, rows

K = "tests.runtime.sensors"

FILE = """
[graph]
name  = "cart"
edges = ["speed -> both:fast", "fix -> both:slow", "both -> tracker -> kept"]
[nodes.speed]
kind    = "{K}:Sensor"
what    = "speed"
rate_hz = 200
frames  = 400
[nodes.fix]
kind    = "{K}:Sensor"
what    = "position"
rate_hz = 20
frames  = 40
[nodes.both]
kind = "fuse"
join = "latest"
[nodes.tracker]
kind  = "kf"
model = "linear"
time  = "t0"
[nodes.tracker.params]            # state: position, speed
F      = [[1, 0.005], [0, 1]]
H      = [[0, 1], [1, 0]]
Q      = [[1e-8, 0], [0, 1e-3]]
R      = [[0.01, 0], [0, 0.01]]
step_s = 0.005
[nodes.kept]
kind = "{K}:Kept"
path = "{path}"
"""


def test_a_fast_and_a_slow_sensor_are_one_observation(run_graph, tmp_path):
    path = tmp_path / "kept"
    text = FILE.replace("{K}", K).replace("{path}", str(path))
    summary = run_graph(text).join()
    told = rows(path)
    # frames before the first fix found no partner; there are few of them
    assert len(told) > 350 and (np.diff(told[:, 0]) > 0.004).all()
    fixes = int(np.isfinite(told[1:, 3]).sum())
    assert np.isfinite(told[1:, 2]).all() and 25 < fixes < 41
    assert summary["scores"]["both"]["slow"] in (fixes, fixes + 1)
    error = told[100:, 1] - position(told[100:, 0])
    assert np.sqrt(np.mean(error**2)) < 0.05  # half of what a single fix is wrong
