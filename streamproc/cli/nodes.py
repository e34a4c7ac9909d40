"""`streamproc nodes`: which kinds of node there are, and what each can be told."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from streamproc.cli.command import add_command, print_json, print_list

if TYPE_CHECKING:
    from streamproc.cli.command import Subparsers
    from streamproc.schema import Key


def add_parser(subparsers: Subparsers) -> None:
    """Add `nodes` to the command line."""
    parser = add_command(
        subparsers,
        "nodes",
        run,
        "List the node kinds; for one kind, its ports and its keys with type, "
        "bounds and default.",
        "streamproc nodes scene.lorenz",
    )
    parser.add_argument("kind", metavar="KIND", nargs="?", help="describe this kind")


def run(args: argparse.Namespace) -> int:
    """Print the list, or one description."""
    if args.kind is None:
        return _list(args.json)
    described = describe(args.kind)
    if args.json:
        print_json(described)
        return 0
    print(f"{args.kind}: {described['summary']}")
    for side in ("inputs", "outputs"):
        print(f"{side}: {', '.join(described[side]) or 'none'}")
    for title, some in (("keys", "keys"), ("keys of every node", "options")):
        print(f"{title}:" if described[some] else f"{title}: none")
        for key in described[some]:
            print(_line(key))
    return 0


def _list(as_json: bool) -> int:
    from streamproc.nodes import kinds

    print_list({name: _summary(name) for name in sorted(kinds())}, as_json)
    return 0


def _summary(name: str) -> str:
    from streamproc.errors import GraphError
    from streamproc.node import summary
    from streamproc.nodes import kind

    try:
        return summary(kind(name))
    except GraphError as error:
        return str(error)


def describe(name: str) -> dict[str, Any]:
    """One kind as plain values. RefusedError if there is none or it does not load."""
    from streamproc.graph import NodeOptions
    from streamproc.node import config_type, ports, summary
    from streamproc.nodes import kind
    from streamproc.schema import keys

    cls = kind(name)
    inputs, outputs = ports(cls)
    return {
        "kind": name,
        "summary": summary(cls),
        "inputs": list(inputs),
        "outputs": list(outputs),
        "keys": [_described(key) for key in keys(config_type(cls)).values()],
        "options": [_described(key) for key in keys(NodeOptions).values()],
    }


def _described(key: Key) -> dict[str, Any]:
    return {
        "name": key.name,
        "expected": key.rule.expected,
        "required": key.required,
        "default": key.default,
        "doc": key.doc,
    }


def _line(key: dict[str, Any]) -> str:
    if key["required"]:
        default = "required"
    elif key["default"] is None:
        default = "not set"
    else:
        default = f"default {json.dumps(key['default'])}"
    doc = f"\n      {key['doc']}" if key["doc"] else ""
    return f"  {key['name']}: {key['expected']}; {default}{doc}"
