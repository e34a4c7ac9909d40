"""Reading a graph file: tomllib for values, the line index for places."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from streamproc.config.lines import line_index, line_of
from streamproc.config.sentences import NAME, edges_of, find
from streamproc.confine import narrowed
from streamproc.errors import (
    ConfigError,
    GraphError,
    PlacementError,
    RefusedError,
    nearest,
    sought,
)
from streamproc.graph import (
    EdgeOptions,
    EdgeSpec,
    Graph,
    GraphSpec,
    NodeOptions,
    NodeSpec,
    Patience,
    refusal,
    settled,
)
from streamproc.graph import build as build_graph
from streamproc.node import Node, Ports, config_type, ports
from streamproc.nodes import kind as kind_of
from streamproc.schema import (
    Above,
    KeyPath,
    Min,
    SchemaError,
    build,
    key_text,
    keys,
    shown,
)

OPTIONS = tuple(field.name for field in fields(NodeOptions))


@dataclass(frozen=True, kw_only=True)
class GraphTable:
    """The `[graph]` table.

    edges: sentences such as "scene -> tracker -> disk"
    name: what the graph is called; the file's own name if empty
    workers: "one" lets a single process run all nodes
    keys: folder made by `streamproc keys make`, for edges beyond this machine
    root: folder that no node writes outside of; a node's own root is inside it
    restarts: how many lives of a worker in a row may lead nowhere before the graph ends
    within_s: and how close together they have to be
    """

    edges: tuple[str, ...]
    name: str = ""
    workers: Literal["", "one"] = ""
    keys: str = ""
    root: str = ""
    restarts: Annotated[int, Min(0)] = 5
    within_s: Annotated[float, Above(0)] = 30


def check(path: str | os.PathLike[str], root: str = "", starts: bool = False) -> Graph:
    """Load a graph file and build its graph; refuses all that can be refused.

    starts: also what is in the way of a run that has nothing to go on from.
    """
    spec = load(path, root)
    graph = build_graph(spec)
    for node in graph.nodes.values() if starts else ():
        try:
            node.node.check_start()
        except RefusedError as error:
            raise refusal(spec, node.spec, error, type(error)) from error
    return graph


_ENDLESS = re.compile(r"[0-9_]{4300}")


def load(path: str | os.PathLike[str], root: str = "") -> GraphSpec:
    """Read a graph file. ConfigError says file:line, key, expected and got.

    root: in place of the graph's own, from who runs it.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        problem = f"cannot be read: {error.strerror}{sought(path)}"
        raise ConfigError(f"{path}: {problem}") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path}:{line}: expected UTF-8 text") from error
    return loads(text, os.fspath(path), root)


def loads(text: str, path: str = "graph.toml", root: str = "") -> GraphSpec:
    """Like load, for a text; path is how errors call it."""
    try:
        values, lines = tomllib.loads(text), line_index(text)
    except tomllib.TOMLDecodeError as error:
        raise _not_toml(error, text, path) from error
    except ValueError as error:  # Python's own limit, which names no line
        rows = enumerate(text.splitlines(), 1)
        line = next((n for n, row in rows if _ENDLESS.search(row)), 1)
        raise ConfigError(
            f"{path}:{line}: not TOML: expected a number of 64 bits, got one of "
            "thousands of digits; shorten it"
        ) from error
    except RecursionError as error:
        raise ConfigError(f"{path}:1: lists or tables nested too deep") from error
    return _Reader(path, lines, values).graph(root)


def _not_toml(error: tomllib.TOMLDecodeError, text: str, path: str) -> ConfigError:
    problem = str(error)
    place = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)$", problem)
    line = len(text.splitlines()) or 1
    if place:
        problem = problem[: place.start()]
        line = int(place[1] or line)
    cure = ""
    if problem == "Unclosed array":
        cure = "; a list above lacks its ]"
    elif problem == "Invalid value":
        table = text.splitlines()[line - 1].lstrip().startswith("[")
        cure = "; a list above lacks its ]" if table else "; text stands in quotes"
    return ConfigError(f"{path}:{line}: not TOML: {problem}{cure}")


def _inside(root: str, config: Any, key_path: KeyPath) -> dict[str, str]:
    """Root and path, instead of its own, of a node that writes. Raises SchemaError."""
    own, path = (getattr(config, key, None) for key in ("root", "path"))
    if not isinstance(own, str) or not isinstance(path, str):
        return {}
    try:
        return {"root": root, "path": narrowed(root, own, path)}
    except PlacementError as error:
        raise SchemaError(key_path, problem=str(error)) from error


class _Reader:
    """One file on its way to a GraphSpec."""

    def __init__(
        self, path: str, lines: dict[KeyPath, int], values: dict[str, Any]
    ) -> None:
        self.path, self.lines, self.values = path, lines, values

    def graph(self, root: str) -> GraphSpec:
        self.check_tables()
        try:
            table = build(GraphTable, self.values["graph"], ("graph",))
            nodes = {
                name: self.confined(root or table.root, self.node(name))
                for name in self.values["nodes"]
            }
            name = table.name or Path(self.path).stem
            if not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
                expected = "letters, digits, '_', '.' and '-'"
                raise SchemaError(("graph", "name"), expected, shown(name))
            edges = self.with_options(table, nodes)
        except SchemaError as error:
            raise self.refuse(error.key_path, error.problem) from error
        return GraphSpec(
            name=name,
            nodes=nodes,
            edges=edges,
            workers=table.workers,
            path=self.path,
            keys=table.keys,
            patience=Patience(restarts=table.restarts, within_s=table.within_s),
        )

    def refuse(self, key_path: KeyPath, problem: object) -> ConfigError:
        line = line_of(self.lines, key_path)
        return ConfigError(f"{self.path}:{line}: {key_text(key_path)}: {problem}")

    def check_tables(self) -> None:
        """Only the tables there may be, each a table, and those that must be."""
        known = {
            "graph": "[graph] with edges",
            "nodes": "[nodes.NAME] with kind",
            "edge": '[edge."a -> b"]',
        }
        for name, value in self.values.items():
            if name not in known:
                raise self.refuse((name,), f"no such table{nearest(name, known)}")
            if not isinstance(value, Mapping):
                raise self.refuse((name,), f"expected a table, got {shown(value)}")
        for name in ("graph", "nodes"):
            if not self.values.get(name):
                raise self.refuse((name,), f"missing; add {known[name]}")
        if self.values["graph"].get("edges") == []:
            raise self.refuse(("graph", "edges"), 'no edges; add "a -> b"')

    def node(self, name: str) -> NodeSpec:
        path: KeyPath = ("nodes", name)
        table = self.values["nodes"][name]
        if not re.fullmatch(NAME, name):
            expected = "a name of letters, digits, '_' and '-'"
            raise SchemaError(path, expected, shown(name))
        if not isinstance(table, Mapping):
            raise SchemaError(path, "a table with kind", shown(table))
        schema = config_type(self.kind(path, table))
        rest = {key: value for key, value in table.items() if key != "kind"}
        known = (*keys(schema), *OPTIONS)
        for key in rest:
            if key not in known:
                problem = f"no such key{nearest(key, ('kind', *known))}"
                raise SchemaError((*path, key), problem=problem)
        own = {key: value for key, value in rest.items() if key not in OPTIONS}
        shared = {key: value for key, value in rest.items() if key in OPTIONS}
        return NodeSpec(
            name=name,
            kind=table["kind"],
            config=build(schema, own, path),
            options=build(NodeOptions, shared, path),
            line=line_of(self.lines, path),
        )

    def confined(self, root: str, node: NodeSpec) -> NodeSpec:
        """A node that writes, and its fallback, writing inside the graph's root."""
        if not root:
            return node
        path: KeyPath = ("nodes", node.name)
        inside = _inside(root, node.config, (*path, "root"))
        config = replace(node.config, **inside) if inside else node.config
        options, twin = node.options, dict(node.options.fallback)
        if twin:
            path = (*path, "fallback")
            own = {key: value for key, value in twin.items() if key != "kind"}
            made = build(config_type(self.kind(path, twin)), own, path)
            twin |= _inside(root, made, (*path, "root"))
            options = replace(options, fallback=twin)
        return replace(node, config=config, options=options)

    def kind(self, path: KeyPath, table: Mapping[str, Any]) -> type[Node[Any]]:
        name = table.get("kind")
        if not isinstance(name, str):
            got = shown(name)
            raise SchemaError((*path, "kind"), "the name of a node kind", got)
        try:
            kind = kind_of(name)
            taken = [key for key in keys(config_type(kind)) if key in OPTIONS]
            if taken:
                problem = (
                    f"kind {name!r} calls a key {taken[0]!r}, which every node has"
                )
                raise GraphError(problem)
            return kind
        except RefusedError as error:
            raise SchemaError((*path, "kind"), problem=str(error)) from error

    def edges(
        self, sentences: tuple[str, ...], known: dict[str, Ports]
    ) -> list[EdgeSpec]:
        found: dict[str, EdgeSpec] = {}
        for number, sentence in enumerate(sentences):
            path: KeyPath = ("graph", "edges", number)
            line = line_of(self.lines, path)
            try:
                for raw in edges_of(sentence, known):
                    edge = replace(settled(raw, known), line=line)
                    if edge.name in found:
                        first = found[edge.name].line
                        problem = f'"{edge.name}" is drawn already, in line {first}'
                        raise GraphError(problem)
                    found[edge.name] = edge
            except GraphError as error:
                raise SchemaError(path, problem=str(error)) from error
        return list(found.values())

    def with_options(
        self, table: GraphTable, nodes: dict[str, NodeSpec]
    ) -> tuple[EdgeSpec, ...]:
        """The edges of the sentences, with what the `[edge]` tables say of them."""
        known = {name: ports(kind_of(node.kind)) for name, node in nodes.items()}
        edges = self.edges(table.edges, known)
        options: dict[str, EdgeOptions] = {}
        for sentence, values in self.values.get("edge", {}).items():
            path: KeyPath = ("edge", sentence)
            try:
                edge = find(sentence, edges, known)
            except GraphError as error:
                raise SchemaError(path, problem=str(error)) from error
            if edge.name in options:
                raise SchemaError(path, problem=f'"{edge.name}" has a table already')
            if not isinstance(values, Mapping):
                raise SchemaError(path, "a table", shown(values))
            options[edge.name] = build(EdgeOptions, values, path)
        return tuple(
            replace(edge, options=options.get(edge.name, edge.options))
            for edge in edges
        )
