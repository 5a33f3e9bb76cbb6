"""What adapters make of a layer's weight, in the forms that files have them.

A change is worked out from its few numbers when its layer is used, so on packed weights it takes no more room than
on others. Formulas are LyCORIS' (Yeh et al. 2023, arXiv 2309.14859) and DoRA's (Liu et al. 2024, arXiv 2402.09353).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from torch import Tensor


@dataclass(frozen=True)
class Branch:
    """``scale * up(down(x))`` beside a layer: down (rank, in[, kh, kw]), up (out, rank[, 1, 1])."""

    down: Tensor
    up: Tensor
    scale: float

    @property
    def size(self) -> tuple[int, ...]:
        """The weight's that it can stand beside: (out, in), or (out, in, kh, kw) if the kernel is not 1x1."""
        return plain((self.up.shape[0], *self.down.shape[1:]))

    def fits(self, size: tuple[int, ...]) -> bool:
        """Whether it can stand beside a weight of this size."""
        return self.size == size

    def times(self, strength: float) -> Branch:
        """The same, so much stronger."""
        return replace(self, scale=self.scale * strength)

    def half(self, which: int) -> Branch:
        """For the first or the second half of the outputs."""
        return replace(self, up=self.up.chunk(2)[which])

    def matrix(self) -> Tensor:
        """The change of the weight, (out, in * kh * kw) in float32."""
        return self.up.flatten(1).float() @ self.down.flatten(1).float() * self.scale


@dataclass(frozen=True)
class Product:
    """``scale * a ∘ b`` of two matrices, each of which may be given by factors: LoHa and LoKr.

    Attributes:
        parts: the two, of one factor, or of several that are multiplied.
        kronecker: take Kronecker's product (LoKr), and not Hadamard's (LoHa).
        rows: of the outputs, from and to; all if None.
    """

    parts: tuple[tuple[Tensor, ...], tuple[Tensor, ...]]
    kronecker: bool
    scale: float
    rows: tuple[int, int] | None = None

    @property
    def size(self) -> tuple[int, ...]:
        """(out, in * kh * kw)."""
        (a, b), (c, d) = (_size(part) for part in self.parts)
        return (a * c, b * d) if self.kronecker else (a, b)

    def fits(self, size: tuple[int, ...]) -> bool:
        """Whether it can stand beside a weight of this size."""
        return self.size == (size[0], math.prod(size[1:]))

    def times(self, strength: float) -> Product:
        """The same, so much stronger."""
        return replace(self, scale=self.scale * strength)

    def half(self, which: int) -> Product:
        """For the first or the second half of the outputs."""
        middle = self.size[0] // 2
        return replace(self, rows=(which * middle, (which + 1) * middle))

    def to(self, device: torch.device) -> Product:
        """The same there."""
        first, second = (tuple(factor.to(device) for factor in part) for part in self.parts)
        return replace(self, parts=(first, second))

    def matrix(self) -> Tensor:
        """The change of the weight, (out, in * kh * kw) in float32."""
        a, b = (_multiplied(part) for part in self.parts)
        whole = (torch.kron(a, b) if self.kronecker else a * b) * self.scale
        return whole if self.rows is None else whole[slice(*self.rows)]


@dataclass(frozen=True)
class Decomposed:
    """DoRA: the changed weight is brought to lengths of its own, ``m (W + D) / |W + D|``, by outputs or by inputs.

    Attributes:
        change: D.
        magnitude: m, as it lies in the file: (out[, 1...]), or (1, in[, 1, 1]) for lengths by inputs.
        strength: how much of the way from W to the changed weight is gone.
        gains: ``m / |W + D|``: (out,), or (in,) for lengths by inputs; None before :meth:`on`.
    """

    change: Branch | Product
    magnitude: Tensor
    strength: float = 1.0
    gains: Tensor | None = None

    @property
    def size(self) -> tuple[int, ...]:
        """See :class:`Branch`."""
        return self.change.size

    @property
    def by_inputs(self) -> bool:
        """Whether the lengths are those of the inputs' columns."""
        return self.magnitude.ndim > 1 and self.magnitude.shape[0] == 1

    def fits(self, size: tuple[int, ...]) -> bool:
        """Whether it can stand beside a weight of this size."""
        return self.change.fits(size) and self.magnitude.numel() == size[1 if self.by_inputs else 0]

    def times(self, strength: float) -> Decomposed:
        """The same, so much stronger."""
        return replace(self, strength=self.strength * strength)

    def half(self, which: int) -> Decomposed:
        """For the first or the second half of the outputs, once it is on a weight."""
        gains = self.gains if self.gains is None or self.by_inputs else self.gains.chunk(2)[which]
        return replace(self, change=self.change.half(which), gains=gains)

    def on(self, weight: Tensor) -> Decomposed:
        """The same for a weight (out, in[, kh, kw]), whose lengths are measured."""
        changed = weight.float() + self.change.matrix().to(weight.device).view(weight.shape)
        other = [axis for axis in range(changed.ndim) if axis != int(self.by_inputs)]
        lengths = torch.linalg.vector_norm(changed, dim=other).clamp_min(torch.finfo(torch.float32).eps)
        return replace(self, gains=self.magnitude.flatten().float().to(weight.device) / lengths)


Change: TypeAlias = Branch | Product | Decomposed


def plain(size: tuple[int, ...]) -> tuple[int, ...]:
    """Without a kernel of 1x1."""
    return size[:2] if size[2:] == (1, 1) else size


def _size(factors: tuple[Tensor, ...]) -> tuple[int, int]:
    return factors[0].shape[0], factors[-1].flatten(1).shape[1]


def _multiplied(factors: tuple[Tensor, ...]) -> Tensor:
    out = factors[0].flatten(1).float()
    for factor in factors[1:]:
        out = out @ factor.flatten(1).float()
    return out
