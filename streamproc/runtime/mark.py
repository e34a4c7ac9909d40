"""Marks: of which graph a state folder is the state, and what to do if of another.

The first line of the file is a fingerprint, which decides. The second, of newer
versions, is what went into it, so that it can be said what is different.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, BinaryIO

from streamproc.errors import PlacementError

MOST_BYTES = 1 << 24
MOST_CHARS = 80  # of a value that is said
CHECKOUT = "a checkout"

Parts = list[Any]  # nodes, edges, workers; plain values


def fingerprint(parts: Parts) -> str:
    """Tells one graph from another."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def write(file: BinaryIO, parts: Parts) -> None:
    """Say whose state will be in the folder."""
    about = {"version": _version(), "parts": parts}
    file.write(f"{fingerprint(parts)}\n{json.dumps(about)}\n".encode())


def require_same(file: BinaryIO, parts: Parts, folder: Path) -> None:
    """PlacementError where the folder holds the state of another graph."""
    before, _, rest = file.read(MOST_BYTES).decode(errors="replace").partition("\n")
    if before == fingerprint(parts):
        return
    by, changed = _about(rest, parts)
    path = shlex.quote(str(folder))
    raise PlacementError(
        f"{folder} holds the state of another graph, or of this one before it was "
        f"changed: {changed}; to go on, {_cure(by)}; to begin anew, "
        f"`mv {path} {path}.old`, which gives up {_given_up(folder)}"
    )


def _about(rest: str, parts: Parts) -> tuple[str, str]:
    """Who wrote it, and what is different."""
    try:
        about = json.loads(rest)
        by, former = about["version"], about["parts"]
        changed = next(differences(named(former), named(json.loads(json.dumps(parts)))))
    except (ValueError, KeyError, TypeError, IndexError, StopIteration):
        return "", "it does not say how"
    return str(by)[:MOST_CHARS], changed


def named(parts: Parts) -> dict[str, Any]:
    """By name rather than by place, so that what was added is said to be."""
    nodes, edges, workers = parts
    return {
        "nodes": {node["name"]: {**node, **node["config"]} for node in nodes},
        "edges": {edge["name"]: edge for edge in edges},
        "workers": workers,
    }


def differences(before: Any, now: Any, path: str = "") -> Any:
    """Yields what is different, the simplest first."""
    if before == now:
        return
    if not (isinstance(before, dict) and isinstance(now, dict)):
        yield f"{path} was {_short(before)}, is {_short(now)}"
        return
    for key in sorted(before.keys() | now.keys()):
        inner = f"{path}.{key}" if path else key
        if key not in now:
            yield f"{inner} is gone"
        elif key not in before:
            yield f"{inner} is new"
        elif key not in ("config", "inputs", "edge"):  # they follow from the others
            yield from differences(before[key], now[key], inner)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= MOST_CHARS else f"{text[: MOST_CHARS - 3]}..."


def _cure(by: str) -> str:
    now = _version()
    if by in ("", now):
        return "undo that"
    if by == CHECKOUT:
        return "run it with the checkout that wrote it"
    return f"`pip install streamproc=={by}`, which wrote it (this is {now})"


def _given_up(folder: Path) -> str:
    """What a run that begins anew would not have."""
    states = len(list(folder.glob("*.checkpoint")))
    logs = len(list(folder.glob("*.log")))
    given = [f"the state of {states} worker{'' if states == 1 else 's'}"]
    if logs:
        given.append(f"what {logs} source log{'' if logs == 1 else 's'} may still hold")
    return " and ".join(given)


def _version() -> str:
    try:
        return version("streamproc")
    except PackageNotFoundError:
        return CHECKOUT
