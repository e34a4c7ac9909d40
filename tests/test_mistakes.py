"""Forty mistakes in a graph file: each refused before start, each in one line.

Every case changes one place of a good file, goes through the command itself, and
must give exit code 2 and exactly one line with file, line number and its own words.
"""

from __future__ import annotations

import re

import pytest

from streamproc.cli import main

from . import sample_kinds

GOOD = """\
[graph]
name  = "lorenz"
edges = [
  "scene:observation -> tracker -> disk",
  "scene:truth, tracker -> score",
]

[nodes.scene]
kind = "sensor"
rate_hz = 1000

[nodes.tracker]
kind   = "gain"
factor = 2
deadline_us = 200

[nodes.score]
kind = "compare"

[nodes.disk]
kind = "sink"

[edge."scene:observation -> tracker"]
depth = 64
"""

CHAIN = '"scene:observation -> tracker -> disk"'
PAIR = '"scene:truth, tracker -> score"'

# what -> (text to find, text to put there, line, what is said after file and line)
MISTAKES = {
    "text that is not quoted": (
        'kind   = "gain"',
        "kind   = gain",
        13,
        "not TOML: Invalid value; text stands in quotes",
    ),
    "a key without a value": (
        "factor = 2",
        "factor",
        14,
        "not TOML: Expected '=' after a key in a key/value pair",
    ),
    "a table twice": (
        "[nodes.disk]",
        "[nodes.score]",
        20,
        "not TOML: Cannot declare ('nodes', 'score') twice",
    ),
    "a list without a comma": (
        CHAIN + ",",
        CHAIN,
        5,
        "not TOML: Unclosed array; a list above lacks its ]",
    ),
    "a list that is not closed": (
        PAIR + ",\n]\n",
        PAIR + ",\n",
        7,
        "not TOML: Invalid value; a list above lacks its ]",
    ),
    "an unknown table": (
        '[edge."scene',
        '[egde."scene',
        23,
        "egde: no such table (did you mean 'edge'?)",
    ),
    "a key outside all tables": (
        "[graph]",
        "depth = 3\n[graph]",
        1,
        "depth: no such table (known: edge, graph, nodes)",
    ),
    "a misspelt key of the graph": (
        "name  =",
        "nmae  =",
        2,
        "graph.nmae: no such key (did you mean 'name'?)",
    ),
    "a graph name that cannot be a file name": (
        '"lorenz"',
        '"lorenz/1"',
        2,
        "graph.name: expected letters, digits, '_', '.' and '-', got \"lorenz/1\"",
    ),
    "edges that are no list": (
        "edges = [\n  " + CHAIN + ",\n  " + PAIR + ",\n]",
        "edges = " + CHAIN,
        3,
        "graph.edges: expected a list, each a string, "
        'got "scene:observation -> tracker -> disk"',
    ),
    "no edges": (
        CHAIN + ",\n  " + PAIR + ",\n]",
        "]",
        3,
        'graph.edges: no edges; add "a -> b"',
    ),
    "edges left out": (
        "edges = [\n  " + CHAIN + ",\n  " + PAIR + ",\n]",
        "",
        1,
        "graph.edges: missing; expected a list, each a string",
    ),
    "a node without kind": (
        'kind = "sink"',
        "",
        20,
        "nodes.disk.kind: expected the name of a node kind, got nothing",
    ),
    "an unknown kind": (
        '"gain"',
        '"gian"',
        13,
        "nodes.tracker.kind: no node kind 'gian' (did you mean 'gain'?)",
    ),
    "a kind that cannot be imported": (
        '"gain"',
        '"unloadable"',
        13,
        "nodes.tracker.kind: kind 'unloadable' cannot be imported: "
        "No module named 'no_such_module_anywhere'",
    ),
    "a kind that takes a key of every node": (
        'kind = "sink"',
        'kind = "greedy"',
        21,
        "nodes.disk.kind: kind 'greedy' calls a key 'device', which every node has",
    ),
    "a node name with a space": (
        "[nodes.disk]",
        '[nodes."big disk"]',
        20,
        "nodes.\"big disk\": expected a name of letters, digits, '_' and '-', "
        'got "big disk"',
    ),
    "a node that is no table": (
        '[nodes.disk]\nkind = "sink"',
        "[nodes]\ndisk = 3",
        21,
        "nodes.disk: expected a table with kind, got 3",
    ),
    "a misspelt key of a node's kind": (
        "factor =",
        "facter =",
        14,
        "nodes.tracker.facter: no such key (did you mean 'factor'?)",
    ),
    "a misspelt key of every node": (
        "deadline_us",
        "deadline",
        15,
        "nodes.tracker.deadline: no such key (did you mean 'deadline_us'?)",
    ),
    "a number in quotes": (
        "deadline_us = 200",
        'deadline_us = "200"',
        15,
        'nodes.tracker.deadline_us: expected a number > 0, got "200"',
    ),
    "a number out of bounds": (
        "factor = 2",
        "factor = -2",
        14,
        "nodes.tracker.factor: expected a number >= 0, got -2",
    ),
    "a word that is no choice": (
        "factor = 2",
        'mode = "log"',
        14,
        'nodes.tracker.mode: expected "linear" or "db", got "log"',
    ),
    "a wrong element of a list": (
        "factor = 2",
        "taps = [1,\n 2, true]",
        15,
        "nodes.tracker.taps[2]: expected an integer, got true",
    ),
    "a nested table with a key missing": (
        "factor = 2",
        "band = { low_hz = 2 }",
        14,
        "nodes.tracker.band.high_hz: missing; expected a number",
    ),
    "a nested table that contradicts itself": (
        "factor = 2",
        "band = { low_hz = 2, high_hz = 1 }",
        14,
        "nodes.tracker.band: high_hz is not above low_hz",
    ),
    "a required key left out": (
        '"gain"\nfactor = 2',
        '"model"',
        12,
        "nodes.tracker.model: missing; expected a string",
    ),
    "an artifact that is not there": (
        '"gain"\nfactor = 2',
        '"model"\nmodel = "lorenz"',
        12,
        "nodes.tracker: no model called 'lorenz', from scene:observation -> tracker",
    ),
    "a worker that cannot name a file": (
        "factor = 2",
        'worker = "../fast"',
        14,
        "nodes.tracker.worker: expected letters, digits, '_' and '-', got \"../fast\"",
    ),
    "a policy without its deadline": (
        "deadline_us = 200",
        'on_late = "drop"',
        12,
        'nodes.tracker: on_late = "drop" needs a deadline_us',
    ),
    "a misspelt node in an edge": (
        CHAIN,
        '"scene:observation -> traker -> disk"',
        4,
        "graph.edges[0]: no node 'traker' (did you mean 'tracker'?)",
    ),
    "a misspelt port": (
        PAIR,
        '"scene:trut, tracker -> score"',
        5,
        "graph.edges[1]: scene has no output 'trut' (did you mean 'truth'?)",
    ),
    "a port left out where there are two": (
        CHAIN,
        '"scene -> tracker -> disk"',
        4,
        "graph.edges[0]: scene has 2 outputs; say which: scene:observation, "
        "scene:truth",
    ),
    "an arrow that is none": (
        CHAIN,
        '"scene:observation => tracker"',
        4,
        'graph.edges[0]: expected "a -> b", with a port as in "a:port", '
        "got 'scene:observation => tracker' in 'scene:observation => tracker'",
    ),
    "an arrow into nothing": (
        CHAIN,
        '"scene:observation -> tracker ->"',
        4,
        'graph.edges[0]: expected "a -> b", with a port as in "a:port", got nothing '
        "beside an arrow or a comma in 'scene:observation -> tracker ->'",
    ),
    "an edge drawn twice": (
        PAIR,
        PAIR + ', "tracker -> disk"',
        5,
        'graph.edges[2]: "tracker -> disk" is drawn already, in line 4',
    ),
    "a node that feeds itself": (
        PAIR,
        PAIR + ', "tracker -> tracker"',
        5,
        "graph.edges[2]: tracker cannot feed itself; what a node keeps from frame to "
        "frame is its state",
    ),
    "too many sources for a target": (
        PAIR,
        '"scene:truth, tracker -> disk"',
        5,
        "graph.edges[1]: 2 sources cannot feed disk, whose inputs are: frame; write "
        'one sentence each, as in "scene:truth -> disk:port"',
    ),
    "an input fed twice": (
        PAIR,
        PAIR + ', "scene:truth -> disk"',
        5,
        "edge \"scene:truth -> disk\": input 'frame' of disk is fed by "
        '"tracker -> disk" too',
    ),
    "an input not fed": (
        PAIR,
        '"tracker -> score:estimate"',
        17,
        "nodes.score: input 'truth' is not connected; add \"... -> score:truth\"",
    ),
    "a node that no edge touches": (
        CHAIN,
        '"scene:observation -> tracker"',
        20,
        "nodes.disk: no edge touches it; connect it in graph.edges, or remove it",
    ),
    "a cycle": (
        PAIR + ",\n]",
        PAIR + ',\n"x -> y -> x"]\n[nodes.x]\nkind="gain"\n[nodes.y]\nkind="gain"',
        6,
        re.compile(
            r'edge "(x -> y|y -> x)": cycle (x -> y -> x|y -> x -> y); '
            r"mark one edge feedback = true"
        ),
    ),
    "a table for an edge that there is not": (
        '[edge."scene:observation -> tracker"]',
        '[edge."scene:truth -> tracker"]',
        23,
        'edge."scene:truth -> tracker": no such edge (did you mean '
        "'scene:observation -> tracker'?)",
    ),
    "a table for a chain": (
        '[edge."scene:observation -> tracker"]',
        '[edge."scene:observation -> tracker -> disk"]',
        23,
        'edge."scene:observation -> tracker -> disk": expected one edge, "a -> b", '
        "with a port as in \"a:port\", got 'scene:observation -> tracker -> disk'",
    ),
    "two tables for one edge": (
        "depth = 64",
        'depth = 64\n[edge."scene -> tracker"]\ndepth = 1',
        25,
        'edge."scene -> tracker": "scene:observation -> tracker" has a table already',
    ),
    "a depth of zero": (
        "depth = 64",
        "depth = 0",
        24,
        'edge."scene:observation -> tracker".depth: expected an integer >= 1, got 0',
    ),
    "a policy for a full edge that there is not": (
        "depth = 64",
        'on_full = "wait"',
        24,
        'edge."scene:observation -> tracker".on_full: expected "block" or '
        '"drop_oldest" or "drop_newest" or "latest", got "wait"',
    ),
    "feedback that does not say what flows": (
        "depth = 64",
        "feedback = true",
        23,
        'edge."scene:observation -> tracker": a feedback edge says what flows before '
        'its first frame: add dtype = "f8" and dims = { axis = 3 }, as they are',
    ),
    "units that do not fit": (
        "rate_hz = 1000",
        'rate_hz = 1000\nunit = "ft"',
        13,
        "nodes.tracker: expected unit m, got ft in (axis 3) f8 ft, from "
        "scene:observation -> tracker",
    ),
    "a host beyond this machine": (
        'kind = "sink"',
        'kind = "sink"\nhost = "10.0.0.7"',
        20,
        "nodes.disk: host '10.0.0.7' is beyond this machine, which needs keys; add "
        'keys = "FOLDER" to [graph], made by `streamproc keys make FOLDER`, or use '
        "127.0.0.1",
    ),
    "two hosts for one worker": (
        'kind = "sink"',
        'kind = "sink"\nhost = "localhost"\nworker = "tracker"',
        20,
        "nodes.disk: worker 'tracker' cannot be on host 'localhost' and, with "
        "tracker, on host ''",
    ),
}


@pytest.fixture
def graph_file(tmp_path, monkeypatch):
    """Writes a graph file into an empty working folder; its name is the path."""
    monkeypatch.setattr("streamproc.nodes.KINDS", sample_kinds.KINDS)
    monkeypatch.chdir(tmp_path)

    def write(text):
        (tmp_path / "g.toml").write_text(text)
        return "g.toml"

    return write


@pytest.fixture
def nothing_starts(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("a node was opened")

    for kind in ("Sensor", "Gain", "Compare", "Sink", "Model"):
        monkeypatch.setattr(getattr(sample_kinds, kind), "open", refuse)


def test_the_file_without_mistakes_is_accepted(graph_file, capsys):
    assert main(["check", graph_file(GOOD)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "ok: 4 nodes, 4 edges, 4 workers"


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_refused_in_one_line(mistake, graph_file, nothing_starts, capsys):
    find, put, line, expected = MISTAKES[mistake]
    assert GOOD.count(find) == 1
    assert main(["check", graph_file(GOOD.replace(find, put))]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    where, _, problem = said.err.removesuffix("\n").partition(": ")
    assert "\n" not in problem
    if isinstance(expected, re.Pattern):
        assert expected.fullmatch(problem)
    else:
        assert problem == expected
    assert where == f"g.toml:{line}"


def test_no_two_mistakes_are_said_alike():
    said = [str(expected) for *_, expected in MISTAKES.values()]
    assert len(MISTAKES) >= 40
    assert len(set(said)) == len(said)


@pytest.mark.parametrize("text", ["", "# nothing yet\n"])
def test_an_empty_file_is_refused(text, graph_file, capsys):
    assert main(["check", graph_file(text)]) == 2
    assert (
        capsys.readouterr().err == "g.toml:1: graph: missing; add [graph] with edges\n"
    )


def test_a_file_without_nodes_is_refused(graph_file, capsys):
    assert main(["check", graph_file('[graph]\nedges = ["a -> b"]\n')]) == 2
    assert capsys.readouterr().err == (
        "g.toml:1: nodes: missing; add [nodes.NAME] with kind\n"
    )


def test_a_file_that_is_not_text_is_refused(tmp_path, capsys):
    path = tmp_path / "g.toml"
    path.write_bytes(b"[graph]\nname = '\xff'\n")
    assert main(["check", str(path)]) == 2
    assert capsys.readouterr().err == f"{path}:2: expected UTF-8 text\n"


@pytest.mark.parametrize("name", ["nowhere.toml", "."])
def test_a_file_that_cannot_be_read_is_refused(name, graph_file, capsys):
    assert main(["check", name]) == 2
    assert capsys.readouterr().err.startswith(f"{name}: cannot be read: ")
