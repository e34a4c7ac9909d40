"""What one value must be: numbers and their bounds, text, choices, lists, tables."""

from __future__ import annotations

import math
import numbers
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from streamproc.schema.error import MOST_BITS, KeyPath, SchemaError, shown


@dataclass(frozen=True, slots=True)
class Bound(ABC):
    """A limit on a number, for `Annotated`."""

    limit: float
    sign: ClassVar[str] = ""
    keyword: ClassVar[str] = ""

    @abstractmethod
    def holds(self, value: float) -> bool:
        """Whether a number keeps this bound."""


class Min(Bound):
    """At least this."""

    sign, keyword = ">=", "minimum"

    def holds(self, value: float) -> bool:
        return value >= self.limit


class Max(Bound):
    """At most this."""

    sign, keyword = "<=", "maximum"

    def holds(self, value: float) -> bool:
        return value <= self.limit


class Above(Bound):
    """More than this."""

    sign, keyword = ">", "exclusiveMinimum"

    def holds(self, value: float) -> bool:
        return value > self.limit


@dataclass(frozen=True, slots=True)
class Like:
    """A whole text must match `pattern`; `words` says so to people, for `Annotated`."""

    pattern: str
    words: str


class Rule(ABC):
    """What one value must be: says it, reads it, describes it."""

    expected: str

    @abstractmethod
    def read(self, value: object, path: KeyPath) -> Any:
        """The value as the dataclass holds it. SchemaError if it does not fit."""

    @abstractmethod
    def json(self) -> dict[str, Any]:
        """The same rule as JSON Schema, draft 2020-12."""

    def refuse(self, value: object, path: KeyPath) -> SchemaError:
        return SchemaError(path, self.expected, shown(value))


class Flag(Rule):
    """true or false; no number will do."""

    expected = "true or false"

    def read(self, value: object, path: KeyPath) -> bool:
        if isinstance(value, bool):
            return value
        raise self.refuse(value, path)

    def json(self) -> dict[str, Any]:
        return {"type": "boolean"}


class Text(Rule):
    """A string, any or of a given likeness."""

    def __init__(self, like: Like | None = None) -> None:
        self.like = like
        self.expected = like.words if like else "a string"

    def read(self, value: object, path: KeyPath) -> str:
        if isinstance(value, str) and (
            self.like is None or re.fullmatch(self.like.pattern, value)
        ):
            return value
        raise self.refuse(value, path)

    def json(self) -> dict[str, Any]:
        pattern = {"pattern": f"^(?:{self.like.pattern})$"} if self.like else {}
        return {"type": "string", **pattern}


class Number(Rule):
    """An int, or a float; an int will do for a float, a bool for neither."""

    def __init__(self, whole: bool, bounds: Sequence[Bound] = ()) -> None:
        self.whole, self.bounds = whole, bounds
        limits = " and".join(f" {b.sign} {b.limit:g}" for b in bounds)
        self.expected = ("an integer" if whole else "a number") + limits

    def read(self, value: object, path: KeyPath) -> int | float:
        kind = numbers.Integral if self.whole else numbers.Real
        if isinstance(value, kind) and not isinstance(value, bool):
            number = self._converted(value)
            if number is not None and all(b.holds(number) for b in self.bounds):
                return number
        raise self.refuse(value, path)

    def _converted(self, value: Any) -> int | float | None:
        if self.whole:
            whole = int(value)
            return whole if whole.bit_length() <= MOST_BITS else None
        try:
            number = float(value)
        except OverflowError:
            return None
        return number if math.isfinite(number) else None

    def json(self) -> dict[str, Any]:
        limits = {bound.keyword: bound.limit for bound in self.bounds}
        return {"type": "integer" if self.whole else "number", **limits}


class Choice(Rule):
    """One of the values of a Literal."""

    def __init__(self, choices: tuple[Any, ...]) -> None:
        self.choices = choices
        self.expected = " or ".join(map(shown, choices))

    def read(self, value: object, path: KeyPath) -> Any:
        for choice in self.choices:
            if choice == value and type(choice) is type(value):
                return choice
        raise self.refuse(value, path)

    def json(self) -> dict[str, Any]:
        return {"enum": list(self.choices)}


class Either(Rule):
    """The first of several rules that fits; None where it is allowed."""

    def __init__(self, rules: Sequence[Rule], optional: bool) -> None:
        self.rules, self.optional = rules, optional
        self.expected = " or ".join(rule.expected for rule in rules)

    def read(self, value: object, path: KeyPath) -> Any:
        if value is None and self.optional:
            return None
        if len(self.rules) == 1:
            return self.rules[0].read(value, path)
        for rule in self.rules:
            try:
                return rule.read(value, path)
            except SchemaError:
                continue
        raise self.refuse(value, path)

    def json(self) -> dict[str, Any]:
        options = [rule.json() for rule in self.rules]
        if self.optional:
            options.append({"type": "null"})
        return {"anyOf": options}


class ListOf(Rule):
    """Any number of values of one rule; kept as a tuple."""

    def __init__(self, item: Rule) -> None:
        self.item = item
        self.expected = f"a list, each {item.expected}"

    def read(self, value: object, path: KeyPath) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple):
            raise self.refuse(value, path)
        return tuple(self.item.read(v, (*path, i)) for i, v in enumerate(value))

    def json(self) -> dict[str, Any]:
        return {"type": "array", "items": self.item.json()}


class Fixed(Rule):
    """A tuple of fixed length."""

    def __init__(self, items: Sequence[Rule]) -> None:
        self.items = items
        self.expected = f"a list of {len(items)}"

    def read(self, value: object, path: KeyPath) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple) or len(value) != len(self.items):
            raise self.refuse(value, path)
        return tuple(
            rule.read(v, (*path, i))
            for i, (rule, v) in enumerate(zip(self.items, value, strict=True))
        )

    def json(self) -> dict[str, Any]:
        size = len(self.items)
        items = [rule.json() for rule in self.items]
        limits = {"minItems": size, "maxItems": size}
        return {"type": "array", "prefixItems": items, "items": False, **limits}


class TableOf(Rule):
    """A table whose keys are free and whose values keep one rule."""

    def __init__(self, item: Rule) -> None:
        self.item = item
        self.expected = f"a table, each value {item.expected}"

    def read(self, value: object, path: KeyPath) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise self.refuse(value, path)
        return {str(k): self.item.read(v, (*path, str(k))) for k, v in value.items()}

    def json(self) -> dict[str, Any]:
        return {"type": "object", "additionalProperties": self.item.json()}
