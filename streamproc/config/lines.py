"""The line of every key and list element of a TOML text.

tomllib gives values without their places. This scanner gives places without values;
it reads only text that tomllib has accepted, so it need not refuse anything.
"""

from __future__ import annotations

import bisect
import re
import tomllib
from collections.abc import Mapping

from streamproc.schema import KeyPath

TRIVIA = re.compile(r"(?:[ \t\n]+|#[^\n]*)*")
BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
SCALAR = re.compile(r"[^,\]}#\n]*")
# Closing quotes may be preceded by up to two that belong to the text.
STRINGS = (
    re.compile(r'"""(?:[^\\]|\\.)*?"""(?:"{0,2})', re.DOTALL),
    re.compile(r"'''.*?'''(?:'{0,2})", re.DOTALL),
    re.compile(r'"(?:[^"\\\n]|\\.)*"'),
    re.compile(r"'[^'\n]*'"),
)


def line_index(text: str) -> dict[KeyPath, int]:
    """Key path -> line, from 1, for every table, key and list element.

    A table that is written in several places has the line of the first.
    """
    scanner = _Scanner(text.replace("\r\n", "\n"))
    scanner.document()
    return scanner.lines


def line_of(lines: Mapping[KeyPath, int], path: KeyPath) -> int:
    """The line of a key, or of the nearest table around it; 1 if there is none."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[KeyPath, int] = {}
        self._ends = [found.start() for found in re.finditer("\n", text)]
        self._arrays: dict[KeyPath, int] = {}  # of tables -> index of the last one

    def document(self) -> None:
        table: KeyPath = ()
        self.skip()
        while self.at < len(self.text):
            if self.text[self.at] == "[":
                table = self.header()
            else:
                self.pair(table)
            self.skip()

    def header(self) -> KeyPath:
        """`[a.b]` or `[[a.b]]`: the path of the table it opens."""
        brackets = 2 if self.text.startswith("[[", self.at) else 1
        self.at += brackets
        path: KeyPath = ()
        keys = self.keys()
        for number, (key, line) in enumerate(keys, 1):
            path = (*path, key)
            self.mark(path, line)
            if brackets == 2 and number == len(keys):
                self._arrays[path] = self._arrays.get(path, -1) + 1
            if path in self._arrays:
                path = (*path, self._arrays[path])
                self.mark(path, line)
        self.at += brackets
        return path

    def pair(self, table: KeyPath) -> None:
        """`a.b = value`."""
        path = table
        for key, line in self.keys():
            path = (*path, key)
            self.mark(path, line)
        self.at += 1
        self.value(path)

    def keys(self) -> list[tuple[str, int]]:
        """The parts of a dotted key with their lines; stops behind the last."""
        found = []
        while True:
            self.skip()
            line = self.line()
            found.append((self.key(), line))
            self.skip()
            if self.text[self.at] != ".":
                return found
            self.at += 1

    def key(self) -> str:
        if self.text[self.at] not in "\"'":
            return self.take(BARE_KEY)
        token = self.string()
        return str(tomllib.loads(f"key = {token}")["key"])

    def value(self, path: KeyPath) -> None:
        self.skip()
        first = self.text[self.at]
        if first == "[":
            self.array(path)
        elif first == "{":
            self.inline_table(path)
        elif first in "\"'":
            self.string()
        else:
            self.take(SCALAR)

    def array(self, path: KeyPath) -> None:
        self.at += 1
        number = 0
        self.skip()
        while self.text[self.at] != "]":
            self.mark((*path, number), self.line())
            self.value((*path, number))
            number += 1
            self.comma()
        self.at += 1

    def inline_table(self, path: KeyPath) -> None:
        self.at += 1
        self.skip()
        while self.text[self.at] != "}":
            self.pair(path)
            self.comma()
        self.at += 1

    def comma(self) -> None:
        self.skip()
        if self.text[self.at] == ",":
            self.at += 1
            self.skip()

    def string(self) -> str:
        for pattern in STRINGS:
            found = pattern.match(self.text, self.at)
            if found:
                self.at = found.end()
                return found[0]
        raise ValueError(f"no string at line {self.line()}")

    def skip(self) -> None:
        self.take(TRIVIA)

    def take(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self.at)
        assert found is not None, f"line {self.line()} is not what tomllib accepts"
        self.at = found.end()
        return found[0]

    def line(self) -> int:
        return bisect.bisect_left(self._ends, self.at) + 1

    def mark(self, path: KeyPath, line: int) -> None:
        self.lines.setdefault(path, line)
