"""The README's first command, for a few seconds: what it promises is what it shows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = sys.executable, "-m", "streamproc", "run"
DEMO = Path(__file__).parents[2] / "deploy" / "graphs" / "demo.toml"


def test_the_demo_wins_on_every_sensor_drops_nothing_and_draws(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    done = subprocess.run(
        [*COMMAND, str(DEMO), "--frames", "200", "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    gains = {name: one["gain"] for name, one in told["comparison"].items()}
    assert gains["tracking"] > 4 and gains["detection"] > 1.5 and gains["imaging"] > 0.5
    for one in told["comparison"].values():
        assert one["dropped"] == 0 and one["frames"] >= 150
    for edge in told["edges"].values():
        assert edge["dropped"] == edge["lost"] == edge["in_flight"] == 0
    assert told["pictures"] == ["demo.png"]
    assert (tmp_path / "demo.png").stat().st_size > 100_000
