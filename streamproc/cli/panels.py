"""One row of a run's picture: what was seen, both estimates, and the truth of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from streamproc.frame import Array

INK, TRUTH, SEEN = "#222222", "#2b8a3e", "#adb5bd"
COLORS = {"learned": "#d9480f", "classical": "#1864ab"}
SENT = ("#868e96", "#d9480f")  # of symbols 0 and 1
RANGE_DB = 35.0
LEAST_COUNT = 50  # symbols in a bin whose error rate is drawn
COLUMNS = 4

Values = dict[str, Any]
Captions = dict[str, str]  # what stands above each side


def draw_row(axes: list[Any], shown: Values, captions: Captions) -> None:
    """One exhibit into COLUMNS axes. captions: of learned and classical."""
    if not np.size(shown["truth"]) or not np.size(shown["observation"]):
        for axis in axes:
            axis.set_axis_off()
        axes[0].set_title("the last frame is empty")
        return
    draw = {"trail": _trail, "images": _images, "symbols": _symbols}[shown["form"]]
    draw(axes, shown, captions)
    for axis in axes:
        axis.tick_params(labelsize=7)


def _trail(axes: list[Any], shown: Values, captions: Captions) -> None:
    truth, seen = np.array(shown["truth"]), np.array(shown["observation"])
    seen_axis, *others, error_axis = axes
    if seen.shape == truth.shape:
        seen_axis.plot(*_plane(seen), ".", color=SEEN, ms=2.5)
    seen_axis.plot(*_plane(truth), color=TRUTH, lw=1)
    seen_axis.set_title("seen (dots), truth (line)")
    for axis, (side, caption) in zip(others, captions.items(), strict=True):
        made = np.array(shown[side])
        axis.plot(*_plane(truth), color=TRUTH, lw=2.5, alpha=0.4)
        axis.plot(*_plane(made), color=COLORS[side], lw=0.9)
        axis.set(xlim=seen_axis.get_xlim(), ylim=seen_axis.get_ylim())
        axis.set_title(caption)
        error = np.sqrt(np.sum((made - truth) ** 2, axis=1))
        error_axis.semilogy(error, color=COLORS[side], lw=0.8, label=side)
    error_axis.set_title("distance from the truth")
    error_axis.legend(frameon=False, fontsize=7, loc="lower right")


def _plane(rows: Array) -> tuple[Array, Array]:
    """First against last component; one alone over its steps."""
    if rows.shape[1] == 1:
        return np.arange(len(rows)), rows[:, 0]
    return rows[:, 0], rows[:, -1]


def _images(axes: list[Any], shown: Values, captions: Captions) -> None:
    titles = {"observation": "seen", **captions, "truth": "truth"}
    peak = np.abs(shown["truth"]).max(initial=0.0)
    for axis, (side, title) in zip(axes, titles.items(), strict=True):
        size = np.array(shown[side])
        axis.set(title=title, xticks=[], yticks=[])
        if not size.size:
            continue
        top = float(size.max()) if side == "observation" or not peak else float(peak)
        level_db = 20 * np.log10(np.maximum(size, 1e-6 * top + 1e-30) / (top or 1.0))
        axis.imshow(level_db, cmap="magma", vmin=-RANGE_DB, vmax=0)
    axes[0].set_ylabel(f"{RANGE_DB:.0f} dB", fontsize=8)


def _symbols(axes: list[Any], shown: Values, captions: Captions) -> None:
    seen, truth = np.array(shown["observation"]), np.array(shown["truth"])
    _seen_symbols(axes[0], seen, truth)
    axes[0].set_title("seen, by what was sent")
    soft = "counts" in shown
    for number, (side, caption) in enumerate(captions.items()):
        axis = axes[1 + number]
        axis.set_title(caption)
        if soft:
            counts = np.array(shown["counts"][number])
            _llrs(axis, counts, shown["reach"])
            _honesty(axes[3], counts, shown["reach"], side)
        else:
            _decisions(axis, seen, truth, np.array(shown[side]))
    if soft:
        _finish_honesty(axes[3])
    else:
        axes[3].set_axis_off()


def _seen_symbols(axis: Any, seen: Array, truth: Array) -> None:
    across, up = seen if seen.ndim == 2 else (np.arange(len(seen)), seen)
    known = truth if truth.shape == up.shape else np.zeros(up.shape)
    for symbol in np.unique(known[known >= 0]):
        own = known == symbol
        color = SENT[int(symbol)] if symbol < len(SENT) else None
        axis.plot(across[own], up[own], ".", ms=2.5, color=color)
    limits = np.quantile(up, (0.01, 0.99))  # an impulse is not what it is about
    room = 0.3 * (limits[1] - limits[0]) + 1e-9
    axis.set_ylim(limits[0] - room, limits[1] + room)


def _decisions(axis: Any, seen: Array, truth: Array, made: Array) -> None:
    across, up = seen if seen.ndim == 2 else (np.arange(len(seen)), seen)
    if truth.shape != up.shape:
        axis.set_axis_off()
        return
    wrong = (made != truth) & (truth >= 0)
    axis.plot(across, up, ".", ms=2, color=SEEN)
    axis.plot(across[wrong], up[wrong], "x", ms=4, color="#c92a2a")


def _edges(counts: Array, reach: float) -> Array:
    return np.linspace(-reach, reach, counts.shape[1] + 1)


def _llrs(axis: Any, counts: Array, reach: float) -> None:
    edges = _edges(counts, reach)
    for sent in (0, 1):
        axis.stairs(
            counts[sent], edges, fill=True, color=SENT[sent], alpha=0.6, label=f"{sent}"
        )
    axis.set_xlabel("log-likelihood ratio, nats", fontsize=8)
    axis.set_yscale("symlog", linthresh=1)
    axis.set_ylim(bottom=0)
    axis.legend(frameon=False, fontsize=7, title="sent", title_fontsize=7)


def _honesty(axis: Any, counts: Array, reach: float, side: str) -> None:
    """How often a decision of some |LLR| is wrong, beside what that LLR claims."""
    half = counts.shape[1] // 2
    wrong = counts[1, :half][::-1] + counts[0, half:]  # by |LLR|, upwards
    all_of_them = counts[:, :half].sum(axis=0)[::-1] + counts[:, half:].sum(axis=0)
    middle = _edges(counts, reach)[half:]
    size = (middle[:-1] + middle[1:]) / 2
    enough = (all_of_them >= LEAST_COUNT) & (wrong > 0)
    rate = wrong[enough] / all_of_them[enough]
    axis.semilogy(size[enough], rate, ".-", lw=0.8, ms=3, color=COLORS[side])


def _finish_honesty(axis: Any) -> None:
    size = np.linspace(0, max(axis.get_xlim()[1], 1.0), 100)
    axis.semilogy(size, 1 / (1 + np.exp(size)), color=TRUTH, lw=2.5, alpha=0.4)
    axis.set_ylim(bottom=1e-5)
    axis.set_title("share wrong; line: as claimed")
    axis.set_xlabel("|log-likelihood ratio|, nats", fontsize=8)
