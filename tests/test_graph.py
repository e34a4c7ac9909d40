"""Graphs: what fits is placed in order, what does not is refused by name."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from streamproc.config import loads
from streamproc.errors import ArtifactError, GraphError, PlacementError
from streamproc.frame import DTYPES, Array, Frame
from streamproc.graph import (
    EdgeOptions,
    EdgeSpec,
    GraphSpec,
    NodeOptions,
    NodeSpec,
    build,
)
from streamproc.node import Node, config_type, ports

from . import sample_kinds
from .sample_kinds import GainConfig, ModelConfig, Nothing, SensorConfig

CONFIGS = {
    "sensor": SensorConfig(),
    "gain": GainConfig(),
    "compare": Nothing(),
    "sink": Nothing(),
    "model": ModelConfig(model="lorenz"),
    "rootless": Nothing(),
}
FEEDBACK = EdgeOptions(feedback=True, dtype="f8", dims={"axis": 3}, unit="m")


@pytest.fixture(autouse=True)
def kinds(monkeypatch):
    monkeypatch.setattr("streamproc.nodes.KINDS", sample_kinds.KINDS)


def node(name, kind, config=None, **options):
    config = CONFIGS[kind] if config is None else config
    return NodeSpec(name=name, kind=kind, config=config, options=NodeOptions(**options))


def edge(sentence, options=None):
    ends = []
    for end in sentence.split(" -> "):
        name, _, port = end.partition(":")
        ends += [name, port]
    source, source_port, target, target_port = ends
    return EdgeSpec(
        source=source,
        source_port=source_port,
        target=target,
        target_port=target_port,
        options=options or EdgeOptions(),
    )


def spec(nodes, edges, **rest):
    drawn = tuple(e if isinstance(e, EdgeSpec) else edge(e) for e in edges)
    return GraphSpec(name="g", nodes={n.name: n for n in nodes}, edges=drawn, **rest)


SCENE = node("scene", "sensor")
GAIN = node("gain", "gain")
SCORE = node("score", "compare")
DISK = node("disk", "sink")
THREE = ["scene:observation -> gain", "gain:out -> score:estimate"]
WHOLE = [*THREE, "scene:truth -> score:truth", "score -> disk:frame"]


def refused(nodes, edges, kind=GraphError, **rest):
    with pytest.raises(kind) as caught:
        build(spec(nodes, edges, **rest))
    return str(caught.value)


def test_nodes_come_in_topological_order_with_their_ports_in_order():
    graph = build(spec([DISK, SCORE, GAIN, SCENE], WHOLE))
    order = list(graph.nodes)
    assert order[0] == "scene"
    assert order.index("gain") < order.index("score") < order.index("disk")
    assert list(graph.nodes["score"].inputs) == ["truth", "estimate"]
    assert list(graph.nodes["scene"].outputs) == ["observation", "truth"]
    assert graph.nodes["disk"].outputs == {}


def test_edges_keep_the_order_of_the_file_and_shed_needless_ports():
    graph = build(spec([SCENE, GAIN, SCORE, DISK], WHOLE))
    assert [e.id for e in graph.edges] == [0, 1, 2, 3]
    assert [e.name for e in graph.edges] == [
        "scene:observation -> gain",
        "gain -> score:estimate",
        "scene:truth -> score:truth",
        "score -> disk",
    ]
    assert (graph.edges[1].source_port, graph.edges[3].target_port) == ("out", "frame")


def test_every_edge_knows_what_flows_on_it():
    graph = build(spec([SCENE, GAIN, SCORE, DISK], WHOLE))
    assert str(graph.edges[0].signature) == "(axis 3) f8 m @ 1000 Hz"
    assert graph.nodes["gain"].inputs["signal"] is graph.edges[0]


def test_nodes_have_their_own_worker_unless_they_share_one():
    shared = (
        node("gain", "gain", worker="fast"),
        node("score", "compare", worker="fast"),
    )
    graph = build(spec([SCENE, *shared, DISK], WHOLE))
    assert graph.workers == {
        "scene": ["scene"],
        "fast": ["gain", "score"],
        "disk": ["disk"],
    }
    assert [e.internal for e in graph.edges] == [False, True, False, False]


def test_one_worker_takes_all():
    graph = build(spec([SCENE, GAIN, SCORE, DISK], WHOLE, workers="one"))
    assert graph.workers == {"one": ["scene", "gain", "score", "disk"]}
    assert all(e.internal for e in graph.edges)


def test_a_spec_survives_pickling():
    asked = spec([SCENE, GAIN, SCORE, DISK], WHOLE)
    assert pickle.loads(pickle.dumps(asked)) == asked  # noqa: S301


def test_build_changes_nothing_and_gives_the_same_again():
    asked = spec([SCENE, GAIN, SCORE, DISK], WHOLE)
    first, second = build(asked), build(asked)
    assert first.edges == second.edges
    assert first.nodes["gain"].node is not second.nodes["gain"].node


def test_a_graph_without_nodes_is_refused():
    assert refused([], []) == "a graph needs nodes"


def test_a_node_that_no_edge_touches_is_refused():
    text = refused([SCENE, GAIN, DISK], ["scene:truth -> gain"])
    assert text == (
        "nodes.disk: no edge touches it; connect it in graph.edges, or remove it"
    )


def test_an_unfed_input_is_refused_with_the_sentence_to_add():
    text = refused([SCENE, GAIN, SCORE, DISK], [*WHOLE[:2], "score -> disk"])
    assert (
        text
        == "nodes.score: input 'truth' is not connected; add \"... -> score:truth\""
    )


def test_an_input_fed_twice_is_refused():
    text = refused([SCENE, GAIN], ["scene:truth -> gain", "scene:observation -> gain"])
    assert text == (
        "edge \"scene:observation -> gain\": input 'signal' of gain is fed by "
        '"scene:truth -> gain" too'
    )


@pytest.mark.parametrize(
    ("sentence", "text"),
    [
        ("scene:truht -> gain", "scene has no output 'truht' (did you mean 'truth'?)"),
        (
            "scene -> gain",
            "scene has 2 outputs; say which: scene:observation, scene:truth",
        ),
        ("scene:truth -> gain:x", "gain has no input 'x' (known: signal)"),
        ("scene:truth -> gian", "no node 'gian' (did you mean 'gain'?)"),
        ("gain -> scene", "scene has no inputs"),
        (
            "gain -> gain",
            "gain cannot feed itself; what a node keeps from frame to frame is its "
            "state",
        ),
    ],
)
def test_an_edge_that_cannot_be_is_refused(sentence, text):
    said = refused([SCENE, GAIN], [sentence])
    assert said == f'edge "{sentence}": {text}'


def test_a_sink_feeds_nobody():
    assert "disk has no outputs" in refused([SCENE, DISK, GAIN], ["disk -> gain"])


def test_a_signature_that_does_not_fit_names_node_and_edge():
    feet = node("scene", "sensor", SensorConfig(unit="ft"))
    text = refused([feet, GAIN], ["scene:observation -> gain"])
    assert text == (
        "nodes.gain: expected unit m, got ft in (axis 3) f8 ft, from "
        "scene:observation -> gain"
    )


def test_a_refusal_keeps_its_kind():
    text = refused([SCENE, node("m", "model")], ["scene:truth -> m"], ArtifactError)
    assert text == "nodes.m: no model called 'lorenz', from scene:truth -> m"


def test_a_config_of_another_kind_is_refused():
    text = refused([node("scene", "sensor", Nothing()), DISK], ["scene:truth -> disk"])
    assert text == "nodes.scene: expected a SensorConfig, got a Nothing"


def test_a_node_without_inputs_must_be_a_source():
    assert "a node without inputs is a Source" in refused(
        [node("r", "rootless"), DISK], ["r -> disk"]
    )


def two_rates(**options):
    slow = node("slow", "sensor", SensorConfig(rate_hz=10))
    nodes = [SCENE, slow, node("score", "compare", **options)]
    return nodes, ["scene:truth -> score:truth", "slow:truth -> score:estimate"]


def test_inputs_of_two_rates_cannot_be_joined_on_time():
    assert refused(*two_rates()) == (
        "nodes.score: inputs joined on time need one rate, got scene:truth -> "
        "score:truth @ 1000 Hz, slow:truth -> score:estimate @ 10 Hz; "
        'or join = "latest"'
    )


def test_inputs_of_two_rates_can_be_joined_on_the_latest():
    build(spec(*two_rates(join="latest")))


def test_a_cycle_is_said_and_so_is_the_cure():
    nodes = [SCENE, SCORE, GAIN]
    edges = ["scene:truth -> score:truth", "score -> gain", "gain -> score:estimate"]
    text = refused(nodes, edges)
    assert text.endswith("; mark one edge feedback = true")
    assert "cycle score -> gain -> score" in text or "gain -> score -> gain" in text


def loop(options=FEEDBACK, scene=SCENE, **placement):
    nodes = [
        scene,
        node("score", "compare", **placement),
        node("gain", "gain", **placement),
    ]
    back = edge("gain -> score:estimate", options)
    return nodes, ["scene:truth -> score:truth", "score -> gain", back]


def test_a_feedback_edge_may_close_a_cycle_within_one_worker():
    graph = build(spec(*loop(worker="loop")))
    assert graph.workers["loop"] == ["score", "gain"]
    assert str(graph.edges[2].signature) == "(axis 3) f8 m"
    assert graph.edges[2].internal


def test_a_feedback_cycle_over_two_workers_is_refused_with_the_cure():
    assert refused(*loop()) == (
        'edge "gain -> score:estimate": acks around score, gain would wait on '
        'themselves; give them one worker, such as worker = "score_loop"'
    )


@pytest.mark.parametrize(
    ("options", "declared"),
    [
        (EdgeOptions(feedback=True, dtype="f4", dims={"axis": 3}), "(axis 3) f4"),
        (EdgeOptions(feedback=True, dtype="f8", dims={"axis": 3}, unit="s"), None),
        (EdgeOptions(feedback=True, dtype="f8", dims={"axis": 2}), "(axis 2) f8"),
    ],
)
def test_a_feedback_edge_must_declare_what_its_source_gives(options, declared):
    text = refused(*loop(options, worker="loop"))
    assert (
        f"declares {declared or '(axis 3) f8 s'}, but gain gives (axis 3) f8 m" in text
    )


def test_feedback_that_closes_no_cycle_is_refused():
    text = refused(
        [SCENE, SCORE, DISK], [*loop()[1][:1], edge("score -> disk", FEEDBACK)]
    )
    assert "input 'estimate' is not connected" in text
    only = edge("score -> disk", FEEDBACK)
    text = refused(
        [SCENE, SCORE, DISK],
        ["scene:truth -> score:truth", "scene:truth -> score:estimate", only],
    )
    assert text == 'edge "score -> disk": closes no cycle; remove feedback = true'


def test_what_only_feedback_feeds_has_no_start():
    gain, other = node("gain", "gain", worker="w"), node("other", "gain", worker="w")
    edges = ["gain -> other", edge("other -> gain", FEEDBACK)]
    assert "nothing but feedback feeds gain" in refused([gain, other], edges)


def test_a_feedback_edge_says_what_flows():
    with pytest.raises(ValueError, match="add dtype"):
        EdgeOptions(feedback=True)
    with pytest.raises(ValueError, match="belong to an edge with feedback"):
        EdgeOptions(unit="m")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_hosts_are_fine(host):
    build(spec([SCENE, node("disk", "sink", host=host)], ["scene:truth -> disk"]))


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.0.7", "lab.example", "::"])
def test_hosts_beyond_loopback_need_keys(host):
    far = node("disk", "sink", host=host)
    text = refused([SCENE, far], ["scene:truth -> disk"], PlacementError)
    assert text == (
        f"nodes.disk: host '{host}' is beyond this machine, which needs keys; add keys "
        '= "FOLDER" to [graph], made by `streamproc keys make FOLDER`, or use 127.0.0.1'
    )


def test_fused_nodes_cannot_be_on_two_hosts():
    here = node("gain", "gain", worker="w")
    there = node("disk", "sink", worker="w", host="localhost")
    edges = ["scene:truth -> gain", "gain -> disk"]
    text = refused([SCENE, here, there], edges, PlacementError)
    assert text.startswith("nodes.disk: worker 'w' cannot be on host 'localhost'")


def test_on_late_drop_needs_a_deadline():
    for policy in ("drop", "degrade"):
        with pytest.raises(ValueError, match=f'"{policy}" needs a deadline_us'):
            NodeOptions(on_late=policy)


def test_a_kind_that_cannot_do_less_cannot_degrade():
    late = node("gain", "gain", deadline_us=9, on_late="degrade")
    text = refused([SCENE, late], ["scene:observation -> gain"])
    assert text.startswith("nodes.gain: on_late: gain can do no less for a frame")


def test_feedback_edges_may_declare_every_dtype_of_frames():
    for code in DTYPES:
        assert EdgeOptions(feedback=True, dtype=code).declared.data.dtype == code
        loads(
            '[graph]\nedges = ["s:truth -> c:truth", "c -> g -> c:estimate"]\n'
            '[nodes.s]\nkind = "sensor"\n[nodes.c]\nkind = "compare"\n'
            '[nodes.g]\nkind = "gain"\n'
            f'[edge."g -> c:estimate"]\nfeedback = true\ndtype = "{code}"\n'
        )


class OnlyRead(Node[Nothing]):
    """Its memory can be taken, not given back."""

    def process(self, x: Frame) -> Frame:
        return x

    @property
    def state(self) -> dict[str, Array]:
        return {"sum": np.zeros(3)}


class Untyped(Node[Nothing]):
    """Does not say what it makes."""

    def process(self, x: Frame):  # type: ignore[no-untyped-def]
        return x


def test_a_node_without_a_config_of_its_own_is_told_how():
    class Bare(Node[None]):
        """No config."""

    with pytest.raises(GraphError, match="YourConfig is a frozen dataclass"):
        config_type(Bare)


@pytest.mark.parametrize(
    ("kind", "part"),
    [(OnlyRead, "add @state.setter"), (Untyped, "return annotation, such as -> Frame")],
)
def test_what_a_node_forgot_is_said_before_it_runs(kind, part):
    with pytest.raises(GraphError, match=part):
        ports(kind)
