"""The picture of a run: a row for each comparison, in one PNG or a few."""

from __future__ import annotations

import io
import os
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, NamedTuple

from streamproc.cli.comparison import KIND, bought, figures
from streamproc.confine import Place
from streamproc.errors import PlacementError

if TYPE_CHECKING:
    from streamproc.graph import Graph

OURS = b"Software\0streamproc"  # in a PNG's text, near its beginning
HEAD_BYTES = 4096
CURE = "no picture, for matplotlib is missing: pip install 'streamproc[ui]'"


class Target(NamedTuple):
    """A file to draw into, and the nodes whose rows it shows."""

    place: Place
    shown_as: str
    nodes: list[str]


def targets(graph: Graph, asked: Path | None) -> list[Target]:
    """Where to draw what. asked: one file for all, in place of those nodes name.

    Raises PlacementError for a file that is outside its root, or that no run drew:
    nothing else is ever replaced.
    """
    compared = {n: node for n, node in graph.nodes.items() if node.kind == KIND}
    if asked is not None:
        if not compared:
            raise PlacementError(
                f"--picture {asked}: no node of kind {KIND!r} in {graph.name}; add one"
            )
        place = Place.of(asked.parent, asked.name)
        return [_checked(Target(place, str(asked), list(compared)))]
    found: dict[Path, Target] = {}
    for name, node in compared.items():
        config: Any = node.spec.config
        if Path(config.path).parts:
            place = Place.of(config.root, config.path)
            said = str(Path(config.root, config.path))
            target = found.setdefault(place.path, _checked(Target(place, said, [])))
            target.nodes.append(name)
    return list(found.values())


def prepare(found: list[Target]) -> None:
    """Load matplotlib meanwhile, where it is wanted: that takes a second."""
    if found:
        Thread(target=_load, daemon=True).start()


def _load() -> None:
    with suppress(ImportError):  # which `draw` will raise again
        import matplotlib.pyplot  # noqa: F401


def _checked(target: Target) -> Target:
    path = target.place.path
    if path.exists():
        fd = target.place.open(os.O_RDONLY)
        try:
            head = os.read(fd, HEAD_BYTES)
        finally:
            os.close(fd)
        if head and OURS not in head:
            raise PlacementError(
                f"{target.shown_as} is there, and no picture of a run; move it away, "
                "or name another file"
            )
    elif not os.access(path.parent, os.W_OK):
        raise PlacementError(f"{path.parent} cannot be written to; name another folder")
    return target


def draw(
    target: Target,
    exhibits: dict[str, dict[str, Any]],
    compared: dict[str, dict[str, Any]],
    graph: Graph,
) -> bool:
    """Draw and write, if there is something to show. ImportError: no matplotlib.

    exhibits, compared: by node; a node that has nothing to show has no row.
    """
    rows = [
        (
            _unset(graph.nodes[name].spec.config.title or name),
            exhibits[name],
            compared[name],
        )
        for name in target.nodes
        if name in exhibits and name in compared
    ]
    if rows:
        _write(target, _png(rows))
    return bool(rows)


def _unset(text: str) -> str:
    """With dollars that are dollars: matplotlib would set a formula between two."""
    return text.replace("$", r"\$")


def _png(rows: list[tuple[str, dict[str, Any], dict[str, Any]]]) -> bytes:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    from streamproc.cli.panels import COLUMNS, INK, draw_row

    plt.rcParams.update({"font.size": 8, "axes.titlesize": 8.5, "text.color": INK})
    figure = plt.figure(figsize=(10, 2.7 * len(rows)), layout="constrained")
    parts = figure.subfigures(len(rows), 1, squeeze=False)[:, 0]
    for part, (title, shown, one) in zip(parts, rows, strict=True):
        part.suptitle(f"{title}: learning bought {bought(one)}", fontsize=10)
        axes = list(part.subplots(1, COLUMNS))
        captions = {
            side: f"{one['nodes'][side]} ({side}): {figure_}"
            for side, figure_ in figures(one).items()
        }
        draw_row(axes, shown, captions)
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=132, format="png", metadata={"Software": "streamproc"})
    plt.close(figure)
    return drawn.getvalue()


def _write(target: Target, png: bytes) -> None:
    fd = _checked(target).place.open(os.O_RDWR | os.O_CREAT)
    with open(fd, "wb") as file:
        file.truncate()
        try:
            file.write(png)
        except OSError as error:
            raise PlacementError(
                f"{target.shown_as}: cannot be written: {error.strerror}"
            ) from error
