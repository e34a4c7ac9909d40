"""What is not written here: prints, pickles, broad catches, loose ends."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterable, Iterator

import pytest

from .source import (
    BENCH,
    PACKAGES,
    ROOT,
    TESTS,
    Module,
    called,
    matches,
    modules,
    planted,
    told,
)

SPEAKERS = "streamproc.cli streamproc.cli.* bench.*"
CATCHERS = ("streamproc.mount", "streamproc.node")  # process(), and accept()
DUSTBINS = {"utils", "util", "helpers", "helper", "common", "misc"}
HOMES = re.compile(r"(?<![\w.])/(?:root|home|work|Users)/\w")
LOOSE = re.compile(r"\b(?:TO" "DO|FIX" "ME|XX" r"X|NotImplemented" r"Error)\b")


def printed(found: Iterable[Module]) -> Iterator[str]:
    for module in found:
        for node in module.all_of(ast.Call):
            if called(node) == "print" and not matches(module.name, SPEAKERS):
                yield f"{module.at(node)}: only commands print; return it or raise it"


def broad(found: Iterable[Module]) -> Iterator[str]:
    for module in found:
        caught = [
            node
            for node in module.all_of(ast.ExceptHandler)
            if isinstance(node, ast.ExceptHandler) and _is_broad(node)
        ]
        for node in caught[1:] if module.name in CATCHERS else caught:
            yield f"{module.at(node)}: name what may go wrong; one catch, in {CATCHERS}"


def _is_broad(node: ast.ExceptHandler) -> bool:
    names = "" if node.type is None else ast.unparse(node.type)
    return not names or bool(re.search(r"\b(?:Base)?Exception\b", names))


def dustbins(found: Iterable[Module]) -> Iterator[str]:
    for module in found:
        if DUSTBINS & set(module.name.split(".")):
            yield f"{module.place}:1: name it after what it does"


def loose_ends(texts: Iterable[tuple[str, str]]) -> Iterator[str]:
    return _lines_with(texts, LOOSE, "do it, or write it in an issue")


def machine_paths(texts: Iterable[tuple[str, str]]) -> Iterator[str]:
    return _lines_with(texts, HOMES, "say it relative to the checkout or the user")


def _lines_with(
    texts: Iterable[tuple[str, str]], pattern: re.Pattern[str], cure: str
) -> Iterator[str]:
    for place, text in texts:
        for number, line in enumerate(text.splitlines(), 1):
            if found := pattern.search(line):
                yield f"{place}:{number}: {found.group()!r}; {cure}"


def kept_files() -> list[tuple[str, str]]:
    """Every text file that git keeps or would keep, by name."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "-co", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    found = []
    for name in filter(None, listed.stdout.decode().split("\0")):
        path = ROOT / name
        content = path.read_bytes() if path.is_file() else b""
        if b"\0" not in content:
            found.append((name, content.decode(errors="replace")))
    return found


def test_only_commands_and_benches_print() -> None:
    told(printed(modules(PACKAGES, BENCH)))


def test_one_catch_is_broad() -> None:
    told(broad(modules(PACKAGES, BENCH)))


def test_no_module_is_a_dustbin() -> None:
    told(dustbins(modules(PACKAGES, BENCH, TESTS)))


def test_no_loose_end_is_left() -> None:
    told(loose_ends((m.place, m.text) for m in modules(PACKAGES, BENCH, TESTS)))


def test_no_file_knows_a_machine() -> None:
    told(machine_paths(kept_files()))


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (printed, "print('x')"),
        (broad, "try: ...\nexcept Exception: ..."),
        (broad, "try: ...\nexcept (OSError, BaseException): ..."),
        (broad, "try: ...\nexcept: ..."),
    ],
)
def test_bad_manners_are_caught(rule, text) -> None:  # type: ignore[no-untyped-def]
    assert list(rule([planted(text)]))
    assert not list(rule([planted("try: ...\nexcept OSError: ...")]))


def test_what_must_not_be_in_any_text_is_caught() -> None:
    assert list(dustbins([planted("", "streamproc.utils")]))
    assert list(loose_ends([("x.py", "raise NotImplemented" + "Error")]))
    assert list(machine_paths([("x.md", "see /ho" + "me/someone/x")]))
    assert not list(machine_paths([("x.md", "https://x.org/ho" + "me/page")]))
