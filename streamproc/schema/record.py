"""Dataclasses as schemas: type hints to rules, plain values to instances and back."""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, dataclass
from typing import Annotated, Any, Literal, TypeVar, Union

from streamproc.errors import RefusedError, nearest
from streamproc.schema.error import KeyPath, SchemaError
from streamproc.schema.rules import (
    Bound,
    Choice,
    Either,
    Fixed,
    Flag,
    Like,
    ListOf,
    Number,
    Rule,
    TableOf,
    Text,
)

T = TypeVar("T")
SCALARS: dict[type[Any], Rule] = {
    bool: Flag(),
    str: Text(),
    int: Number(whole=True),
    float: Number(whole=False),
}


class Record(Rule):
    """A nested dataclass: a table, or an instance that is there already."""

    expected = "a table"

    def __init__(self, kind: type[Any]) -> None:
        self.kind = kind

    def read(self, value: object, path: KeyPath) -> Any:
        if isinstance(value, self.kind):
            return value
        if not isinstance(value, Mapping):
            raise self.refuse(value, path)
        return build(self.kind, value, path)

    def json(self) -> dict[str, Any]:
        return json_schema(self.kind)


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a schema. default: as a plain value; doc: from the docstring."""

    name: str
    rule: Rule
    required: bool
    default: Any
    doc: str


def rule_of(hint: Any) -> Rule:
    """The rule behind a type hint. TypeError for a hint that cannot be a schema."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if isinstance(hint, type) and hint in SCALARS:
        return SCALARS[hint]
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return Record(hint)
    if origin is Annotated:
        return _limited(args[0], [a for a in args[1:] if isinstance(a, Bound | Like)])
    if origin is Literal:
        return Choice(args)
    if origin is Union or origin is types.UnionType:
        some = [rule_of(arg) for arg in args if arg is not type(None)]
        return Either(some, optional=type(None) in args)
    if origin is tuple:
        if len(args) == 2 and args[1] is Ellipsis:
            return ListOf(rule_of(args[0]))
        return Fixed([rule_of(arg) for arg in args])
    if origin is dict and args[0] is str:
        return TableOf(rule_of(args[1]))
    raise TypeError(f"{hint} cannot be part of a schema")


def _limited(hint: Any, limits: list[Bound | Like]) -> Rule:
    rule = rule_of(hint)
    if isinstance(rule, Either):
        args = [arg for arg in typing.get_args(hint) if arg is not type(None)]
        return Either([_limited(arg, limits) for arg in args], rule.optional)
    for limit in limits:
        if isinstance(rule, Number) and isinstance(limit, Bound):
            rule = Number(rule.whole, [*rule.bounds, limit])
        elif isinstance(rule, Text) and isinstance(limit, Like):
            rule = Text(limit)
        else:
            raise TypeError(f"{hint} cannot have {limit}")
    return rule


def keys(cls: type[Any]) -> dict[str, Key]:
    """The keys of a schema by name, in the order of its fields."""
    hints = typing.get_type_hints(cls, include_extras=True)
    docs = _inherited_docs(cls)
    found = {}
    for field in dataclasses.fields(cls):
        if field.init:
            default = field.default
            if field.default_factory is not MISSING:
                default = field.default_factory()
            required = default is MISSING
            rule = rule_of(hints[field.name])
            value = None if required else _plain(default)
            doc = docs.get(field.name, "")
            found[field.name] = Key(field.name, rule, required, value, doc)
    return found


def _inherited_docs(cls: type[Any]) -> dict[str, str]:
    """Texts of keys, where a class says nothing its bases' own."""
    docs: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if dataclasses.is_dataclass(base):
            docs |= _docs(base)[1]
    return docs


def _docs(cls: type[Any]) -> tuple[str, dict[str, str]]:
    """The summary of a class docstring, and what it says as `key: text`."""
    doc = inspect.cleandoc(cls.__doc__ or "")
    if doc.startswith(f"{cls.__name__}("):  # what dataclass writes if nobody did
        return "", {}
    names = "|".join(field.name for field in dataclasses.fields(cls)) or r"\Z"
    found: dict[str, str] = {}
    summaries = []
    for paragraph in doc.split("\n\n"):
        before, *rest = re.split(rf"(?:^|(?<=\s))({names}): +", paragraph)
        summaries.append(_flat(before))
        found.update(zip(rest[::2], map(_flat, rest[1::2]), strict=True))
    return summaries[0], found


def _flat(text: str) -> str:
    return " ".join(text.split())


def build(cls: type[T], plain: Mapping[str, object], path: KeyPath = ()) -> T:
    """An instance of a dataclass from plain values. SchemaError if they do not fit.

    path: where the values stand in their file, put in front of keys in errors.
    """
    known = keys(cls)
    for name in map(str, plain):
        if name not in known:
            problem = f"no such key{nearest(name, known)}"
            raise SchemaError((*path, name), problem=problem)
    values = {}
    for name, key in known.items():
        if name in plain:
            values[name] = key.rule.read(plain[name], (*path, name))
        elif key.required:
            problem = f"missing; expected {key.rule.expected}"
            raise SchemaError((*path, name), problem=problem)
    try:
        return cls(**values)
    except (ValueError, RefusedError) as error:
        raise SchemaError(path, problem=str(error)) from error


def plain(instance: Any) -> dict[str, Any]:
    """Tables, lists and scalars only, such that build(cls, plain(x)) == x."""
    return {name: _plain(getattr(instance, name)) for name in keys(type(instance))}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain(value)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return value


def json_schema(cls: type[Any]) -> dict[str, Any]:
    """A dataclass as a JSON Schema object, draft 2020-12."""
    properties = {}
    for name, key in keys(cls).items():
        properties[name] = key.rule.json()
        if key.default is not None:
            properties[name]["default"] = key.default
        if key.doc:
            properties[name]["description"] = key.doc
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    required = [name for name, key in keys(cls).items() if key.required]
    if required:
        schema["required"] = required
    if summary := _docs(cls)[0]:
        schema["description"] = summary
    return {**schema, "additionalProperties": False}
