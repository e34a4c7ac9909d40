"""Recipes as files: those that come along in a package, and anybody's own."""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path
from typing import TypeVar

from streamproc.errors import ArtifactError, GraphError, nearest
from streamproc.schema import SchemaError, build

RecipeT = TypeVar("RecipeT")
SUFFIX = ".toml"


def names_in(package: str) -> list[str]:
    """Names of the recipes that come along in a package's folder `recipes`."""
    folder = resources.files(package) / "recipes"
    names = (item.name for item in folder.iterdir())
    return sorted(n.removesuffix(SUFFIX) for n in names if n.endswith(SUFFIX))


def load_from(package: str, kind: type[RecipeT], name_or_path: str) -> RecipeT:
    """A recipe by its name, or from a TOML file.

    GraphError for a name that is none, ArtifactError for a file that does not fit.
    """
    path = Path(name_or_path)
    if path.suffix == SUFFIX:
        try:
            return parse(kind, path.read_text("utf-8"), name_or_path)
        except (OSError, UnicodeDecodeError) as error:
            raise ArtifactError(f"{path}: cannot be read: {error}") from error
    names = names_in(package)
    if name_or_path not in names:
        raise GraphError(
            f"no recipe {name_or_path!r}{nearest(name_or_path, names)}; or give a "
            ".toml file"
        )
    folder = resources.files(package) / "recipes"
    text = (folder / f"{name_or_path}{SUFFIX}").read_text("utf-8")
    return parse(kind, text, name_or_path)


def parse(kind: type[RecipeT], text: str, place: str) -> RecipeT:
    """A recipe from TOML text. ArtifactError, with place and key, if it is none."""
    try:
        return build(kind, tomllib.loads(text))
    except (SchemaError, ValueError, RecursionError) as error:  # ValueError: not TOML
        raise ArtifactError(f"{place}: {error}") from error
