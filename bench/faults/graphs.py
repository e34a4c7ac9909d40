"""Graphs under test, as text: `{folder}` is where the sink writes."""

from __future__ import annotations

from pathlib import Path

K = "bench.faults.kinds"

# Five nodes: a sensor, a learned tracker with state, its classical twin, their join.
TRACKER = """
[graph]
name = "tracker"
edges = [
  "sensor:observation -> learned",
  "sensor:observation -> classical",
  "learned, classical -> beside -> disk",
]
[nodes.sensor]
kind = "{lorenz}"
x0 = "attractor"
seed = {seed}
rate_hz = {rate_hz}
{bound}
[nodes.learned]
kind = "kalmannet"
model = "{model}"
engine = "{engine}"
gate = 0.999999
{learned}
[nodes.classical]
kind = "ekf"
model = "lorenz"
params = {{ q2 = 0.178 }}
gate = 0.999999
[nodes.beside]
kind = "{K}:Beside"
{sink}
"""

# The same with a sensor whose readings exist once: the engine logs them first.
LOGGED = """
[graph]
name = "logged"
edges = ["sensor -> learned, classical", "learned, classical -> beside -> disk"]
[nodes.sensor]
kind = "{K}:Once"
counter = "{folder}/device"
rate_hz = {rate_hz}
log_mib = 1
{bound}
"""

# Beside it, fewer readings, some of them NaN, to a sink whose disk may be full.
ASIDE = """
[nodes.aside]
kind = "{K}:Aside"
worker = "aside"
[nodes.second]
kind = "kalmannet"
model = "{model}"
engine = "{engine}"
worker = "aside"
[nodes.small]
kind = "file.sink"
path = "aside.frames"
root = "{small}"
on_full_disk = "drop"
worker = "aside"
"""

RADIO = """
[graph]
name = "radio"
edges = ["air:observation -> detector", "detector:symbols -> disk"]
[nodes.air]
kind = "{isi}"
gamma = 0.2
snr_db = 6.0
seed = {seed}
rate_hz = {rate_hz}
{bound}
[nodes.detector]
kind = "bcjr"
gamma = 0.2
snr_db = 6.0
{sink}
"""

SCANNER = """
[graph]
name = "scanner"
edges = ["scanner:image -> clutter", "clutter:bubbles -> disk"]
[nodes.scanner]
kind = "{ultrasound}"
seed = {seed}
rate_hz = {rate_hz}
{bound}
[nodes.clutter]
kind = "svd_filter"
window = 20
rank = 3
{sink}
"""

CHAIN = """
[graph]
name = "chain"
edges = ["sensor -> middle -> disk"]
[nodes.sensor]
kind = "{K}:Once"
counter = "{folder}/device"
rate_hz = {rate_hz}
{bound}
{sensor}
[nodes.middle]
kind = "identity"
{middle}
{sink}
{edges}
"""

# A tracker behind a node that spoils, or dies.
POISONED = """
[graph]
name = "poisoned"
edges = ["sensor:observation -> spoiler -> learned -> disk"]
[nodes.sensor]
kind = "{lorenz}"
x0 = "attractor"
seed = {seed}
rate_hz = {rate_hz}
{bound}
[nodes.spoiler]
{spoiler}
[nodes.learned]
kind = "kalmannet"
model = "{model}"
engine = "{engine}"
{learned}
{sink}
"""

SINK = """
[nodes.disk]
kind = "{K}:TimedSink"
path = "out.frames"
root = "{folder}"
{disk}
"""

GRAPHS = {
    "tracker": TRACKER,
    "logged": LOGGED + TRACKER[TRACKER.index("[nodes.learned]") :],
    "soak": LOGGED.replace('"]', '", "sensor -> aside -> second -> small"]')
    + TRACKER[TRACKER.index("[nodes.learned]") :]
    + ASIDE,
    "radio": RADIO,
    "scanner": SCANNER,
    "chain": CHAIN,
    "poisoned": POISONED,
}
ONCE = ("logged", "soak", "chain")  # whose sensors show every reading once
WORKERS = {
    "tracker": ("sensor", "learned", "classical", "beside", "disk"),
    "logged": ("sensor", "learned", "classical", "beside", "disk"),
    "soak": ("sensor", "learned", "classical", "beside", "disk", "aside"),
    "radio": ("air", "detector", "disk"),
    "scanner": ("scanner", "clutter", "disk"),
    "chain": ("sensor", "middle", "disk"),
    "poisoned": ("sensor", "spoiler", "learned", "disk"),
}
_SLOTS = ("bound", "learned", "sensor", "middle", "disk", "edges", "spoiler", "small")


def text(
    name: str, folder: Path, *, seed: int = 1, rate_hz: float = 500, **lines: str
) -> str:
    """A graph's file. lines: what stands in its free places, such as `disk`.

    hurried="yes": an undisturbed twin, whose sensors do not keep to their rate.
    """
    hurried = lines.pop("hurried", "")
    kinds = {
        "lorenz": f"{K}:HurriedLorenz" if hurried else "scene.lorenz",
        "isi": f"{K}:HurriedIsi" if hurried else "scene.isi",
        "ultrasound": f"{K}:HurriedUltrasound" if hurried else "scene.ultrasound",
    }
    own = {"model": "lorenz-decimated", "engine": "numba", **kinds}
    free = {**dict.fromkeys(_SLOTS, ""), **lines}
    values = {**own, **free, "K": K, "folder": folder, "seed": seed, "rate_hz": rate_hz}
    sink = SINK.format(**values)
    return GRAPHS[name].format(**{**values, "sink": sink})
