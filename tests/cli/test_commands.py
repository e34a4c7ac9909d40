"""Commands from outside: output, JSON, help, exit codes, and what importing costs."""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import time
import types
from pathlib import Path

import jsonschema
import pytest

from streamproc import cli
from streamproc.cli import main
from streamproc.errors import NodeError, PlacementError
from streamproc.nodes import KINDS

GRAPH = """\
[graph]
name = "echo"
edges = ["scene:observation -> one -> two"]

[nodes.scene]
kind = "scene.lorenz"
rate_hz = 1000

[nodes.one]
kind = "identity"
worker = "pair"
deadline_us = 200

[nodes.two]
kind = "identity"
worker = "pair"
"""
OWN = [
    "check",
    "show",
    "nodes",
    "schema",
    "models",
    "evaluate",
    "keys",
    "quarantine",
    "doctor",
]


@pytest.fixture
def graph_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "echo.toml").write_text(GRAPH)
    return "echo.toml"


def output_of(capsys, *words):
    assert main(words) == 0
    return capsys.readouterr().out


def test_check_prints_what_flows_and_ends_with_ok(graph_file, capsys):
    assert output_of(capsys, "check", graph_file) == (
        "scene:observation -> one  (axis 3) f8 @ 1000 Hz\n"
        "one -> two                (axis 3) f8 @ 1000 Hz\n"
        "ok: 3 nodes, 2 edges, 2 workers\n"
    )


def test_check_gives_the_graph_as_json(graph_file, capsys):
    graph = json.loads(output_of(capsys, "check", graph_file, "--json"))
    assert graph["workers"] == {"scene": ["scene"], "pair": ["one", "two"]}
    assert graph["nodes"]["one"]["options"]["deadline_us"] == 200
    assert graph["edges"][1]["internal"] is True
    assert graph["edges"][0]["source"] == ["scene", "observation"]


def test_a_refusal_is_one_line_and_json_if_asked(graph_file, capsys):
    assert main(["check", "nowhere.toml", "--json"]) == 2
    said = capsys.readouterr()
    assert said.err == (
        "nowhere.toml: cannot be read: No such file or directory, looked for in "
        f"{Path.cwd()}\n"
    )
    assert json.loads(said.out) == {
        "error": said.err.removesuffix("\n"),
        "kind": "ConfigError",
    }


def test_show_as_text(graph_file, capsys):
    assert output_of(capsys, "show", graph_file) == (
        "echo: 3 nodes, 2 edges, 2 workers\n"
        "\n"
        "worker scene\n"
        "  scene  scene.lorenz  cpu\n"
        "\n"
        "worker pair\n"
        "  one  identity  cpu  deadline 200 µs (count)\n"
        "    <- scene:observation as frame  (axis 3) f8 @ 1000 Hz  block 64\n"
        "  two  identity  cpu\n"
        "    <- one as frame  (axis 3) f8 @ 1000 Hz  fused\n"
    )


def test_show_as_mermaid(graph_file, capsys):
    assert output_of(capsys, "show", graph_file, "--format", "mermaid") == (
        "flowchart LR\n"
        '  subgraph w0["scene"]\n'
        '    n0["scene<br/>scene.lorenz"]\n'
        "  end\n"
        '  subgraph w1["pair"]\n'
        '    n1["one<br/>identity"]\n'
        '    n2["two<br/>identity"]\n'
        "  end\n"
        '  n0 -->|"(axis 3) f8 @ 1000 Hz"| n1\n'
        '  n1 -->|"(axis 3) f8 @ 1000 Hz"| n2\n'
    )


def test_show_as_dot(graph_file, capsys):
    assert output_of(capsys, "show", graph_file, "--format", "dot") == (
        'digraph "echo" {\n'
        "  rankdir=LR; node [shape=box];\n"
        '  subgraph cluster_0 { label="scene";\n'
        '    "scene" [label="scene\\nscene.lorenz"];\n'
        "  }\n"
        '  subgraph cluster_1 { label="pair";\n'
        '    "one" [label="one\\nidentity"];\n'
        '    "two" [label="two\\nidentity"];\n'
        "  }\n"
        '  "scene" -> "one" [label="(axis 3) f8 @ 1000 Hz"];\n'
        '  "one" -> "two" [label="(axis 3) f8 @ 1000 Hz"];\n'
        "}\n"
    )


def test_show_gives_the_same_json_as_check(graph_file, capsys):
    shown = output_of(capsys, "show", graph_file, "--json")
    assert shown == output_of(capsys, "check", graph_file, "--json")


def test_nodes_lists_kinds_with_a_line_each(capsys):
    lines = output_of(capsys, "nodes").splitlines()
    assert any(line.split()[0] == "identity" for line in lines)
    assert lines == sorted(lines)
    assert all(line.endswith(".") for line in lines), "whole sentences"
    assert json.loads(output_of(capsys, "nodes", "--json"))["identity"]


def test_nodes_lists_a_kind_that_cannot_be_imported_as_such(capsys, monkeypatch):
    monkeypatch.setattr("streamproc.nodes.KINDS", {"far": "no_such_module:Far"})
    assert output_of(capsys, "nodes") == (
        "far  kind 'far' cannot be imported: No module named 'no_such_module'\n"
    )
    assert main(["nodes", "far"]) == 2


def test_nodes_describes_a_kind(capsys):
    lines = output_of(capsys, "nodes", "scene.lorenz").splitlines()
    assert lines[0].startswith("scene.lorenz: ")
    assert lines[1:3] == ["inputs: none", "outputs: observation, truth"]
    assert "  deadline_us: a number > 0; not set" in lines
    described = json.loads(output_of(capsys, "nodes", "scene.lorenz", "--json"))
    assert described["outputs"] == ["observation", "truth"]
    assert "seed" in [key["name"] for key in described["keys"]]


def test_nodes_refuses_an_unknown_kind_with_the_nearest(capsys):
    assert main(["nodes", "identiti"]) == 2
    assert "did you mean 'identity'?" in capsys.readouterr().err


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_built_in_kind_can_be_described(kind, capsys, monkeypatch):
    pytest.importorskip(KINDS[kind].partition(":")[0], exc_type=ImportError)
    monkeypatch.setattr("streamproc.nodes.KINDS", {kind: KINDS[kind]})
    assert output_of(capsys, "nodes", kind).startswith(f"{kind}: ")
    schema = json.loads(output_of(capsys, "schema"))
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$defs"][kind]["description"]


def test_schema_prints_a_json_schema(capsys, monkeypatch):
    kinds = {"identity": "streamproc.nodes.identity:Identity"}
    monkeypatch.setattr("streamproc.nodes.KINDS", kinds)
    schema = json.loads(output_of(capsys, "schema"))
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$defs"]["node"]["properties"]["kind"]["enum"] == ["identity"]


NESTED = (
    "evaluate tracking",
    "evaluate detection",
    "train kalmannet",
    "train factor_graph",
    "train corona",
)


@pytest.mark.parametrize("command", [*(c for c in OWN if c != "evaluate"), *NESTED])
def test_every_command_has_help_with_an_example_and_json(command, capsys):
    text = output_of(capsys, *command.split(), "--help")
    assert f"example:\n  streamproc {command}" in text
    assert "--json" in text


def test_help_lists_every_command(capsys):
    text = output_of(capsys, "--help")
    assert all(f"    {name} " in text for name in cli.COMMANDS)
    assert "example:" in text


def test_no_command_shows_the_help(capsys):
    assert "COMMAND" in output_of(capsys)


def test_a_misspelt_command_is_refused_with_the_nearest(capsys):
    assert main(["chekc"]) == 2
    assert capsys.readouterr().err == (
        "streamproc: no command 'chekc' (did you mean 'check'?)\n"
    )


@pytest.mark.parametrize("words", [["check"], ["check", "a", "b"], ["show", "--form"]])
def test_a_wrong_option_is_refused(words, capsys):
    assert main(words) == 2
    assert "usage: streamproc" in capsys.readouterr().err


def test_version_is_printed(capsys):
    assert output_of(capsys, "--version").strip()


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (PlacementError("no GPU"), 2),
        (NodeError("a", 3, ValueError("x")), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_exit_codes_say_what_happened(raised, code, monkeypatch, capsys):
    """Through `run`, whose module is not this test's: any module will do."""

    def run(args: argparse.Namespace) -> int:
        raise raised

    def add_parser(subparsers):
        subparsers.add_parser("run").set_defaults(run=run)

    stand_in = types.SimpleNamespace(add_parser=add_parser, run=run)
    monkeypatch.setitem(sys.modules, "streamproc.cli.run", stand_in)
    assert main(["run"]) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == (0 if code == 130 else 1)


def test_each_command_module_keeps_the_convention():
    for name in OWN:
        module = importlib.import_module(f"streamproc.cli.{name}")
        assert callable(module.add_parser)
        assert callable(module.run)


HEAVY = ("numba", "torch", "cupy", "onnxruntime", "zmq")


def python(*words):
    return subprocess.run([sys.executable, *words], capture_output=True, text=True)


@pytest.mark.parametrize(
    "words", [["--help"], ["check", "--help"], ["doctor"], ["nodes", "identity"]]
)
def test_light_commands_load_nothing_heavy(words):
    code = (
        f"import sys; from streamproc.cli import main; main({words!r}); "
        f"print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)"
    )
    assert python("-c", code).stderr.strip() == "[]"


def test_importing_the_command_line_is_quick():
    code = (
        "import time; start = time.perf_counter(); import streamproc.cli; "
        "print(time.perf_counter() - start)"
    )
    # The best of some: other processes may hold the cores.
    assert min(float(python("-c", code).stdout) for _ in range(5)) < 0.3


def test_a_reader_that_leaves_early_is_no_traceback(graph_file):
    module = [sys.executable, "-m", "streamproc", "nodes", "scene.lorenz", "--json"]
    writer = subprocess.Popen(module, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert writer.stdout is not None
    assert writer.stderr is not None
    writer.stdout.close()
    assert writer.stderr.read() == b""
    assert writer.wait(timeout=time_limit()) in (0, 1)


def time_limit():
    return 30 + time.get_clock_info("monotonic").resolution
