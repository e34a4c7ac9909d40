"""What a card says of a network's graph: ports, states, sizes, scales."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from streamproc.card import NetworkTable, PortRow, ScalesTable, StateRow
from streamproc.models.export import Trained, input_names
from streamproc.models.network import first_states, state_names
from streamproc.schema import build, plain


def tables(
    trained: Trained,
    state_units: Sequence[str] = (),
    observation_units: Sequence[str] = (),
) -> dict[str, Any]:
    """The fields of a TrackerCard that follow from the network itself."""
    config, n, m = trained.config, trained.n, trained.m
    x, y = tuple(state_units), tuple(observation_units)
    rows = {
        "observation_step": PortRow(name="observation_step", shape=(m,), unit=y),
        "innovation": PortRow(name="innovation", shape=(m,), unit=y),
        "evolution_step": PortRow(name="evolution_step", shape=(n,), unit=x),
        "update_step": PortRow(name="update_step", shape=(n,), unit=x),
        "seen": PortRow(name="seen", shape=(m,)),
        "prior": PortRow(name="prior", shape=(n,), unit=x),
    }
    outputs = [
        PortRow(name="update", shape=(n,), unit=x),
        PortRow(name="gain", shape=(n, m)),
        PortRow(name="P", shape=(n, n)),
    ]
    states = []
    first = "zeros" if config.architecture == 1 else "identity"
    for name, values in zip(
        state_names(config), first_states(config, n, m, (1,)), strict=True
    ):
        size = values.shape[-1]
        rows[name] = PortRow(name=name, shape=(size,))
        outputs.append(PortRow(name=f"{name}_out", shape=(size,)))
        row = {
            "goes_in": name,
            "comes_out": f"{name}_out",
            "size": size,
            "first": first,
        }
        states.append(build(StateRow, row))
    return {
        "network": build(NetworkTable, plain(config)),
        "scales": ScalesTable(
            **{k: _floats(v) for k, v in trained.scales._asdict().items()}
        ),
        "inputs": tuple(rows[name] for name in input_names(config)),
        "outputs": tuple(outputs),
        "states": tuple(states),
    }


def _floats(values: Tensor) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
