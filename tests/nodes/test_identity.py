"""The identity node."""

from __future__ import annotations

import numpy as np
import pytest

from streamproc.nodes.identity import Identity, IdentityConfig
from streamproc.testing import check_node, frames_of, run_node


def test_identity_keeps_the_contract() -> None:
    frames = frames_of(np.arange(12.0).reshape(4, 3))
    check_node(lambda: Identity(IdentityConfig()), {"frame": frames})


def test_the_very_arrays_come_out() -> None:
    frames = frames_of(np.arange(12.0).reshape(4, 3))
    out = run_node(Identity(IdentityConfig()), {"frame": frames})["out"]
    assert all(
        given.data is taken.data for given, taken in zip(out, frames, strict=True)
    )


def test_inputs_that_were_forgotten_are_asked_for() -> None:
    def make() -> Identity:
        return Identity(IdentityConfig())

    with pytest.raises(TypeError, match=r"frames for frame, got no port; pass inputs="):
        check_node(make)
    with pytest.raises(ValueError, match="frames for frame, got none"):
        check_node(make, {"frame": []})
