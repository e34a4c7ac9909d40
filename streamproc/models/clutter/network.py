"""Unfolded robust PCA whose tissue gains rank from layer to layer.

A window is D = L + S + N: tissue L of low rank, bubbles S that are few, noise N. One
layer, with images in units of the noise:

    V  <- orth(X X^H V), X the frames of D - S, V of rank r_k
    R  <- D - V V^H (D - S)                   what is not tissue
    Y_j <- h_j * R                            real kernels, the same for all frames
    g_j <- gate(log|Y|, log|L|, log|S|)       between 0 and 1, by a small network
    S  <- sum_j g_j Y_j,  and `repeats` times more with the same gate

S from D - L and L from D - S is the Gauss-Seidel form of robust PCA. Ranks grow, for
a bubble that is taken for tissue by the first layer is never seen by the later ones.
Magnitudes alone decide and kernels are real, so a common phase or a conjugation of
the input is that of the output.
[Solomon et al., Deep Unfolded Robust PCA with Application to Clutter Suppression in
Ultrasound, IEEE Trans. Med. Imaging 39(4), 2020; the gates and growing ranks are ours]
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from streamproc.schema import Max, Min

FLOOR = 3e-2  # power, in units of the noise's, below which logarithms level off
CLOSED = -1.0  # where a gate begins, before its sigmoid
TINY = 1e-12


@dataclass(frozen=True, kw_only=True)
class LayerConfig(ABC):
    """One layer.

    filters: spatial kernels.
    taps: size of a kernel, odd.
    channels: of a gate's network, at half the resolution.
    pooled: whether it sees powers averaged over 2 x 2 pixels, which is quicker.
    deep: whether it has a middle convolution, which also sees the layer before.
    head: size of its last convolution.
    repeats: how often tissue and bubbles are taken again with the same gate.
    """

    filters: Annotated[int, Min(1), Max(4)] = 2
    taps: Annotated[int, Min(3), Max(9)] = 5
    channels: Annotated[int, Min(1)] = 16
    pooled: bool = True
    deep: bool = True
    head: Literal[1, 3] = 3
    repeats: Annotated[int, Min(0), Max(4)] = 2

    def __post_init__(self) -> None:
        if self.taps % 2 == 0:
            raise ValueError(f"taps: expected an odd number, got {self.taps}")

    @property
    @abstractmethod
    def around(self) -> int:
        """Other frames whose magnitudes a gate sees."""

    @property
    def features(self) -> int:
        """Planes that a gate sees."""
        return self.filters + self.around + 2


@dataclass(frozen=True, kw_only=True)
class NetworkConfig(LayerConfig):
    """Layers for whole windows.

    window: frames.
    ranks: of the tissue, layer by layer, none smaller than the one before.
    context: frames before and after one whose magnitudes its gate sees.
    """

    window: Annotated[int, Min(4), Max(64)] = 20
    ranks: tuple[Annotated[int, Min(1)], ...] = (2, 3, 4)
    context: Annotated[int, Min(0), Max(4)] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.ranks or list(self.ranks) != sorted(self.ranks):
            raise ValueError(f"ranks: expected them to grow, got {self.ranks}")
        if self.ranks[-1] >= self.window:
            raise ValueError(f"ranks: expected less than window = {self.window}")

    @property
    def rank(self) -> int:
        """Of the deepest layer."""
        return self.ranks[-1]

    @property
    def layers(self) -> int:
        return len(self.ranks)

    @property
    def offsets(self) -> tuple[int, ...]:
        """Frames that a gate sees beside its own."""
        reach = range(-self.context, self.context + 1)
        return tuple(k for k in reach if k != 0)

    @property
    def around(self) -> int:
        return 2 * self.context


@dataclass(frozen=True, kw_only=True)
class LiveConfig(LayerConfig):
    """Layers for the newest frame of a stream, whose tissue is followed.

    layers: how many.
    recent: frames whose magnitudes gates see, the newest included.
    """

    layers: Annotated[int, Min(1), Max(8)] = 2
    recent: Annotated[int, Min(1), Max(16)] = 6
    repeats: Annotated[int, Min(0), Max(4)] = 1

    @property
    def around(self) -> int:
        return self.recent - 1


class Kernels(nn.Module):
    """Separable real kernels, applied alike to both parts of every frame."""

    def __init__(self, config: LayerConfig) -> None:
        super().__init__()
        self.taps = config.taps
        at = torch.arange(config.taps) - config.taps // 2
        # from the width of one pixel to that of a bubble
        width = 0.55 + 0.35 * torch.arange(config.filters)[:, None]
        z, x = (torch.exp(-(at**2) / (2 * w**2)) for w in (width, 1.6 * width))
        self.z = nn.Parameter(z / z.sum(1, keepdim=True))
        self.x = nn.Parameter(x / x.sum(1, keepdim=True))

    def forward(self, images: Tensor) -> Tensor:
        """(B, T, 2, Z, X) to (B, T, J, 2, Z, X), zeros beyond the edge."""
        batch, frames, _, rows, columns = images.shape
        # as products with banded matrices: far quicker here than a convolution
        down, across = self._banded(self.z, rows), self._banded(self.x, columns)
        count = len(self.z)
        y = images.reshape(-1, columns) @ across.permute(2, 0, 1).flatten(1)
        y = y.reshape(-1, rows, count, columns).transpose(1, 2)
        y = (down @ y).reshape(batch, frames, 2, count, rows, columns)
        return y.transpose(2, 3)

    def _banded(self, kernel: Tensor, size: int) -> Tensor:
        at = torch.arange(size)
        lag = at[None] - at[:, None] + self.taps // 2
        inside = (lag >= 0) & (lag < self.taps)
        return kernel[:, lag.clamp(0, self.taps - 1)] * inside


Tissue = Callable[[Tensor], Tensor]  # of images (B, T, 2, Z, X) without bubbles
Around = Callable[[Tensor], list[Tensor]]  # other frames' levels, given one's own


class Layer(nn.Module):
    """One layer; `first` has none before it to learn from."""

    def __init__(self, config: LayerConfig, first: bool) -> None:
        super().__init__()
        self.config = config
        channels = config.channels
        self.kernels = Kernels(config)
        self.gain = nn.Parameter(torch.full((config.filters,), 1 / config.filters**0.5))
        self.step = nn.Parameter(torch.ones(config.repeats))
        if config.pooled:
            self.encode = nn.Conv2d(config.features, channels, 3, padding=1)
        else:
            self.encode = nn.Conv2d(config.features, channels, 6, stride=2)
        seen = channels if first else 2 * channels
        self.middle = nn.Conv2d(seen, channels, 3, padding=1) if config.deep else None
        reach = config.head // 2
        self.head = nn.Conv2d(channels, 4 * config.filters, config.head, padding=reach)
        nn.init.constant_(self.head.bias, CLOSED)  # type: ignore[arg-type]

    def forward(
        self,
        image: Tensor,
        sparse: Tensor,
        tissue_of: Tissue,
        around: Around,
        hidden: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Bubbles (B, T, 2, Z, X), tissue, and what the next layer's gate sees."""
        tissue = tissue_of(image - sparse)
        seen = self.kernels(image - tissue)
        levels = self.log_level(seen)
        planes = [levels, *around(levels)]
        planes += [self.log_level(tissue[:, :, None]) / 2]
        planes += [self.log_level(sparse[:, :, None])]
        gate, hidden = self._gate(torch.cat(planes, 2), image.shape, hidden)
        sparse = (gate * seen).sum(2)
        for step in self.step:
            tissue = tissue_of(image - sparse)
            again = (gate * self.kernels(image - tissue)).sum(2)
            sparse = sparse + step * (again - sparse)
        return sparse, tissue, hidden

    def _gate(
        self, planes: Tensor, shape: torch.Size, hidden: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        batch, frames, _, rows, columns = shape
        x = planes.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        x = F.relu(self.encode(x if self.config.pooled else F.pad(x, (2, 3, 2, 3))))
        if self.middle is not None:
            x = x if hidden is None else torch.cat([x, hidden], 1)
            x = F.relu(self.middle(x))
        gate = torch.sigmoid(F.pixel_shuffle(self.head(x), 2)[:, :, :rows, :columns])
        gate = gate.reshape(batch, frames, self.config.filters, rows, columns)
        return (gate * self.gain[:, None, None])[:, :, :, None], x

    def log_level(self, images: Tensor) -> Tensor:
        """Natural logarithm of the magnitude of (B, T, J, 2, Z, X)."""
        power = (images**2).sum(3)
        if self.config.pooled:
            power = F.avg_pool2d(F.pad(power, (0, 1, 0, 1)).flatten(0, 1), 2)
            power = power.reshape(*images.shape[:3], *power.shape[2:])
        return torch.log(power + FLOOR) / 2


class Unfolded(nn.Module):
    """Layers, one after the other."""

    def __init__(self, config: LayerConfig, layers: int) -> None:
        super().__init__()
        made = [Layer(config, k == 0) for k in range(layers)]
        self.layers = nn.ModuleList(made)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


class Corona(Unfolded):
    """For whole windows; each depth's bubbles come out."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config, config.layers)
        self.config = config

    def forward(
        self, image: Tensor, sparse: Tensor, basis: Tensor
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Bubbles and tissue (B, T, 2, Z, X), and bases (B, T, r) c8, of every depth.

        image: in units of the noise.  sparse: what is known of the bubbles.
        basis: of the tissue, its strongest component first.
        """
        found: tuple[list[Tensor], list[Tensor], list[Tensor]] = ([], [], [])
        hidden = None
        for rank, layer in zip(self.config.ranks, self.layers, strict=True):
            with torch.no_grad():  # only the span matters, and it hardly moves
                leading = orthonormal(powered(image - sparse, basis[:, :, :rank]))
                basis = torch.cat([leading, basis[:, :, rank:]], 2)
            tissue_of = partial(projected, leading)
            sparse, tissue, hidden = layer(
                image, sparse, tissue_of, self._neighbours, hidden
            )
            for rows, one in zip(found, (sparse, tissue, basis), strict=True):
                rows.append(one)
        return found

    def _neighbours(self, levels: Tensor) -> list[Tensor]:
        return [neighbour(levels[:, :, -1:], k) for k in self.config.offsets]


class Live(Unfolded):
    """For the newest frame of a stream, given the subspace of tissue before it.

        L = say^T (conj(hear) (x - S))
    U^T of the followed subspace, times the noise's scale in `hear` and over it in
    `say`, so that images may come in units of the noise.
    """

    def __init__(self, config: LiveConfig) -> None:
        super().__init__(config, config.layers)
        self.config = config

    def forward(
        self, recent: Tensor, hear: Tensor, say: Tensor
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Bubbles and tissue (B, 1, 2, Z, X) of the newest frame, of every depth.

        recent: (B, F, 2, Z, X), the newest last.  hear, say: (B, R, 2, Z, X).
        """
        tissue_of = partial(followed, hear, say)
        first = self.layers[0]
        assert isinstance(first, Layer)
        rest = recent - tissue_of(recent)
        past = first.log_level(first.kernels(rest[:, :-1])[:, :, -1:]).transpose(1, 2)
        image = recent[:, -1:]
        sparse, hidden = torch.zeros_like(image), None
        found: tuple[list[Tensor], list[Tensor]] = ([], [])
        for layer in self.layers:
            sparse, tissue, hidden = layer(
                image, sparse, tissue_of, lambda _: [past], hidden
            )
            found[0].append(sparse)
            found[1].append(tissue)
        return found


def followed(hear: Tensor, say: Tensor, images: Tensor) -> Tensor:
    """say^T (conj(hear) x), of the frames x (B, T, 2, Z, X)."""
    rows, again = complex_rows(hear), complex_rows(say)
    found = (complex_rows(images) @ rows.mH) @ again
    return torch.stack([found.real, found.imag], 2).reshape(images.shape)


def complex_rows(images: Tensor) -> Tensor:
    """(B, T, 2, Z, X) as (B, T, P) c8."""
    return torch.complex(images[:, :, 0].flatten(2), images[:, :, 1].flatten(2))


def powered(images: Tensor, basis: Tensor) -> Tensor:
    """X X^H V of the frames X (B, T, 2, Z, X) and V (B, T, r) c8.

    Not by way of the Gram matrix, whose rounding in float32 hides the weak components
    of tissue behind the strong ones.
    """
    frames = complex_rows(images)
    return frames @ (frames.mH @ basis)


def orthonormal(columns: Tensor) -> Tensor:
    """Modified Gram-Schmidt, twice over for float32; zeros stay zeros."""
    done: list[Tensor] = []
    for k in range(columns.shape[2]):
        column = columns[:, :, k : k + 1]
        if done:
            before = torch.cat(done, 2)
            for _ in range(2):
                column = column - before @ (before.mH @ column)
        norm = torch.linalg.vector_norm(column, dim=1, keepdim=True)
        done.append(column / (norm + TINY))
    return torch.cat(done, 2)


def projected(basis: Tensor, images: Tensor) -> Tensor:
    """V V^H X, V (B, T, r) c8, of the frames X (B, T, 2, Z, X)."""
    re, im = images[:, :, 0].flatten(2), images[:, :, 1].flatten(2)
    v, w = basis.real, basis.imag
    a, b = v.mT @ re + w.mT @ im, v.mT @ im - w.mT @ re
    return torch.stack([v @ a - w @ b, w @ a + v @ b], 2).reshape(images.shape)


def neighbour(planes: Tensor, offset: int) -> Tensor:
    """Frame t + offset in the place of frame t; zeros beyond the window."""
    padded = F.pad(planes, (0, 0, 0, 0, 0, 0, max(-offset, 0), max(offset, 0)))
    first = max(offset, 0)
    return padded[:, first : first + planes.shape[1]]
