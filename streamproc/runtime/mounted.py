"""A node of a plan, made, mounted and opened."""

from __future__ import annotations

from typing import Any

from streamproc import schema
from streamproc.frame import Signature
from streamproc.mount import Mount
from streamproc.node import config_type, output_signatures
from streamproc.nodes import kind

Kept = dict[tuple[str, str], Mount]  # by name and kind: open, and no frame seen yet


def mounted(entry: dict[str, Any]) -> Mount:
    """The mount of a plan's node. RefusedError where it cannot be had here."""
    inputs = {
        port: Signature.from_plain(plain) for port, plain in entry["inputs"].items()
    }
    found = kind(entry["kind"])
    node = found(schema.build(config_type(found), entry["config"]))
    return Mount(entry["name"], node, output_signatures(node, inputs))


def twin_of(entry: dict[str, Any]) -> dict[str, Any] | None:
    """The node of a plan that steps in for this one, if there is one."""
    twin = dict(entry["options"]["fallback"])
    return {**entry, "kind": twin.pop("kind"), "config": twin} if twin else None


def open_mount(mount: Mount, options: dict[str, Any], resumed: bool) -> None:
    """Open a node as its options say, unless it is. Raises what it raises."""
    if mount.is_open:
        return
    mount.node.resumed = resumed
    if options["on_late"] == "degrade":
        mount.node.deadline_us = options["deadline_us"]
    mount.node.open(options["device"])
    mount.is_open = True
