"""Tensors that lie in a file otherwise than in a network: part of a larger one, turned, or halves swapped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sfumato.weights.blocks import Stored


@dataclass(frozen=True)
class Piece:
    """Where a network's tensor lies: a file's tensor, or of it one of three equal parts of its rows.

    ``turned``: rows are columns in the file. ``swapped``: the halves of its rows stand the other way round.
    """

    name: str
    third: int | None = None
    turned: bool = False
    swapped: bool = False

    def can_be_of(self, tensor: Stored) -> bool:
        """Whether it can be cut from the tensor as it is: packed ones can't be turned, nor cut inside a block."""
        if isinstance(tensor, Tensor):
            return True
        return not (self.turned or self.swapped) and (self.third is None or tensor.can_split(3))

    def of(self, tensor: Any) -> Any:
        """The piece of the file's tensor, packed if that is."""
        part = tensor if self.third is None else tensor.chunk(3)[self.third]
        if self.swapped:
            part = torch.cat(part.chunk(2)[::-1])
        return part.t().contiguous() if self.turned else part

    def put(self, tensor: Tensor, value: Tensor) -> Tensor:
        """The file's tensor with the piece replaced: the way back of :meth:`of`. ``tensor`` itself is not changed."""
        part = value.t() if self.turned else value
        if self.swapped:
            part = torch.cat(part.chunk(2)[::-1])
        parts = [part] if self.third is None else list(tensor.chunk(3))
        if self.third is not None:
            parts[self.third] = part
        return torch.cat([one.to(tensor.dtype) for one in parts]).reshape(tensor.shape)
