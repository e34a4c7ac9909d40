"""What a package offers is what its `__all__` says, in order; and how it is shipped."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterable, Iterator

import pytest

from .source import PACKAGES, ROOT, Module, modules, planted, told

GPU_MARKER = "; sys_platform == 'linux' and platform_machine == 'x86_64'"


def offered(module: Module) -> set[str]:
    """Public names defined here, and those taken from its own modules unused."""
    names: set[str] = set()
    taken: set[str] = set()
    for node in module.tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {name.id for t in targets for name in _names(t)}
        elif isinstance(node, ast.ImportFrom) and _own(module, node.module or ""):
            taken |= {alias.asname or alias.name for alias in node.names}
    used = {node.id for node in _names(module.tree)}
    return {name for name in names | (taken - used) if not name.startswith("_")}


def _own(module: Module, source: str) -> bool:
    return source == module.name or source.startswith(f"{module.name}.")


def _names(tree: ast.AST) -> Iterator[ast.Name]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Name))


def said(module: Module) -> list[str]:
    """Its `__all__`."""
    for node in module.tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            found: list[str] = ast.literal_eval(node.value)
            return found
    return []


def _for_types(tree: ast.Module) -> Iterator[ast.stmt]:
    """The body, and what stands there for type checkers alone: names given lazily."""
    for node in tree.body:
        yield from node.body if isinstance(node, ast.If) else [node]


def in_order(names: Iterable[str]) -> list[str]:
    """CONSTANTS, Classes, functions."""
    return sorted(names, key=lambda n: (not n.isupper(), not n[0].isupper(), n))


def unsaid(found: Iterable[Module]) -> Iterator[str]:
    for module in found:
        names, real = said(module), offered(module)
        # an imported name that the body uses may be offered as well
        imported = {
            alias.asname or alias.name
            for node in _for_types(module.tree)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        for name in sorted(real - set(names)):
            yield f"{module.place}:1: offers {name!r}; add it to __all__ or hide it"
        for name in sorted(set(names) - real - imported):
            yield f"{module.place}:1: __all__ names {name!r}, which is not there"
        if names != in_order(names):
            yield f"{module.place}:1: sort __all__: {in_order(names)}"


def packages() -> list[Module]:
    return [m for m in modules(PACKAGES) if m.place.endswith("__init__.py")]


def project() -> dict[str, object]:
    found: dict[str, object] = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return found


def test_packages_say_what_they_offer() -> None:
    told(unsaid(packages()))


def test_every_public_name_is_there() -> None:
    import streamproc

    for name in streamproc.__all__:
        assert getattr(streamproc, name) is not None
    assert len(streamproc.__all__) <= 14, "about a dozen; offer it from its module"


@pytest.mark.parametrize(
    "text",
    [
        "def f(): ...",
        "from streamproc.planted.x import f",
        "__all__ = ['f']",
        "__all__ = ['f', 'F']\ndef f(): ...\nclass F: ...",
    ],
)
def test_a_false_list_is_caught(text: str) -> None:
    assert list(unsaid([planted(text)]))


def test_both_packages_are_shipped() -> None:
    wheel = project()["tool"]["hatch"]["build"]["targets"]["wheel"]  # type: ignore[index]
    assert wheel["packages"] == ["streamproc", "kernels/streamproc_kernels"]


def test_onnxruntime_is_asked_for_where_it_exists_and_works() -> None:
    needs = project()["project"]["dependencies"]  # type: ignore[index]
    (gpu,) = [one for one in needs if one.startswith("onnxruntime-gpu")]
    (cpu,) = [one for one in needs if one.startswith("onnxruntime>")]
    assert gpu.endswith(GPU_MARKER), "there are no other wheels"
    assert "!=1.27.0" in gpu, "1.27.0 is broken; keep it excluded"
    assert cpu.endswith("; sys_platform != 'linux' or platform_machine != 'x86_64'")


def undrawn(found: Iterable[Module], drawing: str) -> Iterator[str]:
    """Exceptions that the tree in errors.py does not show."""
    for module in found:
        for node in module.all_of(ast.ClassDef):
            assert isinstance(node, ast.ClassDef)
            raised = any(ast.unparse(base).endswith("Error") for base in node.bases)
            if raised and not node.name.startswith("_") and node.name not in drawing:
                yield f"{module.at(node)}: draw {node.name} into the tree in errors.py"


def test_every_exception_is_in_the_tree() -> None:
    known = {module.name: module for module in modules(PACKAGES)}
    drawing = ast.get_docstring(known["streamproc.errors"].tree) or ""
    ours = [m for name, m in known.items() if name.startswith("streamproc.")]
    told(undrawn(ours, drawing))
    assert list(undrawn([planted("class LostError(ValueError): ...")], drawing))
