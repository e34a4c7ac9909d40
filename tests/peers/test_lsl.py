"""An LSL outlet at 1 kHz through the daemon's tracker to an LSL inlet."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamproc.frame import Array
from streamproc.nodes.lsl_place import library

from . import tracking

pytest.importorskip("pylsl", reason="needs pylsl: pip install 'streamproc[lsl]'")
RATE_HZ = 1000
FRAMES = 8000
DOUBLE, WAIT_S = 2, 60
NAMES = {end: f"{end}-{os.getpid()}" for end in ("sensor", "estimates")}


# Without one capability, root or not: what binds a socket to a device needs none.
DROP = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]
LIST = ["ss", "-Hlntup"]
MINE = ("127.0.0.1:", "0.0.0.0%lo:")


def graph(folder: Path) -> Path:
    """deploy/clients/lsl.toml with stream names that no other test has."""
    text = (tracking.CLIENTS / "lsl.toml").read_text()
    for usual, name in NAMES.items():
        assert (
            text.count(f'stream  = "{usual}"') + text.count(f'stream = "{usual}"') == 1
        )
        text = text.replace(f'stream  = "{usual}"', f'stream = "{name}"')
        text = text.replace(f'stream = "{usual}"', f'stream = "{name}"')
    place = folder / "lsl.toml"
    place.write_text(text)
    return place


def push(lsl: Any, outlet: Any, seen: Array) -> float:
    """Every row on time, stamped with the time it was due; when the first one was."""
    begun_s = float(lsl.local_clock()) + 0.05
    for n, row in enumerate(seen):
        due_s = begun_s + n / RATE_HZ
        time.sleep(max(0.0, due_s - lsl.local_clock()))
        outlet.push_sample(row.tolist(), due_s)
    return begun_s


def pull(lsl: Any, inlet: Any, count: int) -> tuple[Array, Array, Array]:
    """As many samples (count, 3), their stamps, and when they were here."""
    rows, stamps, here = [], [], []
    while len(stamps) < count:
        values, some = inlet.pull_chunk(WAIT_S, 1024, min_samples=1)
        assert some, f"{len(stamps)} of {count}, then nothing for {WAIT_S} s"
        rows += values
        stamps += some
        here += [lsl.local_clock()] * len(some)
    return np.array(rows), np.array(stamps), np.array(here)


def sensor_outlet(lsl: Any) -> Any:
    name = NAMES["sensor"]
    return lsl.StreamOutlet(lsl.StreamInfo(name, "test", 3, RATE_HZ, DOUBLE, name))


def test_a_1_khz_stream_goes_through_the_tracker_whole_in_order_and_stamped(
    tmp_path: Path,
) -> None:
    lsl = library()
    seen = tracking.observations(FRAMES)
    outlet = sensor_outlet(lsl)
    with tracking.daemon(graph(tmp_path)):
        assert outlet.wait_for_consumers(WAIT_S)
        (found,) = lsl.resolve_byprop("name", NAMES["estimates"], 1, WAIT_S)
        inlet = lsl.StreamInlet(found, recover=False)
        assert inlet.info(WAIT_S).get_channel_labels() == ["x", "y", "z"]
        inlet.open_stream(WAIT_S)
        begun: list[float] = []
        sensor = threading.Thread(
            target=lambda: begun.append(push(lsl, outlet, seen)), daemon=True
        )
        sensor.start()
        rows, stamps, here = pull(lsl, inlet, FRAMES)
        sensor.join(WAIT_S)
        inlet.close_stream()
    due = begun[0] + np.arange(FRAMES) / RATE_HZ
    assert np.abs(stamps - due).max() < 1e-3, "stamps went astray"
    assert np.abs(np.diff(stamps) - 1 / RATE_HZ).max() < 1e-6
    want = tracking.estimates(seen, "kalmannet", only="x", model="lorenz-decimated")
    assert rows.tobytes() == want
    late_ms = (here - due) * 1e3
    told = ", ".join(f"p{q:g} {np.percentile(late_ms, q):.2f}" for q in (50, 99, 99.9))
    print(
        f"LSL to LSL: n = {FRAMES}, {told}, max {late_ms.max():.2f} ms after it was due"
    )


def family(pid: int) -> set[int]:
    """A process and all that descend from it."""
    found = {pid}
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found |= family(int(child))
    return found


@pytest.mark.skipif(
    not all(map(shutil.which, (DROP[0], LIST[0]))),
    reason="needs ss and setpriv: apt-get install iproute2 util-linux",
)
def test_without_privileges_all_that_lsl_opens_is_open_to_this_machine_only(
    tmp_path: Path,
) -> None:
    outlet = sensor_outlet(library())
    before = [] if os.getuid() else DROP
    with tracking.daemon(graph(tmp_path), *before) as run:
        assert outlet.wait_for_consumers(WAIT_S)
        said = subprocess.run(LIST, capture_output=True, text=True, check=True).stdout
        ours = {f"pid={pid}," for pid in family(run.pid)}
    rows = [row.split() for row in said.splitlines()]
    rows = [row for row in rows if ours & set(re.findall(r"pid=\d+,", row[-1]))]
    ends = sorted((row[0], row[4]) for row in rows)
    print("LSL opens", *(f"{kind} {end}" for kind, end in ends), sep="\n  ")
    assert {kind for kind, _ in ends} == {"tcp", "udp"}
    assert all(end.startswith(MINE) for _, end in ends), ends
