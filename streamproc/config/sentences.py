"""Edge sentences: `scene:observation -> tracker -> disk`, `truth, tracker -> score`.

An arrow joins neighbours. Commas on its right fan out; commas on its left feed the
input ports of what is on its right, in the order of that node's `process`. A port
follows its node after a colon; a node with one port on that side needs none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import NamedTuple

from streamproc.errors import GraphError, nearest
from streamproc.graph import EdgeSpec
from streamproc.node import Ports

NAME = r"[A-Za-z_][A-Za-z0-9_-]*"
REF = re.compile(rf"({NAME})(?:\s*:\s*({NAME}))?")
SHAPE = '"a -> b", with a port as in "a:port"'


class Ref(NamedTuple):
    """A node in a sentence, and a port if it names one."""

    node: str
    port: str

    def __str__(self) -> str:
        return f"{self.node}:{self.port}" if self.port else self.node


def parse(sentence: str) -> list[list[Ref]]:
    """The groups between the arrows. GraphError if it is no sentence."""
    groups = [
        [_ref(word.strip(), sentence) for word in group.split(",")]
        for group in sentence.split("->")
    ]
    if len(groups) < 2:
        raise GraphError(f"expected {SHAPE}, got {sentence!r}")
    return groups


def _ref(word: str, sentence: str) -> Ref:
    found = REF.fullmatch(word)
    if found:
        return Ref(found[1], found[2] or "")
    what = f"{word!r}" if word else "nothing beside an arrow or a comma"
    raise GraphError(f"expected {SHAPE}, got {what} in {sentence!r}")


def edges_of(sentence: str, ports: Mapping[str, Ports]) -> Iterator[EdgeSpec]:
    """The edges that a sentence draws, as written: their ports are not checked.

    GraphError for an unknown node and for commas that do not fit the target.
    """
    groups = parse(sentence)
    for ref in (ref for group in groups for ref in group):
        if ref.node not in ports:
            raise GraphError(f"no node {ref.node!r}{nearest(ref.node, ports)}")
    last = len(groups) - 1
    for place, (left, right) in enumerate(pairwise(groups)):
        sources = left if place == 0 else [_leaving(ref, ports) for ref in left]
        targets = right if place + 1 == last else [_entering(r, ports) for r in right]
        for target in targets:
            yield from _joined(sources, target, ports[target.node].inputs)


def _leaving(ref: Ref, ports: Mapping[str, Ports]) -> Ref:
    """A node between two arrows, as a source: an input's name is not about this."""
    return ref if _is_output(ref, ports) else Ref(ref.node, "")


def _entering(ref: Ref, ports: Mapping[str, Ports]) -> Ref:
    return Ref(ref.node, "") if _is_output(ref, ports) else ref


def _is_output(ref: Ref, ports: Mapping[str, Ports]) -> bool:
    inputs, outputs = ports[ref.node]
    if ref.port in inputs and ref.port in outputs:
        raise GraphError(f"{ref} is an input and an output; write two sentences")
    return ref.port in outputs


def _joined(
    sources: list[Ref], target: Ref, inputs: tuple[str, ...]
) -> Iterator[EdgeSpec]:
    names: tuple[str, ...] = (target.port,)
    if len(sources) > 1:
        if target.port or len(inputs) != len(sources):
            listed = ", ".join(inputs) or "none"
            raise GraphError(
                f"{len(sources)} sources cannot feed {target}, whose inputs are: "
                f'{listed}; write one sentence each, as in "{sources[0]} -> '
                f'{target.node}:port"'
            )
        names = inputs
    for source, name in zip(sources, names, strict=True):
        yield EdgeSpec(
            source=source.node,
            source_port=source.port,
            target=target.node,
            target_port=name,
        )


def find(sentence: str, edges: list[EdgeSpec], ports: Mapping[str, Ports]) -> EdgeSpec:
    """The edge that the name of an `[edge."..."]` table means. GraphError if none."""
    groups = parse(sentence)
    if [len(group) for group in groups] != [1, 1]:
        raise GraphError(f"expected one edge, {SHAPE}, got {sentence!r}")
    (source,), (target,) = groups
    found = [
        edge
        for edge in edges
        if edge.source == source.node
        and edge.target == target.node
        and _means(source.port, edge.source_port, ports[source.node].outputs)
        and _means(target.port, edge.target_port, ports[target.node].inputs)
    ]
    if len(found) == 1:
        return found[0]
    if found:
        names = " or ".join(f'"{edge.name}"' for edge in found)
        raise GraphError(f"which edge? {names}")
    raise GraphError(f"no such edge{nearest(sentence, [edge.name for edge in edges])}")


def _means(written: str, port: str, names: tuple[str, ...]) -> bool:
    return written in ("", port or names[0])
