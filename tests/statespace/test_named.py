"""Models by name: the table, one's own, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamproc.errors import ConfigError, GraphError
from streamproc.statespace import MODELS, StateSpace, model
from streamproc.statespace.compiled import flow

OWN = '''
"""A tank that drains, seen by its level."""

import math
import numpy as np
from streamproc.statespace import StateSpace


def drained(x, dt_s, out):
    out[0] = max(x[0] - 0.1 * math.sqrt(max(x[0], 0.0)) * dt_s, 0.0)


def level(x, out):
    out[0] = x[0]


def tank(r2: float = 0.5) -> StateSpace:
    return StateSpace(
        name="tank", f=drained, h=level, state=("level",), observation=("level",),
        Q=[[0.01]], R=[[r2]], step_s=1.0, x0=[4.0], P0=[[1.0]],
    )


def unsaid(r2=0.5):
    return tank(r2)


def lying() -> StateSpace:
    return 3


TANK = tank()
'''


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "own_models_of_a_test.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "own_models_of_a_test"


def test_a_model_of_ones_own_by_module_and_object(own: str) -> None:
    made = model(f"{own}:tank", r2=2.0)
    assert made.R[0, 0] == 2.0 and made.name == "tank"
    X_next, F = flow(made, np.array([[4.0]]), 1.0)
    assert X_next[0, 0] == pytest.approx(3.8) and F[0, 0, 0] == pytest.approx(0.975)
    whole = model(f"{own}:TANK")
    assert model(f"{own}:TANK") is whole


@pytest.mark.parametrize(
    ("name", "params", "error", "told"),
    [
        ("lorentz", {}, GraphError, "no state-space model 'lorentz'.*mean 'lorenz'"),
        ("no_such_module:x", {}, GraphError, "cannot be imported: No module"),
        ("{own}:nothing", {}, GraphError, "expected a StateSpace, or a function"),
        ("{own}:unsaid", {}, GraphError, "declared `-> StateSpace`, got <function"),
        ("os:system", {"command": "true"}, GraphError, "declared `-> StateSpace`"),
        ("{own}:lying", {}, GraphError, "3 is no StateSpace"),
        ("{own}:TANK", {"r2": 1}, ConfigError, "takes no params, got r2"),
        ("{own}:tank", {"r3": 1}, ConfigError, "unexpected keyword argument 'r3'"),
        ("lorenz", {"r3": 1}, ConfigError, r"'lorenz': r3: no such key \(known: f, "),
        ("lorenz", {"rotation": 9}, ConfigError, "did you mean 'rotation_deg'"),
        ("lorenz", {"order": 9}, ConfigError, "order: expected an integer >= 1 and <="),
        ("lorenz", {"r2": {1}}, ConfigError, "expected numbers, text, lists or tables"),
        ("linear", {"F": [[1]]}, ConfigError, "H: missing"),
        ("range_bearing", {"target": {"dims": 3}}, ConfigError, "dims: expected 2"),
        ("range_bearing", {"target": {"q": 3}}, ConfigError, "q: no such key"),
    ],
)
def test_what_is_refused(
    own: str, name: str, params: dict[str, Any], error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        model(name.format(own=own), **params)


def test_matrices_that_do_not_fit_are_refused() -> None:
    one = [[1.0]]
    with pytest.raises(ConfigError, match="rows of one length"):
        model("linear", F=[[1.0, 2.0], [1.0]], H=one, Q=one, R=one)
    with pytest.raises(ConfigError, match="expected F n x n and H m x n, got 1 x 2"):
        model("linear", F=[[1.0, 2.0]], H=one, Q=one, R=one)
    with pytest.raises(ConfigError, match="Q: expected shape"):
        model("linear", F=one, H=one, Q=np.eye(2), R=one)


@pytest.mark.parametrize("name", [name for name in MODELS if name != "linear"])
def test_every_model_of_the_table_is_to_be_had_without_params(name: str) -> None:
    made = model(name)
    assert isinstance(made, StateSpace) and made.name == name
    assert model(name) is made
    assert len(made.observation_units) in (0, made.m)


def test_the_same_params_are_the_same_model_however_they_are_written() -> None:
    one = model("range_bearing", radar=[1.0, 2.0], target={"step_s": 0.5})
    assert model("range_bearing", target={"step_s": 0.5}, radar=(1.0, 2.0)) is one
    assert model("lorenz", r2=np.float64(3.0)) is model("lorenz", r2=3.0)
