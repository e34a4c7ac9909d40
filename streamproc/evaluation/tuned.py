"""What classical rows were tuned to on the training split: a committed TOML file."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from streamproc.errors import ArtifactError
from streamproc.frame import Array
from streamproc.statespace.fitted import Residual, with_residual, with_sensor
from streamproc.statespace.model import StateSpace

FILE = "tuned.toml"


@dataclass(frozen=True, eq=False, kw_only=True)
class Noise:
    """Tuned noise of one row, and what was fitted beside it.

    train_db: mean squared error on the trajectories it was tuned on.
    H (m, n): a sensor.
    """

    Q: Array
    R: Array
    train_db: float
    H: Array | None = None
    residual: Residual | None = None

    def of(self, model: StateSpace) -> StateSpace:
        """The model with all of it."""
        if self.residual is not None:
            model = with_residual(model, self.residual)
        if self.H is not None:
            model = with_sensor(model, self.H)
        return model.with_noise(self.Q, self.R)


@dataclass(frozen=True, eq=False, kw_only=True)
class TunedCase:
    """Tuned rows of a case by name, and the command that made them."""

    command: str
    rows: dict[str, Noise]


def tuned(case: str) -> TunedCase:
    """Of a case, from the file that comes with streamproc.

    ArtifactError if it was never tuned.
    """
    known = shipped()
    if case not in known:
        raise ArtifactError(
            f"{FILE}: case {case!r} is not tuned; run streamproc train kalman {case}"
        )
    return known[case]


@cache
def shipped() -> dict[str, TunedCase]:
    """All of the file that comes with streamproc."""
    text = (resources.files("streamproc.evaluation") / FILE).read_text("utf-8")
    return read(text, FILE)


def read(text: str, place: str) -> dict[str, TunedCase]:
    """Cases by name. ArtifactError, with place, for text that is not such a file."""
    try:
        return {name: _case(table) for name, table in tomllib.loads(text).items()}
    except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
        raise ArtifactError(
            f"{place}: {error!r}; write it with streamproc train kalman"
        ) from error


def _case(table: dict[str, Any]) -> TunedCase:
    rows = {name: _noise(row) for name, row in table["rows"].items()}
    return TunedCase(command=str(table["command"]), rows=rows)


def _noise(row: dict[str, Any]) -> Noise:
    residual = None
    if "coefficients" in row:
        residual = Residual(
            center=_array(row["center"], 1),
            spread=_array(row["spread"], 1),
            coefficients=_array(row["coefficients"], 2),
        )
    return Noise(
        Q=_array(row["Q"], 2),
        R=_array(row["R"], 2),
        train_db=float(row["train_db"]),
        H=_array(row["H"], 2) if "H" in row else None,
        residual=residual,
    )


def _array(value: Any, dims: int) -> Array:
    array = np.array(value, np.float64)
    if array.ndim != dims:
        raise ValueError(f"expected numbers of {dims} dimensions, got {value!r:.60}")
    return array


def write(path: Path, cases: dict[str, TunedCase]) -> None:
    """Into a file, whole or not at all; `read` gives the same numbers again."""
    lines = ["# Made by streamproc train kalman; do not edit by hand."]
    for name, case in cases.items():
        lines += ["", f"[{name}]", f'command = "{case.command}"']
        for row, noise in case.rows.items():
            lines += ["", f"[{name}.rows.{row}]"]
            lines += [f"{key} = {text}" for key, text in _keys(noise)]
    part = path.with_suffix(".part")
    part.write_text("\n".join([*lines, ""]), "utf-8")
    part.replace(path)


def _keys(noise: Noise) -> list[tuple[str, str]]:
    keys: list[tuple[str, Any]] = [("Q", noise.Q), ("R", noise.R)]
    if noise.H is not None:
        keys.append(("H", noise.H))
    if noise.residual is not None:
        residual = noise.residual
        keys += [("center", residual.center), ("spread", residual.spread)]
        keys.append(("coefficients", residual.coefficients))
    texts = [(key, _numbers(array)) for key, array in keys]
    return [*texts, ("train_db", f"{noise.train_db:.3f}")]


def _numbers(array: Array) -> str:
    """To eight digits: far more than the data know."""
    if array.ndim == 1:
        return "[" + ", ".join(f"{float(value):.8g}" for value in array) + "]"
    return "[" + ", ".join(_numbers(row) for row in array) + "]"
