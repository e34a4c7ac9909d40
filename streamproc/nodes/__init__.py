"""The node kinds that come with streamproc, and how plug-ins add theirs."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from streamproc.errors import GraphError, nearest, sought
from streamproc.node import Node

__all__ = ["ENTRY_POINTS", "KINDS", "kind", "kinds"]

# kind -> "module:Class"; a module is imported only when its kind is used.
KINDS: dict[str, str] = {
    "scene.lorenz": "streamproc.nodes.scene:LorenzScene",
    "scene.isi": "streamproc.nodes.scene:IsiScene",
    "scene.ultrasound": "streamproc.nodes.scene:UltrasoundScene",
    "scene.ultrasound_rank1": "streamproc.nodes.scene:UltrasoundRank1Scene",
    "scene.statespace": "streamproc.nodes.scene:StateSpaceScene",
    "kf": "streamproc.nodes.kf:Kf",
    "ekf": "streamproc.nodes.ekf:Ekf",
    "ukf": "streamproc.nodes.ukf:Ukf",
    "particle": "streamproc.nodes.particle:Particle",
    "imm": "streamproc.nodes.imm:Imm",
    "kalmannet": "streamproc.nodes.kalmannet:KalmanNet",
    "fuse": "streamproc.nodes.fuse:Fuse",
    "tracks": "streamproc.nodes.tracks:Tracks",
    "local_metres": "streamproc.nodes.local_metres:LocalMetres",
    "orientation": "streamproc.nodes.orientation:Orientation",
    "orientation.mahony": "streamproc.nodes.orientation:Mahony",
    "bcjr": "streamproc.nodes.bcjr:Bcjr",
    "factor_graph": "streamproc.nodes.factor_graph:FactorGraph",
    "factor_graph.siso": "streamproc.nodes.factor_graph:Siso",
    "equaliser": "streamproc.nodes.equaliser:Equaliser",
    "high_pass": "streamproc.nodes.high_pass:HighPass",
    "svd_filter": "streamproc.nodes.svd_filter:SvdFilter",
    "incremental_svd": "streamproc.nodes.incremental_svd:IncrementalSvd",
    "rpca": "streamproc.nodes.rpca:Rpca",
    "corona": "streamproc.nodes.corona:Corona",
    "power_doppler": "streamproc.nodes.power_doppler:PowerDoppler",
    "localise": "streamproc.nodes.localise:Localise",
    "localise.sparse": "streamproc.nodes.localise:SparseLocalise",
    "vessel_map": "streamproc.nodes.vessel_map:VesselMap",
    "score": "streamproc.nodes.score:Score",
    "compare": "streamproc.nodes.compare:Compare",
    "identity": "streamproc.nodes.identity:Identity",
    "zmq.source": "streamproc.nodes.zmq_source:ZmqSource",
    "zmq.sink": "streamproc.nodes.zmq_sink:ZmqSink",
    "lsl.source": "streamproc.nodes.lsl_source:LslSource",
    "lsl.sink": "streamproc.nodes.lsl_sink:LslSink",
    "gnuradio.source": "streamproc.nodes.gnuradio_source:GnuradioSource",
    "gnuradio.sink": "streamproc.nodes.gnuradio_sink:GnuradioSink",
    "udp.source": "streamproc.nodes.udp_source:UdpSource",
    "tcp.source": "streamproc.nodes.tcp_source:TcpSource",
    "file.source": "streamproc.nodes.file_source:FileSource",
    "file.sink": "streamproc.nodes.file_sink:FileSink",
    "console": "streamproc.nodes.console:Console",
}
ENTRY_POINTS = "streamproc.nodes"


def kinds() -> dict[str, str]:
    """Every kind there is, plug-ins included. Built-in names cannot be replaced."""
    from importlib.metadata import entry_points  # slow to load, and seldom needed

    found = {entry.name: entry.value for entry in entry_points(group=ENTRY_POINTS)}
    return {**found, **KINDS}


def kind(name: str) -> type[Node[Any]]:
    """The class of a node kind, or of `module:Class` for a node of one's own.

    Modules are found as Python finds them, the current folder included. GraphError
    with the nearest name if there is none, or with why it cannot be imported.
    """
    where = name if ":" in name else KINDS.get(name) or kinds().get(name)
    if where is None:
        raise GraphError(f"no node kind {name!r}{nearest(name, kinds())}")
    module, _, attribute = where.partition(":")
    if ":" in name and "" not in sys.path:
        sys.path.append("")
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except ImportError as error:
        place = sought(f"{module}.py") if ":" in name else ""
        raise GraphError(f"kind {name!r} cannot be imported: {error}{place}") from error
    if not (isinstance(found, type) and issubclass(found, Node)):
        raise GraphError(f"kind {name!r}: {where} is not a Node class")
    return found
