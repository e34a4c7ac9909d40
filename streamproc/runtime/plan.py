"""Plans: what each worker of a checked graph has to know, as plain JSON values."""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from streamproc import keys, schema
from streamproc.addresses import bracketed, is_loopback, numeric
from streamproc.errors import PlacementError
from streamproc.graph import Edge, Graph, PlacedNode
from streamproc.node import ports
from streamproc.runtime import mark
from streamproc.runtime.ports import free_port
from streamproc.runtime.said import Said
from streamproc.runtime.state_file import open_own

Plan = dict[str, Any]

MARK = "graph"  # in a state folder: the fingerprint of what it is the state of
LOCK = "lock"  # held by the run that has the folder
FINISHED = "finished"  # marks a state folder whose run ended by itself
# What becomes of failures and late frames may be changed from one life to the next: a
# checkpoint knows of it no more than which kind has taken over, see Ward.
_CHANGEABLE = (
    *("on_error", "fallback", "hang_s", "quarantine_mib", "keep_refused"),
    *("deadline_us", "on_late"),
)
_BASE_CHARS = 60
LEAVE_S = 5.0  # for workers whose supervisor was killed
_IPC_PATH_BYTES = 100  # sun_path holds 108, less what libzmq adds


class Place(NamedTuple):
    """Where a worker listens. locked: beyond this machine, so by keys only."""

    endpoint: str
    locked: bool

    def reached(self) -> Plan:
        """The same for who connects: from here, everywhere is reached on loopback."""
        endpoint = self.endpoint.replace("//0.0.0.0:", "//127.0.0.1:")
        endpoint = endpoint.replace("//[::]:", "//[::1]:")
        return {"endpoint": endpoint, "locked": self.locked}


def make_plans(
    graph: Graph, folder: Path, frames: int | None = None
) -> dict[str, Plan]:
    """One plan per worker; sockets, checkpoints and logs go into `folder`.

    frames: how many each source may give, if it does not end before.
    Raises PlacementError when the folder's path is too long for local sockets, or for
    keys that are not to be had. No secret key is in a plan, only whose pair to use.
    """
    hosts = addresses(graph)
    known = own_key(graph, hosts)
    tightest = _tightest(graph)
    taken: set[int] = set()
    places = {
        worker: Place(
            _endpoint(hosts[worker], index, folder, taken), _beyond(hosts[worker])
        )
        for index, worker in enumerate(graph.workers)
    }
    return {
        worker: {
            **_plan(graph, worker, places, folder),
            "frames": frames,
            "keys": known,
            "tightest": tightest[worker],
        }
        for worker in graph.workers
    }


def _tightest(graph: Graph) -> dict[str, int]:
    """The least depth of the edges whose acks wait for a worker.

    Those into it, and those before it: what waits there waits for this worker, too.
    """
    outer = [edge for edge in graph.edges if not edge.internal]
    roomiest = max((edge.options.depth for edge in outer), default=64)
    found = dict.fromkeys(graph.workers, roomiest)
    for _ in graph.workers:  # workers may feed each other, so until nothing changes
        for edge in outer:
            source, target = (graph.nodes[n].worker for n in (edge.source, edge.target))
            depths = [found[target], edge.options.depth]
            if edge.options.on_full == "block":  # other edges hold back nobody
                depths.append(found[source])
            found[target] = min(depths)
    return found


def addresses(graph: Graph) -> dict[str, str]:
    """Where every worker listens, names resolved once and for all; empty: over ipc.

    Raises PlacementError for a name that means nothing.
    """
    hosts = {w: graph.nodes[n[0]].spec.options.host for w, n in graph.workers.items()}
    return {worker: numeric(host) if host else "" for worker, host in hosts.items()}


def own_key(graph: Graph, hosts: dict[str, str]) -> Plan | None:
    """The folder and the public key that edges beyond this machine use, if any do.

    hosts: addresses of the workers. PlacementError when keys are not to be had.
    """
    far = [address for address in hosts.values() if _beyond(address)]
    if not far:
        return None
    if not graph.keys:
        raise PlacementError(
            f"host {far[0]} is beyond this machine, which needs keys; add keys = "
            '"FOLDER" to [graph], made by `streamproc keys make FOLDER`'
        )
    folder = Path(graph.keys).absolute()
    return {"folder": str(folder), "public": keys.show(folder).public}


def _beyond(address: str) -> bool:
    return bool(address) and not is_loopback(address)


def _endpoint(address: str, index: int, folder: Path, taken: set[int]) -> str:
    if address:
        return f"tcp://{bracketed(address)}:{free_port(address, taken)}"
    path = str(folder / f"{index}.sock")
    if len(path.encode()) > _IPC_PATH_BYTES:
        raise PlacementError(
            f"{path} is too long for a local socket ({_IPC_PATH_BYTES} bytes); "
            "choose a shorter --state folder"
        )
    return f"ipc://{path}"


def _plan(graph: Graph, worker: str, places: dict[str, Place], folder: Path) -> Plan:
    mine = set(graph.workers[worker])
    return {
        "graph": graph.name,
        "worker": worker,
        **places[worker]._asdict(),
        "checkpoint": str(folder / f"{worker}.checkpoint"),
        "logs": str(folder),
        "finished": [],
        "nodes": [_node(graph.nodes[name]) for name in graph.workers[worker]],
        "internal": [
            _edge(graph, e) for e in graph.edges if e.internal and e.source in mine
        ],
        "inputs": [
            {**_edge(graph, e), **places[graph.nodes[e.source].worker].reached()}
            for e in graph.edges
            if not e.internal and e.target in mine
        ],
        "outputs": [
            {**_edge(graph, e), "target_worker": graph.nodes[e.target].worker}
            for e in graph.edges
            if not e.internal and e.source in mine
        ],
    }


def _node(node: PlacedNode) -> Plan:
    return {
        "name": node.name,
        "kind": node.kind,
        "config": schema.plain(node.spec.config),
        "options": asdict(node.spec.options),
        "inputs": {p: e.signature.to_plain() for p, e in node.inputs.items()},
    }


def _edge(graph: Graph, edge: Edge) -> Plan:
    source, target = graph.nodes[edge.source], graph.nodes[edge.target]
    plan: Plan = {
        "edge": edge.id,
        "name": edge.name,
        "source": edge.source,
        "source_port": list(source.outputs).index(edge.source_port),
        "target": edge.target,
        "port": ports(type(target.node)).inputs.index(edge.target_port),
        "depth": edge.options.depth,
        "on_full": edge.options.on_full,
        "feedback": None,
    }
    if edge.options.feedback:
        plan["feedback"] = {
            "signature": edge.options.declared.to_plain(),
            "initial": edge.options.initial,
        }
    return plan


def fingerprint(graph: Graph) -> str:
    """What a state folder remembers, so that it is resumed by the same graph only."""
    return mark.fingerprint(_parts(graph))


def _parts(graph: Graph) -> mark.Parts:
    nodes = [_node(node) for node in graph.nodes.values()]
    for node in nodes:
        for key in _CHANGEABLE:
            del node["options"][key]
    return [nodes, [_edge(graph, edge) for edge in graph.edges], graph.workers]


def lock(
    folder: Path, say: Callable[[str, str], None] = lambda level, text: None
) -> int:
    """Keep a state folder to this run until the descriptor returned is closed.

    Where a run was killed, its workers have the folder for a moment longer, so that
    is waited for. Raises PlacementError when another run has it.
    """
    held = open_own(folder / LOCK)
    end = time.monotonic() + LEAVE_S
    said = False
    while not _locked(held):
        owner = os.pread(held, 64, 0).decode(errors="replace")
        if time.monotonic() > end or owner in ("", _birth(owner.partition(" ")[0])):
            os.close(held)
            raise PlacementError(f"{folder} is in use by another run")
        if not said:
            cause = "its run was killed; its workers are about to leave"
            say("info", Said("waiting", folder=folder, cause=cause))
            said = True
        time.sleep(0.05)
    os.ftruncate(held, 0)
    os.pwrite(held, _birth(str(os.getpid())).encode(), 0)
    return held


def _locked(held: int) -> bool:
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _birth(pid: str) -> str:
    """A process and when it began, which no other one has alike; just its number if
    there is none.
    """
    try:
        about = Path(f"/proc/{int(pid)}/stat").read_text()
    except (OSError, ValueError):
        return "nobody"
    return f"{pid} {about.rpartition(') ')[2].split()[19]}"


def run_base() -> str | None:
    """Where runs without a state folder live: in memory, if there is such a place.

    A checkpoint on a disk that is busy elsewhere can hold up a worker for seconds.
    """
    for folder in (os.environ.get("XDG_RUNTIME_DIR", ""), "/dev/shm"):
        if (
            folder
            and len(folder) < _BASE_CHARS
            and os.access(folder, os.W_OK | os.X_OK)
        ):
            return folder
    return None


def run_folder() -> Path:
    """A new folder for a run without a state folder; it goes with the run."""
    return Path(tempfile.mkdtemp(prefix="streamproc-", dir=run_base()))


def begun(state: Path | None) -> bool:
    """Whether a state folder is some run's, which a new run would go on with."""
    return state is not None and os.path.lexists(state / MARK)


def state_folder(graph: Graph, wanted: Path) -> Path:
    """A folder that somebody named, made if need be; from now on it is this graph's.

    Raises PlacementError for a folder that another graph left, or that others may
    write to.
    """
    try:
        wanted.mkdir(parents=True, exist_ok=True, mode=0o700)
        _require_own(wanted)
        resumed = begun(wanted)
        with open(open_own(wanted / MARK), "r+b") as file:
            if not resumed:
                mark.write(file, _parts(graph))
                return wanted
            ended = (wanted / FINISHED).exists()
            if not ended:
                mark.require_same(file, _parts(graph), wanted)
    except OSError as error:
        raise PlacementError(f"--state {wanted}: {error.strerror}") from error
    if ended:
        raise PlacementError(
            f"{wanted} holds a run that came to its end; remove the folder or name "
            "another --state"
        )
    return wanted


def _require_own(folder: Path) -> None:
    """PlacementError where others decide, or may, what is in a folder."""
    about = folder.lstat()
    wrong = ""
    if stat.S_ISLNK(about.st_mode):
        wrong = "a link; name the folder that it leads to"
    elif about.st_uid not in (os.geteuid(), 0):
        wrong = f"one of user {about.st_uid}; name another --state"
    elif about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        wrong = (
            f"mode {stat.S_IMODE(about.st_mode):o}; if all in it is yours, run "
            f"`chmod go-w {folder}`, or name another --state"
        )
    if wrong:
        raise PlacementError(
            f"--state {folder}: expected a folder that only its owner, this user or "
            f"root, can write to, got {wrong}"
        )
