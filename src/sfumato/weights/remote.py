"""A tensor that stays in its file, and is read from it at every use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sfumato.weights.header import TensorInfo

#: Smaller tensors are not worth the trouble.
LEAST = 2**16
_TYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "F8_E4M3": torch.float8_e4m3fn,
          "F8_E5M2": torch.float8_e5m2}  # fmt: skip


@dataclass(frozen=True)
class Remote:
    """It has those few of a tensor's ways that a weight needs between its file and its layer.

    Attributes:
        read: gives the tensor; what it takes in memory goes with it.
    """

    read: Callable[[], Tensor]
    shape: torch.Size
    dtype: torch.dtype

    def is_floating_point(self) -> bool:
        """Only such ones are streamed."""
        return True

    def reshape(self, shape: tuple[int, ...]) -> Remote:
        """The same numbers in another shape."""
        return Remote(lambda: self.read().reshape(shape), torch.Size(shape), self.dtype)

    def can_split(self, parts: int) -> bool:
        """Whether its first dimension has so many equal parts."""
        return self.shape[0] % parts == 0

    def chunk(self, parts: int) -> tuple[Remote, ...]:
        """Equal parts of the first dimension."""
        shape = torch.Size((self.shape[0] // parts, *self.shape[1:]))
        return tuple(Remote(_part(self.read, parts, k), shape, self.dtype) for k in range(parts))


def _part(read: Callable[[], Tensor], parts: int, k: int) -> Callable[[], Tensor]:
    return lambda: read().chunk(parts)[k]


def stream(source: Any, name: str) -> Any:
    """The source's tensor as one that is read at every use; packed and small ones as they are stored."""
    info: TensorInfo = source.header.tensors[name]
    if info.dtype not in _TYPES or info.numbers < LEAST or len(info.shape) < 2:
        return source.stored(name)
    return Remote(lambda: source.get(name), torch.Size(info.shape), _TYPES[info.dtype])
