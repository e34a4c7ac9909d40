"""A GNU Radio flow graph sends, a graph of ours decodes, live, from its pilots."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamproc import open_node
from streamproc.frame import Array, Signature
from streamproc.modulation import Pilots

from .gnuradio_peer import SCRIPTS, needed, radio, run_graph

pytestmark = needed

FRAME, PERIOD, SENT = 512, 10_000, 400_000
FRAMES = 3200  # 1.6 million symbols: errors enough to tell 5 %
PILOTS = 800  # in PERIOD: with half of them errors are 1 to 7 % more than the exact
WITHIN = 1.05  # of the exact receiver's errors
SNR_DB = 6.0
# Of the exact receiver, told everything, over 16 million symbols that NumPy made (not
# GNU Radio), and its standard error.
REFERENCE, REFERENCE_SE = 0.014136, 3.8e-5
TURN = np.exp(1j * np.radians(40) * np.arange(4))
CHANNELS: dict[str, dict[str, Any]] = {
    "bpsk": {"gamma": 0.2},
    "qpsk": {
        "taps": (np.exp(-0.2 * np.arange(4)) * TURN.real).tolist(),
        "taps_imag": (np.exp(-0.2 * np.arange(4)) * TURN.imag).tolist(),
    },
}


def receive(folder: Path, endpoint: str, socket: str, name: str) -> dict[str, Any]:
    """Decode what comes to an endpoint with the graph that is shipped; its summary."""
    text = (SCRIPTS / "receive.toml").read_text()
    text = text.replace('"tcp://127.0.0.1:5555"', f'"{endpoint}"\nsocket = "{socket}"')
    if name == "qpsk":
        text = text.replace('"f4"', '"c8"')
        keys = 'constellation = "qpsk"\nbase = "taps"\npilots  = 400'
        text = text.replace("pilots  = 400", keys)
    text = text.replace("pilots  = 400", f"pilots = {PILOTS}")
    (folder / "graph.toml").write_text(text)
    done = run_graph(folder, "--frames", str(FRAMES))
    assert done.returncode == 0, done.stderr
    summary: dict[str, Any] = json.loads(done.stdout)
    return summary


def exact(samples: list[Array], name: str) -> Array:
    """Symbols by the exact receiver, which is told the channel."""
    made = []
    code = "f8" if name == "bpsk" else "c16"
    with open_node(
        "bcjr",
        signatures={"observation": Signature.of(code, {"symbol": FRAME})},
        constellation=name,
        snr_db=SNR_DB,
        **CHANNELS[name],
    ) as detect:
        for frame in samples:
            given = detect(frame.astype(np.float64 if code == "f8" else np.complex128))
            if given is not None:
                made.append(given.symbols)
        made += [given.symbols for given in detect.finish()]
    return np.concatenate(made)


def rate(wrong: Array) -> tuple[float, float]:
    """Of symbols in error, and its standard error, though errors come in bursts."""
    runs = wrong[: len(wrong) // 1000 * 1000].reshape(-1, 1000).mean(axis=1)
    return float(wrong.mean()), float(runs.std(ddof=1) / len(runs) ** 0.5)


@pytest.mark.parametrize(
    ("socket", "name"), [("pub", "bpsk"), ("push", "bpsk"), ("push", "qpsk")]
)
def test_symbols_of_gnu_radio_are_decoded_live(
    tmp_path: Path, socket: str, name: str
) -> None:
    endpoint = f"ipc://{tmp_path}/iq"
    words = f"--endpoint {endpoint} --socket {socket} --constellation {name}"
    words += f" --pilots {PILOTS}"
    more = f"--symbols {SENT} --repeat --rate 200000 --truth truth.npy"
    script = str(SCRIPTS / "transmit.py")
    with radio(script, *words.split(), *more.split(), cwd=tmp_path):
        taken_by = "sub" if socket == "pub" else "pull"
        summary = receive(tmp_path, endpoint, taken_by, name)
    told = summary["scores"]["radio"]
    assert told["missing"] == told["gaps"] == told["refused_wire"] == 0
    assert {row["dropped"] for row in summary["edges"].values()} == {0}

    frames = list(open_node("file.source", path=str(tmp_path / "samples.frames")))
    metas = [dict(frame.header.meta or {}) for frame in frames]
    first, count = metas[0]["offset"], FRAMES * FRAME
    assert first % PERIOD == 0
    assert [meta["offset"] - first for meta in metas] == list(range(0, count, FRAME))
    runs = [
        meta["offset"] + item
        for meta in metas
        for item, key, _ in meta.get("tags", [])
        if key == "pilots"
    ]
    assert runs == list(range(first, first + count, PERIOD))

    place = np.arange(first, first + count)
    truth = np.load(tmp_path / "truth.npy")[place % SENT]
    points = 2 if name == "bpsk" else 4
    pilots = Pilots(count=PILOTS, period=PERIOD)
    data = pilots.known(first, len(place), points) < 0
    learned = np.load(tmp_path / "symbols.npy").ravel()
    best, chance = rate(
        exact([frame.data for frame in frames], name)[data] != truth[data]
    )
    found, _ = rate(learned[data] != truth[data])
    print(f"{socket} {name}: ser {found:.5f}, exact {best:.5f} +- {chance:.5f}")
    assert found < WITHIN * best
    if name == "bpsk":
        assert abs(best - REFERENCE) < 3.5 * np.hypot(chance, REFERENCE_SE)


def test_items_without_tags_come_whole_and_it_is_said_what_cannot_be_seen(
    tmp_path: Path,
) -> None:
    (tmp_path / "graph.toml").write_text(
        f"""
[graph]
name  = "untagged"
edges = ["radio -> disk"]
[nodes.radio]
kind     = "gnuradio.source"
endpoint = "ipc://{tmp_path}/iq"
socket   = "pull"
tags     = false
dtype    = "f4"
dims     = {{ symbol = 1000 }}
[nodes.disk]
kind = "file.sink"
path = "samples.npy"
"""
    )
    words = f"--endpoint ipc://{tmp_path}/iq --socket push --no-tags --snr-db 40"
    more = "--symbols 100000 --truth truth.npy"
    script = str(SCRIPTS / "transmit.py")
    with radio(script, *words.split(), *more.split(), cwd=tmp_path):
        done = run_graph(tmp_path, "--frames", "100")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("cannot be seen") == 1
    samples = np.load(tmp_path / "samples.npy").ravel()
    truth = np.load(tmp_path / "truth.npy")
    clean = np.convolve(2.0 * truth - 1, np.exp(-0.2 * np.arange(4)))[: len(truth)]
    assert float(np.abs(samples - clean).max()) < 0.06  # six sigma
