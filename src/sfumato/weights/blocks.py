"""A tensor as it is packed in a file: blocks of a few bits a number, with scales of their own."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TypeAlias, TypeVar

import torch
from torch import Tensor

from sfumato.weights.remote import Remote

#: The types whose blocks layers can hold; numbers of other packed types are unpacked when they are read.
HELD = ("F16", "BF16", "Q8_0", "Q6_K", "Q5_K", "Q5_1", "Q5_0", "Q4_K", "Q4_1", "Q4_0", "IQ4_NL", "IQ4_XS", "Q3_K",
        "Q2_K")  # fmt: skip


@dataclass(frozen=True)
class Blocks:
    """Packed numbers, in the order of the tensor that they are.

    It has those few of a tensor's ways that a weight needs between its file and its layer.

    Attributes:
        data: (blocks, bytes of one), uint8.
        kind: the type's name in GGUF, as ``Q4_0``; ``F16`` and ``BF16`` are blocks of one number.
        shape: the tensor's.
    """

    data: Tensor
    kind: str
    shape: torch.Size

    @property
    def numbers(self) -> int:
        """How many numbers are packed."""
        return math.prod(self.shape)

    @property
    def block(self) -> int:
        """How many numbers a block has."""
        return self.numbers // len(self.data)

    @property
    def dtype(self) -> torch.dtype:
        """What the bytes are of; the numbers are fractions all the same."""
        return self.data.dtype

    def is_floating_point(self) -> bool:
        """Weights are."""
        return True

    def reshape(self, shape: tuple[int, ...]) -> Blocks:
        """The same numbers in another shape."""
        return replace(self, shape=torch.Size(shape))

    def to(self, device: torch.device) -> Blocks:
        """The same there."""
        return replace(self, data=self.data.to(device))

    def can_split(self, parts: int) -> bool:
        """Whether so many equal parts of the first dimension are whole blocks each."""
        return self.shape[0] % parts == 0 and len(self.data) % parts == 0

    def chunk(self, parts: int) -> tuple[Blocks, ...]:
        """Equal parts of the first dimension, which share the bytes.

        Raises:
            ValueError: a part would begin or end inside a block; see :meth:`can_split`.
        """
        if not self.can_split(parts):
            raise ValueError(f"{tuple(self.shape)} in blocks of {self.block} has no {parts} equal parts")
        shape = torch.Size((self.shape[0] // parts, *self.shape[1:]))
        return tuple(replace(self, data=data, shape=shape) for data in self.data.chunk(parts))


#: A weight as a file has it.
Stored: TypeAlias = Tensor | Blocks | Remote
AnyStored = TypeVar("AnyStored", bound=Stored)
