"""What clutter filters were tuned to on validation data: a committed TOML file."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from streamproc.errors import ArtifactError

FILE = "clutter_tuned.toml"
CURE = "streamproc tune clutter"


@dataclass(frozen=True, kw_only=True)
class TunedRival:
    """Parameters of one filter, and the NMSE it had where it was tuned."""

    params: dict[str, Any]
    val_db: float


@dataclass(frozen=True, kw_only=True)
class TunedScene:
    """Tuned rivals of a scene by name, and the command that made the last of them."""

    command: str
    rivals: dict[str, TunedRival]


def tuned(scene: str) -> TunedScene:
    """Of a scene, from the file that comes with streamproc.

    ArtifactError if its rivals were never tuned.
    """
    known = shipped()
    if scene not in known:
        raise ArtifactError(
            f"{FILE}: scene {scene!r} is not tuned; run {CURE} --scene {scene}"
        )
    return known[scene]


@cache
def shipped() -> dict[str, TunedScene]:
    """All of the file that comes with streamproc."""
    text = (resources.files("streamproc.evaluation") / FILE).read_text("utf-8")
    return read(text, FILE)


def read(text: str, place: str) -> dict[str, TunedScene]:
    """Scenes by name. ArtifactError, with place, for text that is not such a file."""
    try:
        return {name: _scene(table) for name, table in tomllib.loads(text).items()}
    except (tomllib.TOMLDecodeError, AttributeError, KeyError, TypeError) as error:
        raise ArtifactError(f"{place}: {error!r}; write it with {CURE}") from error


def _scene(table: dict[str, Any]) -> TunedScene:
    rivals = {
        name: TunedRival(params=dict(row["params"]), val_db=float(row["val_db"]))
        for name, row in table["rivals"].items()
    }
    return TunedScene(command=str(table["command"]), rivals=rivals)


def write(path: Path, scenes: dict[str, TunedScene]) -> None:
    """Into a file, whole or not at all; `read` gives the same again."""
    lines = [f"# Made by {CURE}; do not edit by hand."]
    for name, scene in scenes.items():
        lines += ["", f"[{name}]", f'command = "{scene.command}"']
        for rival, row in scene.rivals.items():
            params = ", ".join(f"{k} = {_text(v)}" for k, v in row.params.items())
            lines += ["", f"[{name}.rivals.{rival}]", f"params = {{ {params} }}"]
            lines.append(f"val_db = {row.val_db:.3f}")
    part = path.with_suffix(".part")
    part.write_text("\n".join([*lines, ""]), "utf-8")
    part.replace(path)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else repr(value)
