"""Hardware and system findings for `doctor`. Nothing here leaves a trace."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import platform
import socket
import tempfile
import time
from pathlib import Path

from streamproc.cli.command import counted
from streamproc.cli.probes import Finding
from streamproc.runtime.plan import run_base

MIB = 2**20
LEAST_SHARED_MIB = 256
LEAST_MEMORY_MIB = 1024
LONGEST_RUN_FOLDER = 64  # bytes; a socket's whole path may have about 100
SHARED = Path("/dev/shm")
MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")


def cores() -> Finding:
    """Cores that this process may use; a busy node wants one to itself."""
    if hasattr(os, "sched_getaffinity"):
        number = len(os.sched_getaffinity(0))
    else:
        number = os.cpu_count() or 1
    value = f"{counted(number, 'core')}, {platform.machine()}"
    if number > 1:
        return Finding("ok", "cores", value)
    return Finding("note", "cores", value, 'fuse the graph with workers = "one"')


def memory() -> Finding:
    """Memory that this process may have: the machine's, or its container's."""
    mib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // MIB
    limit = MEMORY_LIMIT.read_text().strip() if MEMORY_LIMIT.exists() else ""
    if limit.isdigit():
        mib = min(mib, int(limit) // MIB)
    if mib >= LEAST_MEMORY_MIB:
        return Finding("ok", "memory", f"{mib} MiB")
    return Finding("note", "memory", f"{mib} MiB", "lower the depth of the edges")


def gpu() -> Finding:
    """What the NVIDIA driver says, asked through its own library."""
    no_gpu = 'nodes with device = "gpu" will be refused; all others run'
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return Finding("note", "gpu", "no NVIDIA driver", no_gpu)
    count, driver = ctypes.c_int(), ctypes.c_int()
    name = ctypes.create_string_buffer(128)
    answers = [
        cuda.cuInit(0),
        cuda.cuDriverGetVersion(ctypes.byref(driver)),
        cuda.cuDeviceGetCount(ctypes.byref(count)),
        cuda.cuDeviceGetName(name, len(name), 0),
    ]
    if any(answers) or not count.value:
        return Finding("note", "gpu", "a driver, but no usable GPU", no_gpu)
    runs = f"{driver.value // 1000}.{driver.value % 1000 // 10}"
    more = f" and {count.value - 1} more" if count.value > 1 else ""
    return Finding("ok", "gpu", f"{name.value.decode()}{more}, driver for CUDA {runs}")


def numba_cache() -> Finding:
    """Where compiled kernels are kept; without it each start compiles again."""
    folder = os.environ.get("NUMBA_CACHE_DIR", "")
    found = importlib.util.find_spec("streamproc_kernels")
    if not folder and found and found.submodule_search_locations:
        folder = found.submodule_search_locations[0]
        if not os.access(folder, os.W_OK):
            folder = os.path.expanduser("~/.cache")
    if not folder:
        cure = "install streamproc with its kernels"
        return Finding("missing", "numba cache", "no kernels found", cure)
    cure = "set NUMBA_CACHE_DIR to a folder that can be written"
    return _writable("numba cache", Path(folder), cure)


def run_folder() -> Finding:
    """Where a running graph makes its folder of sockets; their paths must be short."""
    cure = f"set TMPDIR to a folder of yours, at most {LONGEST_RUN_FOLDER} bytes long"
    try:
        folder = run_base() or tempfile.gettempdir()
    except FileNotFoundError as error:
        return Finding("missing", "run folder", str(error.strerror), cure)
    if len(os.fsencode(folder)) > LONGEST_RUN_FOLDER:
        return Finding("missing", "run folder", f"{folder} is too long", cure)
    return _writable("run folder", Path(folder), cure)


def _writable(name: str, folder: Path, cure: str) -> Finding:
    existing = next(p for p in (folder, *folder.parents) if p.exists())
    if os.access(existing, os.W_OK | os.X_OK):
        return Finding("ok", name, str(folder))
    return Finding("missing", name, f"{folder} cannot be written", cure)


def shared_memory() -> Finding:
    """Free room for the rings that carry large arrays between processes."""
    if not SHARED.is_dir():
        value = f"no {SHARED}; large arrays travel through sockets"
        return Finding("note", "shared memory", value)
    room = os.statvfs(SHARED)
    free = room.f_bavail * room.f_frsize // MIB
    if free >= LEAST_SHARED_MIB:
        return Finding("ok", "shared memory", f"{free} MiB free")
    cure = "in a container, start it with --shm-size=1g"
    return Finding("note", "shared memory", f"only {free} MiB free", cure)


def clock() -> Finding:
    """Resolution of the monotonic clock, and how late a short sleep ends."""
    resolution_ns = time.get_clock_info("monotonic").resolution * 1e9
    late_us = sorted(_oversleep_us(200) for _ in range(21))[10]
    value = f"{resolution_ns:g} ns; a sleep of 200 µs ends {late_us:.0f} µs late"
    if resolution_ns <= 1000:
        return Finding("ok", "clock", value)
    return Finding("note", "clock", value, "latencies will be as coarse as this")


def _oversleep_us(asked_us: int) -> float:
    start = time.monotonic_ns()
    time.sleep(asked_us / 1e6)
    return (time.monotonic_ns() - start) / 1000 - asked_us


def loopback_port() -> Finding:
    """Whether a TCP port on loopback can be had."""
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
    except OSError as error:
        cure = "bring the loopback interface up"
        return Finding("missing", "loopback", str(error.strerror), cure)
    return Finding("ok", "loopback", f"port {port} could be bound")
