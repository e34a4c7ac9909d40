"""Compile a .cu to machine code with NVRTC alone: no GPU, no driver, no CuPy."""

import ctypes
import functools
import re
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from streamproc_kernels.errors import DeviceMissing, KernelError

_WHEELS = ("nvidia-cuda-nvrtc", "nvidia-cuda-nvrtc-cu12")
_ENTRY = re.compile(r"Compiling entry function '(\w+)'")
_SPILLS = re.compile(r"(\d+) bytes spill stores, (\d+) bytes spill loads")
_REGISTERS = re.compile(r"Used (\d+) registers")


@dataclass(frozen=True, slots=True)
class Usage:
    """What ptxas gave one kernel; bytes per thread, and registers per thread."""

    registers: int
    spill_stores: int
    spill_loads: int


@dataclass(frozen=True, slots=True)
class Compiled:
    """Machine code for one architecture, the ptxas log, and usage by kernel."""

    cubin: bytes
    log: str
    usage: dict[str, Usage]


def compile(source: str, arch: str) -> Compiled:
    """Compile CUDA C++ without includes for an architecture such as "sm_80".

    DeviceMissing: no libnvrtc.  KernelError: does not compile; the text is the log.
    """
    lib = _library()
    program = ctypes.c_void_p()
    _check(
        lib.nvrtcCreateProgram(
            ctypes.byref(program), source.encode(), b"kernel.cu", 0, None, None
        ),
        "create",
    )
    try:
        options = [f"--gpu-architecture={arch}", "--ptxas-options=-v", "-std=c++17"]
        argv = (ctypes.c_char_p * len(options))(*(o.encode() for o in options))
        status = lib.nvrtcCompileProgram(program, len(options), argv)
        log = _text(lib, program, "ProgramLog").decode(errors="replace").rstrip("\0")
        _check(status, f"compile for {arch}:\n{log}")
        return Compiled(_text(lib, program, "CUBIN"), log, _usage(log))
    finally:
        lib.nvrtcDestroyProgram(ctypes.byref(program))


def _usage(log: str) -> dict[str, Usage]:
    usage = {}
    for part in re.split(r"(?=Compiling entry function)", log):
        entry, spills = _ENTRY.search(part), _SPILLS.search(part)
        registers = _REGISTERS.search(part)
        if entry and spills and registers:
            usage[entry[1]] = Usage(int(registers[1]), int(spills[1]), int(spills[2]))
    return usage


def _text(lib: ctypes.CDLL, program: ctypes.c_void_p, what: str) -> bytes:
    size = ctypes.c_size_t()
    _check(getattr(lib, f"nvrtcGet{what}Size")(program, ctypes.byref(size)), what)
    buffer = ctypes.create_string_buffer(size.value)
    _check(getattr(lib, f"nvrtcGet{what}")(program, buffer), what)
    return buffer.raw


def _check(status: int, doing: str) -> None:
    if status:
        raise KernelError(f"nvrtc: error {status} at {doing}")


@functools.cache
def _library() -> ctypes.CDLL:
    for path in [*_in_wheels(), "libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"]:
        try:
            return ctypes.CDLL(str(path))
        except OSError:
            continue
    raise DeviceMissing("no libnvrtc: pip install nvidia-cuda-nvrtc")


def _in_wheels() -> list[Path]:
    found: list[Path] = []
    for wheel in _WHEELS:
        try:
            files = metadata.files(wheel) or []
        except metadata.PackageNotFoundError:
            continue
        found += [
            Path(str(file.locate()))
            for file in files
            if re.fullmatch(r"libnvrtc\.so\.\d+", file.name)
        ]
    return found
