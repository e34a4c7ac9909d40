"""The frozen dataclass above a node is its schema.

`build` makes one from plain values (a TOML table, a JSON object, keyword
arguments), `plain` writes it back, `json_schema` describes it to editors.

A field may be bool, int, float, str, a Literal, `X | None`, a union, a tuple
(`tuple[T, ...]` or of fixed length), `dict[str, T]` or another such dataclass;
bounds are annotations: `Annotated[float, Min(0)]`. Numbers are finite. `key: text`
in the class docstring becomes the description of that key.
"""

from streamproc.schema.error import KeyPath, SchemaError, key_text, shown
from streamproc.schema.record import Key, build, json_schema, keys, plain
from streamproc.schema.rules import Above, Like, Max, Min

__all__ = [
    "Above",
    "Key",
    "KeyPath",
    "Like",
    "Max",
    "Min",
    "SchemaError",
    "build",
    "json_schema",
    "key_text",
    "keys",
    "plain",
    "shown",
]
