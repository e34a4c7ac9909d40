"""The source as the rules see it: modules by name, parsed."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
# what is imported as a top-level package -> the folder that it stands in
PACKAGES = {"streamproc": ".", "streamproc_kernels": "kernels"}
BENCH = {"bench": "."}
TESTS = {"tests": "."}


class Module(NamedTuple):
    """One source file. place: relative to the root, as messages say it."""

    name: str
    place: str
    text: str
    tree: ast.Module

    def at(self, node: ast.AST) -> str:
        """`file:line` of a node."""
        return f"{self.place}:{getattr(node, 'lineno', 1)}"

    def all_of(self, *kinds: type[ast.AST]) -> Iterator[ast.AST]:
        """Its syntax nodes of some kinds."""
        return (node for node in ast.walk(self.tree) if isinstance(node, kinds))


def planted(text: str, name: str = "streamproc.planted") -> Module:
    """A module that is nowhere but here, for a rule to catch."""
    return Module(name, f"{name}.py", text, ast.parse(text))


@functools.cache
def _modules(package: str, folder: str) -> tuple[Module, ...]:
    found = []
    for path in sorted((ROOT / folder / package).rglob("*.py")):
        inner = path.relative_to(ROOT / folder).with_suffix("")
        dotted = ".".join(inner.parts).removesuffix(".__init__")
        text = path.read_text()
        place = str(path.relative_to(ROOT))
        found.append(Module(dotted, place, text, ast.parse(text)))
    return tuple(found)


def modules(*roots: dict[str, str]) -> list[Module]:
    """Every module of these packages."""
    return [
        module
        for root in roots
        for package, folder in root.items()
        for module in _modules(package, folder)
    ]


def matches(name: str, patterns: str) -> bool:
    """Whether a name fits one of the patterns, separated by spaces."""
    return any(fnmatchcase(name, pattern) for pattern in patterns.split())


def called(node: ast.AST) -> str:
    """What a call calls, as written: `print`, `importlib.import_module`."""
    return ast.unparse(node.func) if isinstance(node, ast.Call) else ""


def told(breaches: Iterator[str] | list[str]) -> None:
    """Fail with one line for each breach."""
    found = sorted(set(breaches))
    assert not found, "\n" + "\n".join(found)
