"""Small enough to read: files, functions, argument lists."""

from __future__ import annotations

import ast
import statistics
from collections.abc import Iterable, Iterator

from .source import BENCH, PACKAGES, Module, modules, planted, told

FILE_LINES = 400
FUNCTION_LINES, KERNEL_LINES = 60, 80
ARGUMENTS, KERNEL_ARGUMENTS = 6, 10
MEDIAN_LINES, P90_LINES = 10, 30

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(module: Module) -> Iterator[Function]:
    for node in module.all_of(ast.FunctionDef, ast.AsyncFunctionDef):
        assert isinstance(node, Function)
        yield node


def lines(function: Function) -> int:
    """Its length without its docstring."""
    total = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is None:
        return total
    return total - ((first.end_lineno or first.lineno) - first.lineno + 1)


def arguments(function: Function) -> int:
    """How many it takes, self not counted; what has one name counts once."""
    given = function.args
    named = [*given.posonlyargs, *given.args, *given.kwonlyargs]
    rest = [one for one in (given.vararg, given.kwarg) if one]
    return len([one for one in named if one.arg not in ("self", "cls")]) + len(rest)


def is_kernel(module: Module, function: Function) -> bool:
    compiled = any("njit" in ast.unparse(d) for d in function.decorator_list)
    return compiled or module.name.startswith("streamproc_kernels.")


def long_files(found: Iterable[Module]) -> Iterator[str]:
    for module in found:
        length = len(module.text.splitlines())
        if length > FILE_LINES:
            yield f"{module.place}:{length}: more than {FILE_LINES} lines; split it"


def long_functions(found: Iterable[Module]) -> Iterator[str]:
    for module in found:
        for function in functions(module):
            kernel = is_kernel(module, function)
            most = KERNEL_LINES if kernel else FUNCTION_LINES
            if lines(function) > most:
                yield (
                    f"{module.at(function)}: {function.name} has {lines(function)} "
                    f"lines, at most {most}; name a part of it"
                )


def crowded(found: Iterable[Module]) -> Iterator[str]:
    for module in found:
        for function in functions(module):
            kernel = is_kernel(module, function)
            most = KERNEL_ARGUMENTS if kernel else ARGUMENTS
            if arguments(function) > most:
                yield (
                    f"{module.at(function)}: {function.name} takes "
                    f"{arguments(function)} arguments, at most {most}; group what "
                    "belongs together"
                )


def spread(found: Iterable[Module]) -> tuple[float, float]:
    """Median and 90th percentile of the lengths of functions."""
    lengths = sorted(lines(f) for module in found for f in functions(module))
    return statistics.median(lengths), lengths[int(0.9 * len(lengths))]


def test_no_file_is_long() -> None:
    told(long_files(modules(PACKAGES, BENCH)))


def test_no_function_is_long() -> None:
    told(long_functions(modules(PACKAGES, BENCH)))


def test_no_function_takes_a_crowd() -> None:
    told(crowded(modules(PACKAGES, BENCH)))


def test_most_functions_are_short() -> None:
    median, p90 = spread(modules(PACKAGES))
    print(f"function length: median {median:g}, p90 {p90:g} lines")
    assert median <= MEDIAN_LINES, f"median {median}, at most {MEDIAN_LINES}"
    assert p90 <= P90_LINES, f"p90 {p90}, at most {P90_LINES}"


def test_what_is_too_large_is_caught() -> None:
    body = "    x = 1\n" * FUNCTION_LINES
    assert list(long_files([planted("x = 1\n" * (FILE_LINES + 1))]))
    assert list(long_functions([planted(f"def f():\n{body}")]))
    assert not list(long_functions([planted(f"@njit\ndef f():\n{body}")]))
    assert list(crowded([planted("def f(self, a, b, c, d, e, *f, g): ...")]))
    assert not list(crowded([planted("def f(self, a, b, c, d, e, *f): ...")]))
    assert spread([planted(f"def f():\n{body}")]) == (61, 61)
