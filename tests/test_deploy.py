"""What is shipped to be run fits together, and README says what is true."""

from __future__ import annotations

import importlib
import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from streamproc import cli, open_node
from streamproc.config import check
from streamproc.graph import NodeOptions
from streamproc.node import config_type
from streamproc.nodes import kind
from streamproc.runtime.ports import free_port
from streamproc.schema import build, keys
from streamproc.testing import check_node, frames_of, run_node

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("file", sorted((ROOT / "deploy/graphs").glob("*.toml")))
def test_every_graph_that_is_shipped_passes_check(file):
    assert check(file).nodes


def test_the_readme_shows_the_graph_that_is_shipped():
    assert (ROOT / "deploy/graphs/lorenz.toml").read_text() in README


def test_the_readme_has_no_gap_left_to_fill():
    assert "@@" not in README


def test_the_readme_runs_its_own_node(tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(from dataclasses.*?)```", README, re.DOTALL)
    (tmp_path / "mine.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    from streamproc import open_node

    with open_node("mine:Shrink", threshold=0.5) as shrink:
        assert shrink([0.2, -3.0, 1.0]).tolist() == [0.0, -2.5, 0.5]


def test_the_readme_keeps_its_running_sum(tmp_path, monkeypatch):
    imports = re.findall(r"```python\n(from dataclasses.*?)\n\n\n@", README, re.DOTALL)
    (code,) = re.findall(
        r"```python\n(@dataclass[^`]*?class RunningSum\(.*?)```", README, re.DOTALL
    )
    (tmp_path / "sums.py").write_text(f"{imports[0]}\n\n{code}")
    monkeypatch.syspath_prepend(tmp_path)
    sums = importlib.import_module("sums")
    frames = frames_of(np.ones((6, 2)))
    check_node(lambda: sums.RunningSum(sums.RunningSumConfig()), {"x": frames})
    made = run_node(sums.RunningSum(sums.RunningSumConfig()), {"x": frames})["out"]
    assert [frame.data.tolist() for frame in made] == [[n, n] for n in range(1, 7)]


def test_the_readme_trains_and_runs_its_own_model(tmp_path):
    pytest.importorskip(
        "torch", reason="TRAINING NOT TESTED: install streamproc[train]"
    )
    found = r"```python\n(import numpy as np\n\nfrom streamproc\.statespace.*?)```"
    (code,) = re.findall(found, README, re.DOTALL)
    assert len(code.splitlines()) < 40
    (tmp_path / "mine.py").write_text(code)
    words = "train kalmannet --model mine:model --out mine --iterations 20 --json"
    made = subprocess.run(
        [sys.executable, "-m", "streamproc", *words.split()],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert made.returncode == 0, made.stderr
    errors = {
        row["row"]: row["error_db"][0] for row in json.loads(made.stdout)["metrics"]
    }
    assert errors["kalmannet"] < errors["ekf"] + 0.5  # it begins as one
    follow = (
        "import numpy as np\n"
        "from streamproc import open_node\n"
        "with open_node('kalmannet', model='mine') as one:\n"
        "    with open_node('ekf', model='mine:model') as other:\n"
        "        for y in np.sin(np.arange(100) * 0.05):\n"
        "            made, twin = one(np.array([y])), other(np.array([y]))\n"
        "print(float(abs(made['x'] - twin['x']).max()))\n"
    )
    used = subprocess.run(
        [sys.executable, "-c", follow],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert used.returncode == 0, used.stderr
    assert float(used.stdout) < 1.0


def blocks(language):
    found = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    return [text for spoken, text in found if spoken == language]


def commands():
    """What it says to type, without what stands beside it."""
    lines = [
        f"streamproc {words}" for words in re.findall(r"`streamproc (.*?)`", README)
    ]
    for block in (*blocks("sh"), *blocks("")):
        lines += block.replace("\\\n", "").splitlines()
    for line in lines:
        text = re.split(r" {2,}(?! *--)|  *#| &$", line)[0]
        vague = re.search(r"[A-Z]{2}|\|", text)
        if re.match(r"streamproc [a-z]+ \S", text) and not vague:
            yield text.removeprefix("streamproc ")


@pytest.mark.parametrize("words", sorted(set(commands())))
def test_the_commands_that_the_readme_shows_are_understood(words):
    asked = shlex.split(words)
    args = cli._parser(asked[0]).parse_args(asked)
    file = getattr(args, "file", None)
    assert args.run and (str(file)[:7] != "deploy/" or (ROOT / file).is_file())


def test_the_nodes_that_the_readme_shows_are_understood():
    shown = [
        (name, dict(table))
        for block in blocks("toml")
        for name, table in tomllib.loads(block).get("nodes", {}).items()
    ]
    assert len(shown) > 8
    options = keys(NodeOptions)
    for name, table in shown:
        cls = kind(table.pop("kind"))
        shared = {key: table.pop(key) for key in options if key in table}
        build(config_type(cls), table, (name,))
        build(NodeOptions, shared, (name,))


def test_the_client_that_the_readme_shows_is_understood():
    (code,) = (block for block in blocks("python") if "zmq.PUSH" in block)
    place = f"tcp://127.0.0.1:{free_port('127.0.0.1', set())}"
    with open_node(
        "zmq.source", endpoint=place, dtype="f8", dims={"axis": 3}
    ) as source:
        client = subprocess.Popen(
            [sys.executable, "-c", code.replace("tcp://127.0.0.1:5555", place)]
        )
        seen = [source().data.tolist() for _ in range(10_000)]
    assert client.wait(30) == 0
    assert seen == [[float(n)] * 3 for n in range(10_000)]
