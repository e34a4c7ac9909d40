"""What is said of a run: a line for people that is values for programs, too.

    say("warn", Said("died", worker="tracker", by="SIGKILL"))

reads `died worker=tracker by=SIGKILL`, and has `.event` and `.fields`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

MOST_REPEATS = 10  # of one event of one node, in one period
PERIOD_NS = 10_000_000_000
MOST_CHARS = 2000  # of a line; causes may quote what came from outside


class Said(str):
    """An event and what there is to know of it; as text, `event key=value ...`."""

    event: str
    fields: dict[str, str | int | float]

    def __new__(cls, event: str, **fields: object) -> Said:
        plain = {
            key: value if isinstance(value, int | float) else str(value)[:MOST_CHARS]
            for key, value in fields.items()
        }
        words = [event, *(f"{key}={value}" for key, value in plain.items())]
        made = super().__new__(cls, " ".join(words)[:MOST_CHARS])
        made.event, made.fields = event, plain
        return made


def to_plain(text: str) -> dict[str, Any]:
    """For a control line, which carries JSON."""
    if isinstance(text, Said):
        return {"event": text.event, "fields": text.fields}
    return {"event": "", "fields": {"text": text[:MOST_CHARS]}}


def from_plain(told: Mapping[str, Any], **more: object) -> str:
    """What a worker said, with who it was; its text is the same."""
    if not told["event"]:
        return str(told["fields"]["text"])
    made = Said(told["event"], **told["fields"])
    made.fields.update({k: str(v) for k, v in more.items() if k not in made.fields})
    return made


class Limiter:
    """Passes the first few of what a node says again and again, and counts the rest."""

    def __init__(self) -> None:
        self._since_ns = 0
        self._count: dict[tuple[str, str, str], int] = {}

    def passes(self, level: str, text: str) -> bool:
        """Whether to say it now; what is not said is in `summary` later."""
        key = level, *_about(text)
        self._count[key] = self._count.get(key, 0) + 1
        return self._count[key] <= MOST_REPEATS

    def summary(self, now_ns: int, over: bool = False) -> Iterator[tuple[str, Said]]:
        """At the end of a period, or when all is over: how often what was not said."""
        if not (self._count and self._since_ns):  # one begins with what is said first
            self._since_ns = now_ns
        if not over and now_ns - self._since_ns < PERIOD_NS:
            return
        for (level, event, node), count in self._count.items():
            if count > MOST_REPEATS:
                who = {"node": node} if node else {}
                yield (
                    level,
                    Said("again", what=event, **who, times=count - MOST_REPEATS),
                )
        self._since_ns = now_ns
        self._count.clear()


def _about(text: str) -> tuple[str, str]:
    if isinstance(text, Said):
        return text.event, str(text.fields.get("node", ""))
    return text[:MOST_CHARS], ""
