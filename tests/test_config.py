"""Graph files: values from tomllib, places from the line index, both in errors."""

from __future__ import annotations

import math
import tomllib

import jsonschema
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from streamproc.config import check, json_schema, load, loads
from streamproc.config.lines import line_index, line_of
from streamproc.config.sentences import edges_of
from streamproc.errors import ConfigError, GraphError
from streamproc.node import Ports

from . import sample_kinds
from .sample_kinds import Band

GOOD = """\
[graph]
name  = "lorenz"
edges = [
  "scene:observation -> tracker -> disk",  # a chain
  "scene:truth, tracker -> score",
]

[nodes.scene]
kind = "sensor"
rate_hz = 1000

[nodes.tracker]
kind   = "gain"
factor = 2
band   = { low_hz = 1, high_hz = 2.5 }
worker = "fast"
deadline_us = 200

[nodes.score]
kind = "compare"

[nodes.disk]
kind = "sink"

[edge."scene:observation -> tracker"]
depth = 8
on_full = "drop_oldest"
"""


@pytest.fixture(autouse=True)
def kinds(monkeypatch):
    monkeypatch.setattr("streamproc.nodes.KINDS", sample_kinds.KINDS)


def names(sentence):
    return [edge.name for edge in edges_of(sentence, PORTS)]


PORTS = {
    "s": Ports((), ("obs", "truth")),
    "a": Ports(("x",), ("out",)),
    "b": Ports(("x",), ("out",)),
    "two": Ports(("left", "right"), ("out", "rest")),
    "same": Ports(("out", "y"), ("out", "z")),
    "d": Ports(("x",), ()),
}


def test_a_good_file_becomes_a_spec():
    spec = loads(GOOD, "lab/lorenz.toml")
    assert (spec.name, spec.workers, spec.path) == ("lorenz", "", "lab/lorenz.toml")
    tracker = spec.nodes["tracker"]
    assert (tracker.kind, tracker.line, tracker.config.factor) == ("gain", 12, 2.0)
    assert tracker.config.band == Band(low_hz=1.0, high_hz=2.5)
    assert (tracker.options.worker, tracker.options.deadline_us) == ("fast", 200.0)
    assert [(edge.name, edge.line) for edge in spec.edges] == [
        ("scene:observation -> tracker", 4),
        ("tracker -> disk", 4),
        ("scene:truth -> score:truth", 5),
        ("tracker -> score:estimate", 5),
    ]
    assert spec.edges[0].options.depth == 8
    assert spec.edges[1].options.depth == 64


def test_check_builds_the_graph(tmp_path):
    path = tmp_path / "g.toml"
    path.write_text(GOOD)
    graph = check(path)
    assert set(graph.workers) == {"scene", "fast", "disk", "score"}
    assert str(graph.edges[3].signature) == "(axis 3) f8 m @ 1000 Hz"


def test_a_graph_without_name_is_called_after_its_file():
    assert loads(GOOD.replace('name  = "lorenz"', ""), "a/radar.toml").name == "radar"


def test_a_byte_order_mark_and_windows_lines_do_no_harm(tmp_path):
    path = tmp_path / "g.toml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert load(path).nodes["tracker"].line == 12


def test_a_chain_joins_neighbours():
    assert names("s:obs -> a -> b -> d") == ["s:obs -> a", "a -> b", "b -> d"]


def test_commas_on_the_right_fan_out():
    assert names("a -> b, d") == ["a -> b", "a -> d"]


def test_commas_on_the_left_feed_the_ports_in_order():
    assert names("s:truth, a -> two") == ["s:truth -> two:left", "a -> two:right"]


def test_groups_in_the_middle_fan_out_and_in():
    assert names("s:obs -> a, b -> two") == [
        "s:obs -> a",
        "s:obs -> b",
        "a -> two:left",
        "b -> two:right",
    ]


def test_a_port_in_the_middle_is_the_side_that_has_it():
    assert names("a -> two:left -> b") == ["a -> two:left", "two -> b"]
    assert names("a -> two:rest -> b") == ["a -> two", "two:rest -> b"]


def test_spaces_are_free():
    assert names(" s : obs->a ") == ["s:obs -> a"]


@pytest.mark.parametrize(
    ("sentence", "text"),
    [
        ("a", 'expected "a -> b", with a port as in "a:port", got \'a\''),
        ("", "got nothing beside an arrow or a comma in ''"),
        ("a -> ", "got nothing beside an arrow or a comma in 'a -> '"),
        ("a -> -> b", "got nothing beside"),
        ("a, -> b", "got nothing beside"),
        ("a => b", "got 'a => b'"),
        ("a:b:c -> d", "got 'a:b:c'"),
        ("a > b -> d", "got 'a > b'"),
        ("4a -> d", "got '4a'"),
        ("aa -> d", "no node 'aa' (did you mean 'a'?)"),
        ("a, b -> d", "2 sources cannot feed d, whose inputs are: x; write one"),
        ("a, b -> s", "whose inputs are: none"),
        ("a, b -> two:left", "2 sources cannot feed two:left"),
        ("a -> same:out -> b", "same:out is an input and an output; write two"),
    ],
)
def test_a_wrong_sentence_says_what_was_expected(sentence, text):
    with pytest.raises(GraphError) as caught:
        names(sentence)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    "key",
    [
        "scene:observation -> tracker",
        "scene -> tracker",
        "scene:observation -> tracker:signal",
        "scene->tracker",
    ],
)
def test_an_edge_table_may_leave_out_what_is_unambiguous(key):
    text = GOOD.replace('[edge."scene:observation -> tracker"]', f'[edge."{key}"]')
    assert loads(text).edges[0].options.depth == 8


def test_a_json_schema_accepts_what_loads_and_refuses_what_does_not(monkeypatch):
    able = {k: v for k, v in sample_kinds.KINDS.items() if k != "unloadable"}
    monkeypatch.setattr("streamproc.nodes.KINDS", able)
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    assert validator.is_valid(tomllib.loads(GOOD))
    for old, new in [
        ('kind = "compare"', 'kind = "compere"'),
        ("factor = 2", "factor = -2"),
        ("factor = 2", "facto = 2"),
        ("deadline_us = 200", 'deadline_us = "200"'),
        ("depth = 8", "depth = 0"),
        ("rate_hz = 1000", "factor = 1"),
        ("[graph]", "[grap]"),
        ("[nodes.disk]", '[nodes."di sk"]'),
    ]:
        assert old in GOOD
        broken = GOOD.replace(old, new)
        assert not validator.is_valid(tomllib.loads(broken)), new
        with pytest.raises(ConfigError):
            loads(broken)


def test_a_kind_that_cannot_be_imported_has_no_schema():
    with pytest.raises(GraphError, match="kind 'unloadable' cannot be imported"):
        json_schema()


TRICKY = '''\
# a = 1
a = """
b = 2
\\""" # """
c = [ # ]
  "x", 'y]', # "
  { d = [1,
    2], "e f" = 3 },
]
[g . "h.i"]
j.k = \'\'\'
[l]
\'\'\'\'
m = 1979-05-27 07:32:00
[[n]]
o = 1
[[n.p]]
q = """"quoted""""
[[n]]
"\\u0061" = 2
[n.r]
'''


def test_the_line_index_sees_through_comments_strings_and_lists():
    lines = line_index(TRICKY)
    assert {path: line for path, line in lines.items() if line} == {
        ("a",): 2,
        ("c",): 5,
        ("c", 0): 6,
        ("c", 1): 6,
        ("c", 2): 7,
        ("c", 2, "d"): 7,
        ("c", 2, "d", 0): 7,
        ("c", 2, "d", 1): 8,
        ("c", 2, "e f"): 8,
        ("g",): 10,
        ("g", "h.i"): 10,
        ("g", "h.i", "j"): 11,
        ("g", "h.i", "j", "k"): 11,
        ("g", "h.i", "m"): 14,
        ("n",): 15,
        ("n", 0): 15,
        ("n", 0, "o"): 16,
        ("n", 0, "p"): 17,
        ("n", 0, "p", 0): 17,
        ("n", 0, "p", 0, "q"): 18,
        ("n", 1): 19,
        ("n", 1, "a"): 20,
        ("n", 1, "r"): 21,
    }
    assert line_of(lines, ("c", 2, "zzz", 1)) == 7
    assert line_of(lines, ("zzz",)) == 1


def toml_key(key):
    return key if key.isalnum() and key.isascii() else toml_string(key)


def toml_string(text):
    plain = all(char.isprintable() and char not in '"\\' for char in text)
    return f'"{text}"' if plain else _escaped(text)


def _escaped(text):
    return '"' + "".join(f"\\U{ord(char):08x}" for char in text) + '"'


@st.composite
def toml_value(draw, depth=2):
    """A value as TOML text, in any of the ways that TOML has."""
    kind = draw(st.integers(0, 7 if depth else 5))
    if kind == 0:
        return str(draw(st.integers(-99, 99)))
    if kind == 1:
        return draw(st.sampled_from(["true", "1e3", "-inf", "07:32:00", "0xf"]))
    if kind == 2:
        return toml_string(draw(st.text(TEXT, max_size=5)))
    if kind == 3:
        inner = draw(st.text('ab#]}=,\n" ', max_size=6)).replace('"""', "")
        return f'"""{inner.rstrip(chr(34))}{draw(st.sampled_from(["", chr(34)]))}"""'
    if kind == 4:
        return f"'{draw(st.text('ab#[]{}=,. ' + chr(34), max_size=6))}'"
    if kind == 5:
        inner = draw(st.text("ab#]}=,\n' ", max_size=6)).replace("'''", "")
        return f"'''{inner.rstrip(chr(39))}'''"
    items = draw(st.lists(toml_value(depth=depth - 1), max_size=3))
    if kind == 6:
        gap = draw(st.sampled_from([" ", "\n", " # ]\n", "\n\n"]))
        return f"[{gap}" + f"{gap},{gap}".join(items) + f"{gap}]"
    keys = draw(st.lists(KEY, min_size=len(items), max_size=len(items), unique=True))
    pairs = zip(keys, items, strict=True)
    return "{ " + ", ".join(f"{toml_key(k)} = {v}" for k, v in pairs) + " }"


TEXT = st.characters(codec="utf-8", exclude_characters="\r")
KEY = st.text("ab1-_ .#=]\"'é", max_size=3)


@st.composite
def toml_text(draw):
    lines = []
    tables = draw(st.lists(st.lists(KEY, min_size=1, max_size=3), max_size=4))
    for table in [None, *tables]:
        if table is not None:
            dotted = draw(st.sampled_from([".", " . "])).join(map(toml_key, table))
            many = draw(st.booleans())
            lines.append(f"[[{dotted}]]" if many else f"[{dotted}] # {dotted} = 1")
        for keys in draw(st.lists(st.lists(KEY, min_size=1, max_size=2), max_size=3)):
            lines.append(".".join(map(toml_key, keys)) + " = " + draw(toml_value()))
    return "\n".join(lines)


def paths_of(value, path=()):
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in pairs:
        yield (*path, key)
        if isinstance(inner, dict | list):
            yield from paths_of(inner, (*path, key))


@settings(max_examples=400)
@given(toml_text())
def test_the_line_index_has_every_key_that_tomllib_has(text):
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        assume(False)  # a key drawn twice, mostly
    lines = line_index(text)
    rows = text.split("\n")
    assert set(lines) == set(paths_of(values))
    for path, line in lines.items():
        if isinstance(path[-1], str):
            assert toml_key(path[-1]) in rows[line - 1]


@settings(max_examples=200)
@given(st.text("[]{}=\"'#,.\n ab1-\\", max_size=40))
def test_no_text_crashes_the_reader(text):
    try:
        loads(text, "g.toml")
    except ConfigError as error:
        assert str(error).startswith("g.toml:")


def test_deep_nesting_is_refused():
    with pytest.raises(ConfigError, match="nested too deep"):
        loads("a = " + "[" * 20_000 + "]" * 20_000)


def test_values_of_toml_that_no_schema_has_are_shown():
    text = GOOD.replace("factor = 2", "factor = 1979-05-27")
    with pytest.raises(ConfigError, match="expected a number >= 0, got 1979-05-27"):
        loads(text)
    assert math.isinf(tomllib.loads("x = inf")["x"])
    with pytest.raises(ConfigError, match=r"rate_hz: expected a number > 0, got inf"):
        loads(GOOD.replace("rate_hz = 1000", "rate_hz = inf"))
