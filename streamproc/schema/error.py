"""How a schema refuses a value: the key it stands at, what it expected and got."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from streamproc.errors import ConfigError

KeyPath = tuple[str | int, ...]

MOST_BITS = 10_000  # of an integer; Python writes no more than 4300 digits of one


class SchemaError(ConfigError):
    """A value that a schema does not admit: where, what it expected, what it got."""

    def __init__(
        self, key_path: KeyPath, expected: str = "", got: str = "", *, problem: str = ""
    ) -> None:
        self.key_path = key_path
        self.expected = expected
        self.got = got
        self.problem = problem or f"expected {expected}, got {got}"
        where = f"{key_text(key_path)}: " if key_path else ""
        super().__init__(where + self.problem)


def key_text(key_path: KeyPath) -> str:
    """A key path as TOML would write it: `nodes."a b".gains[2]`."""
    text = ""
    for key in key_path:
        if isinstance(key, int):
            text += f"[{key}]"
        else:
            plain_key = re.fullmatch(r"[A-Za-z0-9_-]+", key)
            text += ("." if text else "") + (key if plain_key else shown(key))
    return text


def shown(value: object, limit: int = 60) -> str:
    """A value as an error says it: quoted text, TOML's true and false, sizes."""
    if value is None:
        return "nothing"
    if isinstance(value, bool | str):
        text = json.dumps(value, ensure_ascii=False)
    elif isinstance(value, Mapping):
        return "a table"
    elif isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    elif isinstance(value, int) and value.bit_length() > MOST_BITS:
        return f"an integer of {value.bit_length()} bits"
    else:
        text = str(value)
    return text if len(text) <= limit else f"{text[:limit]}..."
