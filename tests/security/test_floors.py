"""S11: nothing older than is safe is installed, or may be."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = ROOT / "deploy" / "locks"
TOOLS = ("test",)  # extras whose packages never run where frames flow
Version = tuple[int, ...]


def parsed(text: str) -> Version:
    """The numbers of a version; AssertionError for one that has none to compare."""
    found = re.match(r"\d+(?:\.\d+)*", text)
    assert found, f"cannot compare version {text!r}"
    assert not re.match(r"\d+(?:\.\d+)*(?:a|b|rc|\.?dev)\d", text), f"{text} is not out"
    return tuple(map(int, found[0].split(".")))


def before(one: Version, other: Version) -> bool:
    """Whether a version is older, 1.2 and 1.2.0 being the same."""
    size = max(len(one), len(other))
    return (*one, *[0] * size)[:size] < (*other, *[0] * size)[:size]


def floors() -> dict[str, Version]:
    table = tomllib.loads((ROOT / "deploy" / "floors.toml").read_text())["floors"]
    assert all(row["why"] for row in table.values())
    return {name: parsed(row["least"]) for name, row in table.items()}


def needs() -> dict[str, list[str]]:
    """What pyproject.toml asks for by name, each time it does."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines: list[str] = list(project["dependencies"])
    for extra, more in project["optional-dependencies"].items():
        lines += [] if extra in TOOLS else more
    found: dict[str, list[str]] = {}
    for line in lines:
        asked = line.partition(";")[0].strip()
        name = re.split(r"[\[<>=!~ ]", asked, maxsplit=1)[0].lower()
        found.setdefault(name, []).append(asked)
    return found


def installed(names: Iterable[str]) -> dict[str, str]:
    """Versions of what is installed, libzmq's included."""
    import zmq

    found = {"libzmq": zmq.zmq_version()}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def too_old(found: Mapping[str, str], least: Mapping[str, Version]) -> Iterator[str]:
    for name, text in found.items():
        if name not in least:
            yield f"{name}: has no floor; look for its advisories, add it"
        elif before(parsed(text), least[name]):
            floor = ".".join(map(str, least[name]))
            yield f"{name} {text} is installed, at least {floor} is safe"


def too_lax(
    asked: Mapping[str, list[str]], least: Mapping[str, Version]
) -> Iterator[str]:
    for name, lines in asked.items():
        if name not in least:
            yield f"{name}: has no floor in deploy/floors.toml"
            continue
        for line in lines:
            bounds = re.findall(r">=\s*([\w.]+)", line)
            if not any(not before(parsed(one), least[name]) for one in bounds):
                yield f"{name}: pyproject.toml admits less than its floor: {line}"


def test_nothing_installed_is_older_than_is_safe() -> None:
    least = floors()
    found = installed({*least, *needs()})
    assert {"libzmq", "pyzmq", "msgpack", "numpy", "numba"} <= set(found)
    assert "onnxruntime" in found or "onnxruntime-gpu" in found
    assert not list(too_old(found, least))


def test_nothing_older_than_is_safe_may_be_installed() -> None:
    assert not list(too_lax(needs(), floors()))


@pytest.mark.parametrize(
    "found",
    [
        {"libzmq": "4.3.2"},
        {"msgpack": "1.2"},
        {"msgpack": "0.6.2"},
        {"onnx": "1.9.0"},  # 9 < 21, though "9" > "2"
        {"unheard-of": "1.0"},
    ],
)
def test_what_is_old_or_unknown_is_caught(found: dict[str, str]) -> None:
    assert list(too_old(found, floors()))


@pytest.mark.parametrize("text", ["", "unknown", "1.2.1rc1", "1.3.dev0"])
def test_what_cannot_be_compared_is_not_passed_over(text: str) -> None:
    with pytest.raises(AssertionError):
        list(too_old({"msgpack": text}, floors()))


@pytest.mark.parametrize("line", ["msgpack", "msgpack>=1.2", "msgpack<2", "other>=3"])
def test_a_lax_bound_is_caught(line: str) -> None:
    assert list(too_lax({re.split("[<>]", line)[0]: [line]}, floors()))
    assert not list(too_lax({"msgpack": ["msgpack>=1.2.1"]}, floors()))


@pytest.mark.parametrize("lax", ["msgpack", "msgpack>=1.2", "msgpack<2"])
def test_a_lax_bound_is_caught_beside_a_good_one(lax: str) -> None:
    """Each is asked for by somebody alone: an extra does not need another extra."""
    (said,) = too_lax({"msgpack": ["msgpack>=1.2.1", lax]}, floors())
    assert said.endswith(f": {lax}")


def test_a_safe_version_is_passed() -> None:
    found = {"libzmq": "4.3.5", "torch": "2.13.0+cpu", "msgpack": "1.2.1.0"}
    assert not list(too_old(found, floors()))


def locked(text: str) -> dict[str, str]:
    """Versions by name in a lock. AssertionError for a line that pins nothing."""
    row = r"(?m)^(\S+)==(\S+) \\\n    --hash=sha256:[0-9a-f]{64}\n"
    assert not re.sub(row, "", re.sub(r"(?m)^#.*\n", "", text)).strip(), "unpinned"
    return dict(re.findall(row, text))


@pytest.mark.parametrize("file", sorted(LOCKS.glob("*.txt")), ids=lambda p: p.name)
def test_locks_pin_all_that_runs_by_hash_and_nothing_unsafe(file: Path) -> None:
    found = locked(file.read_text())
    known = {name: text for name, text in found.items() if name in floors()}
    assert not list(too_old(known, floors()))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for line in project["dependencies"]:
        name = re.split(r"[\[<>=!~ ;]", line, maxsplit=1)[0]
        assert name in found or name == "onnxruntime", f"{name} is not locked"


def test_an_unpinned_line_is_caught() -> None:
    assert LOCKS.is_dir() and list(LOCKS.glob("*.txt"))
    for text in ("numpy==2.4.6\n", "numpy>=2\n", "numpy==2 \\\n    --hash=md5:00\n"):
        with pytest.raises(AssertionError, match="unpinned"):
            locked(text)


def test_curve_is_built_in() -> None:
    import zmq

    assert zmq.has("curve"), "this libzmq has no libsodium; keys would be of no use"
