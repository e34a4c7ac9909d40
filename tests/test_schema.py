"""Schemas: what fits is built, what does not is said with key, expected and got."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamproc.schema import (
    Above,
    Like,
    Max,
    Min,
    SchemaError,
    build,
    json_schema,
    key_text,
    keys,
    plain,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where a sensor stands."""

    x_m: float
    y_m: float = 0.0

    def __post_init__(self) -> None:
        if self.x_m == self.y_m == 13.0:
            raise ValueError("nobody stands there")


@dataclass(frozen=True, slots=True, kw_only=True)
class Everything:
    """All the types there are.

    name: what it is called,
        on two lines. on: whether it runs

    This is about none of the keys.
    """

    name: str
    on: bool = True
    count: Annotated[int, Min(0), Max(99)] = 1
    rate_hz: Annotated[float, Above(0)] = 1.0
    mode: Literal["fast", "slow", 3] = "fast"
    limit: Annotated[float | None, Min(0)] = None
    taps: tuple[Annotated[int, Max(9)], ...] = ()
    pair: tuple[float, str] = (0.0, "")
    gains: dict[str, float] = field(default_factory=dict)
    site: Site = Site(x_m=1.0)
    sites: tuple[Site, ...] = ()
    start: tuple[float, ...] | Literal["rest"] = "rest"
    tag: Annotated[str, Like(r"[a-z]*", "small letters")] = ""


finite = st.floats(allow_nan=False, allow_infinity=False)
site = st.builds(Site, x_m=finite, y_m=finite.filter(lambda y: y != 13.0))
everything = st.builds(
    Everything,
    name=st.text(),
    on=st.booleans(),
    count=st.integers(0, 99),
    rate_hz=finite.filter(lambda rate: rate > 0),
    mode=st.sampled_from(["fast", "slow", 3]),
    limit=st.none() | finite.filter(lambda limit: limit >= 0),
    taps=st.lists(st.integers(max_value=9)).map(tuple),
    pair=st.tuples(finite, st.text()),
    gains=st.dictionaries(st.text(), finite),
    site=site,
    sites=st.lists(site).map(tuple),
    start=st.just("rest") | st.lists(finite).map(tuple),
    tag=st.text("abz", max_size=3),
)


@given(everything)
def test_plain_and_build_are_inverse_and_the_json_schema_agrees(made):
    values = plain(made)
    jsonschema.Draft202012Validator(json_schema(Everything)).validate(values)
    assert build(Everything, values) == made


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 105) | finite | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["x_m", "y_m", "z"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(st.sampled_from(sorted(keys(Everything))), json_values)
def test_any_value_is_built_or_refused_and_the_json_schema_says_the_same(name, value):
    values = {"name": "n", name: value}
    validator = jsonschema.Draft202012Validator(json_schema(Everything))
    try:
        build(Everything, values)
    except SchemaError as error:
        assert error.key_path[0] == name
        # JSON cannot tell 3.0 from 3, and knows nothing of __post_init__.
        if "." not in error.got and "nobody" not in error.problem:
            assert not validator.is_valid(values)
    else:
        assert validator.is_valid(values)


ERRORS = [
    ({}, "name: missing; expected a string"),
    ({"name": 3}, "name: expected a string, got 3"),
    ({"name": "n", "on": 1}, "on: expected true or false, got 1"),
    (
        {"name": "n", "count": True},
        "count: expected an integer >= 0 and <= 99, got true",
    ),
    ({"name": "n", "count": 2.0}, "count: expected an integer >= 0 and <= 99, got 2.0"),
    ({"name": "n", "count": 100}, "count: expected an integer >= 0 and <= 99, got 100"),
    ({"name": "n", "rate_hz": "9"}, 'rate_hz: expected a number > 0, got "9"'),
    ({"name": "n", "rate_hz": 0}, "rate_hz: expected a number > 0, got 0"),
    ({"name": "n", "rate_hz": float("nan")}, "rate_hz: expected a number > 0, got nan"),
    ({"name": "n", "rate_hz": float("inf")}, "rate_hz: expected a number > 0, got inf"),
    (
        {"name": "n", "rate_hz": 10**400},
        f"rate_hz: expected a number > 0, got 1{'0' * 59}...",
    ),
    ({"name": "n", "mode": "fsat"}, 'mode: expected "fast" or "slow" or 3, got "fsat"'),
    ({"name": "n", "mode": 3.0}, 'mode: expected "fast" or "slow" or 3, got 3.0'),
    ({"name": "n", "limit": -1}, "limit: expected a number >= 0, got -1"),
    ({"name": "n", "taps": 3}, "taps: expected a list, each an integer <= 9, got 3"),
    ({"name": "n", "taps": [1, 10]}, "taps[1]: expected an integer <= 9, got 10"),
    ({"name": "n", "pair": [1]}, "pair: expected a list of 2, got a list of 1"),
    ({"name": "n", "pair": [1, 2]}, "pair[1]: expected a string, got 2"),
    (
        {"name": "n", "gains": 1},
        "gains: expected a table, each value a number, got 1",
    ),
    ({"name": "n", "gains": {"a b": ""}}, 'gains."a b": expected a number, got ""'),
    ({"name": "n", "site": 1}, "site: expected a table, got 1"),
    ({"name": "n", "site": {}}, "site.x_m: missing; expected a number"),
    (
        {"name": "n", "sites": [{"x_m": 1, "y_mm": 2}]},
        "sites[0].y_mm: no such key (did you mean 'y_m'?)",
    ),
    ({"name": "n", "site": {"x_m": 13, "y_m": 13}}, "site: nobody stands there"),
    (
        {"name": "n", "start": "now"},
        'start: expected a list, each a number or "rest", got "now"',
    ),
    ({"name": "n", "tag": "a b"}, 'tag: expected small letters, got "a b"'),
    ({"name": "n", "nmae": ""}, "nmae: no such key (did you mean 'name'?)"),
    ({"name": "n", "on": "x" * 90}, f'on: expected true or false, got "{"x" * 59}...'),
]


@pytest.mark.parametrize(("values", "text"), ERRORS, ids=[text for _, text in ERRORS])
def test_error_says_key_expected_and_got(values, text):
    with pytest.raises(SchemaError) as caught:
        build(Everything, values)
    assert str(caught.value) == text


def test_error_carries_its_parts_and_the_path_it_was_given():
    with pytest.raises(SchemaError) as caught:
        build(Everything, {"name": "n", "count": -1}, ("nodes", "a"))
    error = caught.value
    assert error.key_path == ("nodes", "a", "count")
    assert (error.expected, error.got) == ("an integer >= 0 and <= 99", "-1")
    assert str(error).startswith("nodes.a.count: ")


def test_int_becomes_float_and_numpy_scalars_are_numbers():
    made = build(Everything, {"name": "n", "rate_hz": 2, "count": np.int16(7)})
    assert type(made.rate_hz) is float
    assert type(made.count) is int
    assert build(Everything, {"name": "n", "limit": np.float32(0.5)}).limit == 0.5


def test_an_instance_does_for_a_nested_table():
    site = Site(x_m=3.0)
    assert build(Everything, {"name": "n", "site": site}).site is site


def test_descriptions_come_from_the_docstring():
    schema = json_schema(Everything)
    assert schema["description"] == "All the types there are."
    described = schema["properties"]
    assert described["name"]["description"] == "what it is called, on two lines."
    assert described["on"]["description"] == "whether it runs"
    assert "description" not in described["count"]
    assert schema["required"] == ["name"]
    assert described["site"]["default"] == {"x_m": 1.0, "y_m": 0.0}


def test_descriptions_are_inherited_with_their_keys():
    @dataclass(frozen=True)
    class Base:
        """Below.

        gain: of the amplifier
        rate_hz: of frames
        """

        gain: float = 1.0
        rate_hz: float = 1.0

    @dataclass(frozen=True)
    class Silent(Base):
        pass

    @dataclass(frozen=True)
    class Louder(Silent):
        """Above.

        gain: larger than before
        """

    assert [key.doc for key in keys(Silent).values()] == [
        "of the amplifier",
        "of frames",
    ]
    assert [key.doc for key in keys(Louder).values()] == [
        "larger than before",
        "of frames",
    ]


def test_key_text_quotes_what_toml_would_quote():
    assert key_text(("edge", "a -> b", "dims", 0)) == 'edge."a -> b".dims[0]'


@pytest.mark.parametrize("hint", [complex, list[int], set[str], Any, dict[int, str]])
def test_a_hint_that_cannot_be_a_schema_is_the_authors_error(hint):
    broken = dataclass(type("Broken", (), {"__annotations__": {"x": hint}}))
    with pytest.raises(TypeError, match="cannot be part of a schema"):
        build(broken, {"x": 1})


def test_a_bound_on_text_is_the_authors_error():
    hint = Annotated[str, Min(1)]
    broken = dataclass(type("Broken", (), {"__annotations__": {"x": hint}}))
    with pytest.raises(TypeError, match="cannot have Min"):
        build(broken, {"x": "a"})
