"""Log lines on stderr: for a person, for a program, or for systemd's journal.

text      2026-11-22T17:14:30Z WARN  died worker=tracker by=SIGKILL restart=1
json      {"time": "2026-11-22T17:14:30.123456Z", "level": "warn", ...}
logfmt    time=2026-11-22T17:14:30.123456Z level=warn graph=lorenz event=died ...
journal   <4>graph=lorenz event=died ...     [sd-daemon(3): the journal has the time]
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from streamproc.cli.command import plain_json
from streamproc.errors import ConfigError

FORMS = ("auto", "text", "json", "logfmt", "journal")
LEVELS = {"info": 6, "warn": 4, "error": 3}  # and their numbers in syslog(3)
FORM_KEY, LEVEL_KEY = "STREAMPROC_LOG", "STREAMPROC_LOG_LEVEL"
CLEAR = "\r\x1b[K"  # a terminal's line, where a progress bar may stand


class Log:
    """Says what a run has to say, from `level` on. ConfigError for an unknown form."""

    def __init__(self, form: str = "", level: str = "") -> None:
        self.form = _chosen(form, FORM_KEY, "auto", FORMS)
        if self.form == "auto":
            self.form = "journal" if _is_journal(os.environ) else "text"
        most = LEVELS[_chosen(level, LEVEL_KEY, "info", tuple(LEVELS))]
        self._said = {name for name, number in LEVELS.items() if number <= most}
        self.graph = ""

    def __call__(self, level: str, text: str) -> None:
        """text: of a `Said`, its event and fields are said as well."""
        if level not in self._said:
            return
        now = datetime.now(UTC)
        if self.form == "text":
            line = f"{now:%Y-%m-%dT%H:%M:%S}Z {level.upper():5} {one_line(text)}"
            line = f"{CLEAR}{line}" if sys.stderr.isatty() else line
        else:
            line = self._structured(now, level, text)
        print(line, file=sys.stderr, flush=True)

    def _structured(self, now: datetime, level: str, text: str) -> str:
        values: dict[str, Any] = {"time": f"{now:%Y-%m-%dT%H:%M:%S.%f}Z"}
        values["level"] = level
        if self.graph:
            values["graph"] = self.graph
        fields = getattr(text, "fields", {"text": text})
        values["event"] = getattr(text, "event", "told")
        values |= {k: v for k, v in fields.items() if k not in values}
        if self.form == "json":
            return plain_json(values)
        if self.form == "journal":
            del values["time"], values["level"]
            return f"<{LEVELS[level]}>{_pairs(values)}"
        return _pairs(values)

    def error(self, text: str, refused: bool) -> None:
        """Why the command failed: a bare line for a person."""
        if self.form == "text":
            print(one_line(text), file=sys.stderr, flush=True)
            return
        from streamproc.runtime.said import Said

        self("error", Said("refused" if refused else "failed", cause=text))


def log_of(words: Sequence[str]) -> Log:
    """The log that a command line asks for, even one that is wrong otherwise."""
    return Log(_option(words, "--log"), _option(words, "--log-level"))


def _option(words: Sequence[str], name: str) -> str:
    for word, after in zip(words, [*words[1:], ""], strict=True):
        if word == name:
            return after
        if word.startswith(f"{name}="):
            return word.removeprefix(f"{name}=")
    return ""


def _chosen(given: str, key: str, usual: str, known: tuple[str, ...]) -> str:
    found = given or os.environ.get(key, "") or usual
    if found not in known:
        where = "--log" if given else key
        raise ConfigError(f"{where}: expected one of {', '.join(known)}, got {found!r}")
    return found


def _is_journal(environment: Mapping[str, str]) -> bool:
    """Whether stderr leads to the journal, as systemd says. [systemd.exec(5)]"""
    try:
        about = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    told = environment.get("JOURNAL_STREAM", "")
    return told == f"{about.st_dev}:{about.st_ino}"


def _pairs(values: Mapping[str, Any]) -> str:
    return " ".join(f"{key}={_value(value)}" for key, value in values.items())


def _value(value: object) -> str:
    text = str(value)
    plain = text and not any(c in ' "=\\' or not c.isprintable() for c in text)
    return text if plain else plain_json(text).replace("\n", "\\n")


def one_line(text: str) -> str:
    """What came from outside, without what a terminal would obey."""
    return "".join(c if c.isprintable() else "?" for c in text)
