"""The JSON Schema of a whole graph file, made from the configs of all node kinds."""

from __future__ import annotations

from typing import Any

from streamproc.config.file import GraphTable
from streamproc.config.sentences import NAME
from streamproc.graph import EdgeOptions, NodeOptions
from streamproc.node import config_type, summary
from streamproc.nodes import kind, kinds
from streamproc.schema import json_schema as schema_of


def json_schema() -> dict[str, Any]:
    """JSON Schema, draft 2020-12, for editors. Imports every node kind there is."""
    names = sorted(kinds())
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "streamproc graph",
        "type": "object",
        "properties": {
            "graph": schema_of(GraphTable),
            "nodes": {
                "type": "object",
                "minProperties": 1,
                "propertyNames": {"pattern": f"^{NAME}$"},
                "additionalProperties": {"$ref": "#/$defs/node"},
            },
            "edge": {
                "type": "object",
                "additionalProperties": schema_of(EdgeOptions),
            },
        },
        "required": ["graph", "nodes"],
        "additionalProperties": False,
        "$defs": {"node": _any_node(names), **{name: _node(name) for name in names}},
    }


def _any_node(names: list[str]) -> dict[str, Any]:
    """Picks the schema by `kind`, so that an editor complains about the right one."""
    return {
        "type": "object",
        "properties": {"kind": {"enum": names}},
        "required": ["kind"],
        "allOf": [
            {
                "if": {"properties": {"kind": {"const": name}}, "required": ["kind"]},
                "then": {"$ref": f"#/$defs/{name}"},
            }
            for name in names
        ],
    }


def _node(name: str) -> dict[str, Any]:
    found = kind(name)
    own, shared = schema_of(config_type(found)), schema_of(NodeOptions)
    return {
        "type": "object",
        "description": summary(found),
        "properties": {
            "kind": {"const": name},
            **own["properties"],
            **shared["properties"],
        },
        "required": ["kind", *own.get("required", [])],
        "additionalProperties": False,
    }
