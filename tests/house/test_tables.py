"""Every row of the tables is whole: kernels have their twins, kinds their papers."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from streamproc.config.file import OPTIONS
from streamproc.errors import GraphError
from streamproc.node import Node, config_type, ports
from streamproc.nodes import KINDS, kind
from streamproc.schema import keys
from streamproc_kernels import KERNELS, twins
from tests.kernels import test_twins

from .source import ROOT, TESTS, modules, told

KERNEL_FILES = "ref/{0}.py cpu/{0}.py gpu/{0}.py gpu/{0}.cu"


def missing_twins(names: Iterable[str]) -> Iterator[str]:
    for name in names:
        for file in KERNEL_FILES.format(name).split():
            place = f"kernels/streamproc_kernels/{file}"
            if not (ROOT / place).is_file():
                yield f"{place}:1: missing; kernel {name!r} has a twin on every floor"


def untabled(names: Iterable[str]) -> Iterator[str]:
    """Equations without a row."""
    for path in (ROOT / "kernels/streamproc_kernels/ref").glob("[!_]*.py"):
        if path.stem not in names:
            yield f"{path.relative_to(ROOT)}:1: {path.stem!r} has no row in KERNELS"


def unfit(name: str, cls: type[Node[Any]]) -> Iterator[str]:
    """What a node kind lacks."""
    where = f"{cls.__module__}.{cls.__name__} ({name})"
    if not (cls.__dict__.get("__doc__") or "").strip():
        yield f"{where}: has no docstring; say what it takes and gives"
    ports(cls)
    config = config_type(cls)
    parameters = getattr(config, "__dataclass_params__", None)
    if parameters is None or not parameters.frozen:
        yield f"{where}: {config.__name__} is no frozen dataclass"
        return
    for key in keys(config).values():
        if not key.doc:
            yield f"{where}: say `{key.name}: ...` in {config.__name__}'s docstring"
        if key.name in OPTIONS:  # no graph file could hold such a node
            yield f"{where}: every node has {key.name!r}; call it something else"


def untested(name: str, cls: type[Node[Any]]) -> Iterator[str]:
    texts = (m.text for m in modules(TESTS) if not m.name.startswith("tests.house"))
    if not any(cls.__name__ in text or f'"{name}"' in text for text in texts):
        yield f"{cls.__module__}: no test mentions {cls.__name__}; write tests/nodes/"


def test_every_kernel_has_its_three_twins() -> None:
    told([*missing_twins(KERNELS), *untabled(KERNELS)])


@pytest.mark.parametrize("name", KERNELS)
def test_every_kernel_is_held_against_ref(name: str) -> None:
    for dtype in KERNELS[name].tolerances:
        wanted = {case.label for case in twins.cases(name, dtype)}
        rows: list[Any] = [row.values for row in test_twins.EVERY_CASE]
        held = {case.label for kernel, case in rows if kernel == name}
        assert wanted and wanted <= held, f"{name} {dtype}: not in EVERY_CASE"


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_is_whole(name: str) -> None:
    cls = kind(name)
    told([*unfit(name, cls), *untested(name, cls)])


def test_a_lacking_kernel_is_caught() -> None:
    assert len(list(missing_twins(["no_such_kernel"]))) == 4
    assert list(untabled(["svt"]))


def test_a_lacking_kind_is_caught() -> None:
    @dataclasses.dataclass(frozen=True)
    class Bare:
        """Nothing about its key."""

        gain: float = 1.0

    @dataclasses.dataclass
    class Soft:
        pass

    class Lacking(Node[Bare]):
        def process(self) -> None: ...

    class Thawed(Node[Soft]):
        """Says something."""

        def process(self) -> None: ...

    assert len(list(unfit("x", Lacking))) == 2
    assert len(list(unfit("x", Thawed))) == 1
    assert list(untested("no." + "such", type("No" + "Such", (Lacking,), {})))
    with pytest.raises(GraphError):
        kind("no.such")
