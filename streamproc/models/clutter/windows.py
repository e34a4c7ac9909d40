"""Windows as the network wants them: in units of the noise, with a first basis."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from streamproc.device import kernel
from streamproc.frame import Array

NOISE_TILE = 16  # px; of the local noise scale


class Windows(NamedTuple):
    """A batch.

    image: (B, T, 2, Z, X) in units of the noise.  scale: (B, 1, 1, Z, X), the noise's
    standard deviation.  basis: (B, T, r) c8.
    """

    image: Tensor
    scale: Tensor
    basis: Tensor


def windows(images: Array, rank: int) -> Windows:
    """Of (B, T, Z, X) c8, as the node prepares a cold window."""
    batch, frames, rows, columns = images.shape
    flat = np.ascontiguousarray(images.reshape(batch, frames, -1), np.complex64)
    basis = np.zeros((batch, frames, rank), np.complex64)
    kernel("subspace", "cpu")(flat, basis, 0, np.empty((batch, rank), np.float32))
    low = np.empty_like(flat)
    kernel("project", "cpu")(flat, basis, 0, low)
    scale = np.empty((batch, rows, columns), np.float32)
    rest = (flat - low).reshape(images.shape)
    kernel("noise_scale", "cpu")(rest, NOISE_TILE, scale)
    image = planes(images / np.where(scale > 0, scale, 1)[:, None])
    return Windows(
        image, torch.from_numpy(scale)[:, None, None], torch.from_numpy(basis)
    )


def planes(images: Array) -> Tensor:
    """(..., Z, X) c8 as (..., 2, Z, X) f4."""
    parts = (images.real, images.imag)
    return torch.from_numpy(np.stack(parts, -3).astype(np.float32))
