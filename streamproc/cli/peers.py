"""Findings for `doctor` about what stands around: programs, limits, clocks, systemd."""

from __future__ import annotations

import ctypes
import fcntl
import resource
import shutil
import sysconfig
import tempfile
from pathlib import Path

from streamproc.cli.probes import Finding
from streamproc.runtime.plan import run_base

INCLUDE = Path("/usr/include")
CLOCKS = Path("/sys/devices/system/clocksource/clocksource0")
CPUFREQ = Path("/sys/devices/system/cpu/cpu0/cpufreq")
SYSTEMD = Path("/run/systemd/system")  # there while it runs [sd_booted(3)]
OCTAVE_PACKAGES = tuple(
    Path(base) / "octave" / "packages" for base in ("/usr/share", "/usr/local/share")
)
SLOW_CLOCKS = ("acpi_pm", "hpet", "jiffies", "pit")
LEAST_FILES = 1024
TIME_ERROR = 5  # of adjtimex(2): nobody sets this clock
TIMEX_BYTES = 512  # more than its struct has anywhere


def headers() -> Finding:
    """Python.h, for packages that come without a wheel."""
    found = Path(sysconfig.get_paths()["include"]) / "Python.h"
    if found.is_file():
        return Finding("ok", "python headers", str(found.parent))
    value = "none; only for packages that come without a wheel"
    return Finding("note", "python headers", value, "apt install python3-dev")


def cpp_client() -> Finding:
    """What the C++ client is compiled with."""
    wanted = {"g++": shutil.which("g++"), "zmq.h": None, "zmq.hpp": None}
    for name in ("zmq.h", "zmq.hpp"):
        places = (INCLUDE / name, Path("/usr/local/include") / name)
        wanted[name] = next((str(p) for p in places if p.is_file()), None)
    lacking = [name for name, found in wanted.items() if not found]
    if not lacking:
        return Finding("ok", "c++ client", ", ".join(filter(None, wanted.values())))
    value = f"no {', '.join(lacking)}; only for the C++ client"
    return Finding("note", "c++ client", value, "apt install g++ cppzmq-dev")


def octave() -> Finding:
    """Octave and its ZeroMQ package."""
    cure = "apt install octave octave-zeromq"
    found = shutil.which("octave-cli") or shutil.which("octave")
    if not found:
        return Finding("note", "octave", "none; only for the Octave client", cure)
    if any(any(folder.glob("zeromq*")) for folder in OCTAVE_PACKAGES):
        return Finding("ok", "octave", f"{found}, with zeromq")
    return Finding("note", "octave", f"{found}, without its package zeromq", cure)


def gnuradio() -> Finding:
    """GNU Radio, whose Python is often not this one."""
    found = shutil.which("gnuradio-config-info")
    if found:
        return Finding("ok", "gnuradio", found)
    value = "none; only for flowgraphs beside gnuradio.source"
    return Finding("note", "gnuradio", value, "apt install gnuradio")


def systemd() -> Finding:
    """Whether `streamproc deploy systemd` has somebody to deploy to."""
    if SYSTEMD.is_dir():
        return Finding("ok", "systemd", "runs this machine")
    cure = "under another manager: SIGTERM drains, exit code 2 is not worth a restart"
    state = "installed, but does not run" if shutil.which("systemctl") else "none"
    return Finding("note", "systemd", f"{state} here", cure)


def open_files() -> Finding:
    """How many files and sockets a process may have open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= LEAST_FILES:
        return Finding("ok", "open files", f"{soft} a process")
    most = max(hard, LEAST_FILES)
    return Finding("note", "open files", f"only {soft}", f"ulimit -n {most}")


def clock_source() -> Finding:
    """What the kernel reads the time from; reading some takes a microsecond."""
    try:
        found = (CLOCKS / "current_clocksource").read_text().strip()
        there = (CLOCKS / "available_clocksource").read_text().split()
    except OSError:
        return Finding("ok", "clock source", "the kernel does not say")
    if found not in SLOW_CLOCKS:
        return Finding("ok", "clock source", found)
    better = [name for name in there if name not in SLOW_CLOCKS]
    cure = "boot with tsc=reliable if the machine's is"
    if better:
        cure = f"as root: echo {better[0]} > {CLOCKS}/current_clocksource"
    return Finding("note", "clock source", f"{found}, slow to read", cure)


def time_of_day() -> Finding:
    """Whether somebody sets the clock that t0_ns is taken from."""
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "adjtimex"):
        return Finding("ok", "time of day", "the system does not say")
    state = libc.adjtimex(ctypes.create_string_buffer(TIMEX_BYTES))
    if 0 <= state < TIME_ERROR:
        return Finding("ok", "time of day", "kept in step with others")
    value = "nobody keeps it in step; t0_ns is comparable on this machine only"
    return Finding("note", "time of day", value, "apt install chrony")


def frequency() -> Finding:
    """Whether cores slow down between frames, which shows in p99."""
    try:
        governor = (CPUFREQ / "scaling_governor").read_text().strip()
    except OSError:
        return Finding("ok", "core frequency", "not ours to set")
    if governor != "powersave":
        return Finding("ok", "core frequency", governor)
    cure = "for low latency: cpupower frequency-set -g performance"
    return Finding("note", "core frequency", governor, cure)


def file_locks() -> Finding:
    """Whether a run can keep its folder to itself; network folders may not let it."""
    folder = run_base() or tempfile.gettempdir()
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        cure = "set TMPDIR to a folder on a disk of this machine"
        return Finding("missing", "file locks", f"{folder}: {error.strerror}", cure)
    return Finding("ok", "file locks", f"work in {folder}")
