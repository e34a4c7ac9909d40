"""A systemd unit for a graph: watched, bounded, and shut in.

What a graph needs is read off its nodes, and nothing else is granted: no network where
frames travel by ipc alone, loopback where nodes listen there, listed addresses where
it has keys. [systemd.exec(5), systemd.resource-control(5)]
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from streamproc.graph import Graph

Profile = Literal["jit", "strict"]
Reach = Literal["none", "loopback", "beyond"]

# Kinds that run where no memory may be both writable and executable: nothing in them
# is compiled while it runs. tests/security runs every one of them so.
PLAIN_KINDS = frozenset(
    {
        *("console", "file.sink", "file.source", "identity", "score"),
        *("tcp.source", "udp.source", "zmq.sink", "zmq.source"),
    }
)
SOCKET_KINDS = ("gnuradio.", "lsl.", "tcp.", "udp.", "zmq.")
WORKER_MIB, BASE_MIB = 320, 256  # a worker with ONNX Runtime and Numba; the supervisor
USER = re.compile(r"[a-z][a-z0-9_-]{0,30}")  # what useradd and systemd both take
WATCHDOG_S, STOP_S, START_S = 30, 15, 180


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a unit is to grant. allow: networks, where there are keys."""

    program: str
    profile: Profile
    reach: Reach
    keys: bool
    memory_mib: int
    allow: tuple[str, ...] = ()
    durable: bool = False


def profile_of(graph: Graph) -> Profile:
    """strict if every node is known to compile nothing, else jit."""
    plain = all(
        node.kind in PLAIN_KINDS and not node.spec.options.fallback
        for node in graph.nodes.values()
    )
    return "strict" if plain else "jit"


def has_keys(graph: Graph) -> bool:
    """Whether the graph, or one of its nodes, speaks beyond this machine."""
    configs = [node.spec.config for node in graph.nodes.values()]
    return bool(graph.keys or any(getattr(one, "keys", "") for one in configs))


def reach_of(graph: Graph) -> Reach:
    """How far its sockets reach. Kinds of one's own may open some."""
    if has_keys(graph):
        return "beyond"
    for node in graph.nodes.values():
        sockets = node.kind.startswith(SOCKET_KINDS) or ":" in node.kind
        if sockets or node.spec.options.host:
            return "loopback"
    return "none"


def memory_mib(graph: Graph) -> int:
    """Room for its workers and one spare."""
    return BASE_MIB + WORKER_MIB * (len(graph.workers) + 1)


def records(graph: Graph) -> bool:
    """Whether it writes a file that it would not write over: the next start would find
    it there and be refused, were there no state to go on from.
    """
    return any(
        getattr(node.spec.config, "path", "") and not node.spec.config.overwrite
        for node in graph.nodes.values()
        if hasattr(node.spec.config, "overwrite")
    )


def unit_name(graph: Graph) -> str:
    """Of its unit, its folders and its files."""
    return f"streamproc-{graph.name}"


def user_name(name: str) -> str:
    """Of the user of a unit with keys, which a passing user could not keep.

    A user for each graph, or one could read the keys of another.
    """
    if USER.fullmatch(name):
        return name
    return f"streamproc-{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def unit_text(graph: Graph, wanted: Wanted) -> str:
    """The whole unit file."""
    name = unit_name(graph)
    lines = [
        *_comment(graph, wanted),
        "[Unit]",
        f"Description=streamproc graph {graph.name}",
        "After=network-online.target"
        if wanted.reach == "beyond"
        else "After=network.target",
        *(["Wants=network-online.target"] if wanted.reach == "beyond" else []),
        "StartLimitIntervalSec=60",
        "StartLimitBurst=5",
        "",
        "[Service]",
        *_service(name, wanted),
        "",
        "# As much memory as it may have; a worker that the kernel ends is replaced.",
        f"MemoryMax={wanted.memory_mib}M",
        "MemorySwapMax=0",
        "OOMPolicy=continue",
        f"TasksMax={64 + 32 * len(graph.workers)}",
        "LimitNOFILE=65536",
        "LimitCORE=0",
        "",
        *_identity(name, wanted),
        "",
        *_network(wanted),
        "",
        *_walls(wanted),
        "",
        "[Install]",
        "WantedBy=multi-user.target",
    ]
    return "\n".join(lines) + "\n"


def _comment(graph: Graph, wanted: Wanted) -> Iterator[str]:
    name = unit_name(graph)
    home = f"/etc/streamproc/{graph.name}"
    yield f"# By `streamproc deploy systemd`; profile {wanted.profile}. To install it:"
    yield f"#   sudo install -D -m 644 GRAPH.toml {home}/graph.toml"
    yield f"#   sudo cp {name}.service /etc/systemd/system/"
    if wanted.keys:
        user = user_name(name)
        yield f"#   sudo useradd --system --no-create-home {user}"
        yield f"#   sudo install -d -m 700 -o {user} {home}/keys"
        yield f"#   sudo -u {user} streamproc keys make {home}/keys"
    yield f"#   sudo systemctl enable --now {name}"
    yield "# Models and modules of your own go beside graph.toml, which the service can"
    yield f"# read and not change; what it writes is in /var/lib/{name}/data."
    yield ""


def _service(name: str, wanted: Wanted) -> Iterator[str]:
    state = " --state %S/%N/state" if wanted.durable else ""
    yield "Type=notify"
    yield "NotifyAccess=main"
    yield f"WorkingDirectory=/etc/streamproc/{name.removeprefix('streamproc-')}"
    yield f"ExecStart={wanted.program} run graph.toml --root %S/%N/data{state}"
    yield "# One SIGTERM, to the supervisor, which drains its workers."
    yield "KillMode=mixed"
    yield f"TimeoutStartSec={START_S}"
    yield f"TimeoutStopSec={STOP_S}"
    yield "# Stroked only while all workers get on."
    yield f"WatchdogSec={WATCHDOG_S}"
    yield "Restart=on-failure"
    yield "RestartSec=1"
    yield "# 2: refused before start; trying again would not help."
    yield "RestartPreventExitStatus=2"
    yield "# 130: stopped while it still loaded; that is no failure."
    yield "SuccessExitStatus=130"


def _identity(name: str, wanted: Wanted) -> Iterator[str]:
    if wanted.keys:
        yield f"User={user_name(name)}"
    else:
        yield "DynamicUser=yes"
    yield "StateDirectory=%N %N/data"
    yield "StateDirectoryMode=0700"
    yield "RuntimeDirectory=%N"
    yield "RuntimeDirectoryMode=0700"
    yield "# Checkpoints of a run without --durable: in memory, gone with the service."
    yield "Environment=XDG_RUNTIME_DIR=%t/%N"
    yield "Environment=OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1"
    yield "Environment=PYTHONNOUSERSITE=1 PYTHONDONTWRITEBYTECODE=1"
    if wanted.profile == "jit":
        yield "# Numba's cache is pickled code: in a folder of this service alone."
        yield "CacheDirectory=%N"
        yield "CacheDirectoryMode=0700"
        yield "Environment=NUMBA_CACHE_DIR=%C/%N"


def _network(wanted: Wanted) -> Iterator[str]:
    if wanted.reach == "none":
        yield "PrivateNetwork=yes"
        yield "RestrictAddressFamilies=AF_UNIX"
    else:
        yield "# libzmq asks by netlink whether a host is an interface, or aborts."
        yield "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK"
    yield "IPAddressDeny=any"
    if wanted.reach == "loopback":
        yield "IPAddressAllow=localhost"
    elif wanted.reach == "beyond":
        yield f"IPAddressAllow=localhost {' '.join(wanted.allow)}".rstrip()


def _walls(wanted: Wanted) -> Iterator[str]:
    yield "CapabilityBoundingSet="
    yield "NoNewPrivileges=yes"
    yield "UMask=0077"
    for key in (
        *("ProtectHome", "PrivateTmp", "PrivateDevices", "PrivateUsers"),
        *("PrivateMounts", "ProtectClock", "ProtectHostname", "ProtectKernelLogs"),
        *("ProtectKernelModules", "ProtectKernelTunables", "ProtectControlGroups"),
        *("LockPersonality", "RestrictRealtime", "RestrictSUIDSGID"),
        *("RestrictNamespaces", "RemoveIPC"),
    ):
        yield f"{key}=yes"
    yield "ProtectSystem=strict"
    yield "ProtectProc=invisible"
    yield "ProcSubset=pid"
    yield "DevicePolicy=closed"
    yield "KeyringMode=private"
    yield "SystemCallArchitectures=native"
    yield "SystemCallFilter=@system-service"
    yield "SystemCallFilter=~@privileged @resources"
    yield "# libzmq sets the scheduling of its threads to what it is, or aborts."
    yield "SystemCallFilter=sched_setscheduler"
    yield "SystemCallErrorNumber=EPERM"
    if wanted.profile == "strict":
        yield "MemoryDenyWriteExecute=yes"
    else:
        yield "# Numba compiles while it runs: memory that is written is then executed."
        yield "MemoryDenyWriteExecute=no"


def as_json(graph: Graph, wanted: Wanted, path: str) -> dict[str, Any]:
    """What was granted, for `--json`."""
    return {
        "unit": path,
        "name": unit_name(graph),
        "profile": wanted.profile,
        "reach": wanted.reach,
        "allow": list(wanted.allow),
        "keys": wanted.keys,
        "memory_mib": wanted.memory_mib,
        "durable": wanted.durable,
    }
