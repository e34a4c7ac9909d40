"""Runs a command under the walls of a systemd unit, where no systemd runs.

    python -m tests.security.shut_in streamproc-demo.service COMMAND ...

What it puts up of a unit: SystemCallFilter (as a seccomp filter, of the sets that
`systemd-analyze syscall-filter` prints), MemoryDenyWriteExecute, PrivateNetwork and
RestrictAddressFamilies, ProtectSystem=strict, ProcSubset, NoNewPrivileges, an empty
CapabilityBoundingSet, LimitNOFILE, TasksMax is left out. Needs root, Linux 6.3 for
MemoryDenyWriteExecute, and x86-64.
"""

from __future__ import annotations

import ctypes
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

HEADER = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
NO_NEW_PRIVS, SECCOMP, CAPBSET_DROP, MDWE = 38, 22, 24, 65
FILTER, LAST_CAP = 2, 40
ALLOW, EPERM, EAFNOSUPPORT = 0x7FFF0000, 0x00050000 | 1, 0x00050000 | 97
FAMILIES = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10, "AF_NETLINK": 16}
_LD, _JEQ, _RET = 0x20, 0x15, 0x06
NEWNS, NEWNET = 0x00020000, 0x40000000
RDONLY, REMOUNT, BIND, REC, PRIVATE = 1, 32, 4096, 16384, 1 << 18

libc = ctypes.CDLL(None, use_errno=True)


def settings(unit: Path) -> dict[str, list[str]]:
    """Values of a unit by key, in order."""
    found: dict[str, list[str]] = {}
    for line in unit.read_text().splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


def numbers() -> dict[str, int]:
    """System calls by name."""
    rows = re.findall(r"#define __NR_(\w+) (\d+)", HEADER.read_text())
    return {name: int(number) for name, number in rows}


def members(name: str) -> set[str]:
    """The system calls of one of systemd's sets, those of its sets included."""
    if not name.startswith("@"):
        return {name}
    listed = subprocess.run(
        ["systemd-analyze", "syscall-filter", "--no-pager", name],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [line.strip() for line in listed.stdout.splitlines()[1:]]
    inner = [row for row in rows if row and not row.startswith("#")]
    return set().union(*map(members, inner))


def allowed(filters: list[str]) -> set[str]:
    """The system calls that SystemCallFilter= lines leave, as systemd reads them."""
    found: set[str] = members("@default")
    for line in filters:
        names: set[str] = set().union(*map(members, line.removeprefix("~").split()))
        found = found - names if line.startswith("~") else found | names
    return found


def program(calls: set[str], families: set[int]) -> bytes:
    """A filter that lets these calls through, and sockets of these families."""
    known = numbers()
    ours = sorted(known[name] for name in calls if name in known)

    def step(code: int, yes: int, no: int, value: int) -> bytes:
        return struct.pack("<HBBI", code, yes, no, value)

    steps = [step(_LD, 0, 0, 0), step(_JEQ, 0, 3 + len(families), known["socket"])]
    steps.append(step(_LD, 0, 0, 16))  # its first argument
    for left, family in enumerate(sorted(families)):
        steps.append(step(_JEQ, len(families) - left, 0, family))
    steps += [step(_RET, 0, 0, EAFNOSUPPORT), step(_RET, 0, 0, ALLOW)]
    steps[1] = step(_JEQ, 0, len(steps) - 2, known["socket"])
    for number in ours:
        steps += [step(_JEQ, 0, 1, number), step(_RET, 0, 0, ALLOW)]
    steps.append(step(_RET, 0, 0, EPERM))
    return b"".join(steps)


def checked(result: int, what: str) -> None:
    if result:
        sys.exit(f"{what}: {os.strerror(ctypes.get_errno())}")


def mount(kind: str, target: str, flags: int, data: str = "") -> None:
    source = kind.encode()
    made = libc.mount(source, target.encode(), source, flags, data.encode() or None)
    checked(made, f"mount {target}")


def put_up_walls(found: dict[str, list[str]], writable: list[str]) -> None:
    """Namespaces and mounts, as root."""
    network = NEWNET if found.get("PrivateNetwork") == ["yes"] else 0
    checked(libc.unshare(NEWNS | network), "unshare")
    mount("none", "/", REC | PRIVATE)
    if found.get("ProcSubset") == ["pid"]:
        mount("proc", "/proc", 0, "subset=pid,hidepid=invisible")
    if found.get("ProtectSystem") == ["strict"]:
        for folder in writable:
            checked(
                libc.mount(folder.encode(), folder.encode(), None, BIND | REC, None),
                folder,
            )
        mount("none", "/", REMOUNT | BIND | RDONLY)
    if network:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def lock(found: dict[str, list[str]]) -> None:
    """No way back: capabilities, memory, system calls."""
    calls = allowed(found["SystemCallFilter"])
    words = " ".join(found["RestrictAddressFamilies"]).split()
    code = program(calls, {FAMILIES[word] for word in words})
    for capability in range(LAST_CAP + 1):
        libc.prctl(CAPBSET_DROP, capability, 0, 0, 0)
    checked(libc.prctl(NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    if found["MemoryDenyWriteExecute"] == ["yes"]:
        checked(libc.prctl(MDWE, 1, 0, 0, 0), "MemoryDenyWriteExecute")
    kept = ctypes.create_string_buffer(code)
    filter_ = struct.pack("<HxxxxxxQ", len(code) // 8, ctypes.addressof(kept))
    checked(libc.prctl(SECCOMP, FILTER, filter_, 0, 0), "seccomp")


def main() -> None:
    unit, writable, *command = sys.argv[1:]
    found = settings(Path(unit))
    put_up_walls(found, [one for one in writable.split(":") if one])
    lock(found)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
