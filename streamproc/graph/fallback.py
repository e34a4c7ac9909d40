"""A fallback is a node of its own: it has to fit where it steps in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streamproc import schema
from streamproc.errors import GraphError, RefusedError
from streamproc.frame import Signature
from streamproc.graph.spec import NodeSpec
from streamproc.node import config_type, output_signatures, ports
from streamproc.nodes import kind as kind_of


def check_fallback(
    asked: NodeSpec,
    inputs: Mapping[str, Signature],
    outputs: Mapping[str, Signature],
) -> None:
    """GraphError for a fallback that cannot be made, or does not fit.

    And for a source that is to leave out a frame, for it fails before it has one.
    """
    if asked.options.on_error == "skip" and not inputs:
        raise GraphError(
            'on_error: expected "fail" or "restart" for a source, got "skip"; use '
            '"restart"'
        )
    if not asked.options.fallback:
        return
    try:
        made = _outputs(dict(asked.options.fallback), inputs)
    except RefusedError as error:
        raise GraphError(f"fallback: {error}") from error
    if made != outputs:
        raise GraphError(
            f"fallback: expected {_shown(outputs)}, as {asked.kind} gives, got "
            f"{_shown(made)}; name a kind that gives the same"
        )


def _outputs(
    config: dict[str, Any], inputs: Mapping[str, Signature]
) -> dict[str, Signature]:
    name = config.pop("kind", None)
    if not isinstance(name, str):
        raise GraphError('no kind; write fallback = { kind = "ekf", ... }')
    if not inputs:
        raise GraphError('a source has none; use on_error = "restart"')
    kind = kind_of(name)
    if ports(kind).inputs != tuple(inputs):
        wanted, got = ", ".join(inputs), ", ".join(ports(kind).inputs)
        raise GraphError(f"expected a kind with inputs {wanted}, got {name} with {got}")
    node = kind(schema.build(config_type(kind), config))
    return output_signatures(node, dict(inputs))


def _shown(signatures: Mapping[str, Signature]) -> str:
    return "; ".join(f"{port}: {one}" for port, one in signatures.items()) or "nothing"
