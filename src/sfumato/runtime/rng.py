"""Counter-based noise: the same (seed, image, step, draw) gives the same numbers on any device, in any batch.

Philox 4x64 (Salmon et al., 2011, "Parallel random numbers: as easy as 1, 2, 3") makes the bits, numpy's
implementation of it; Box and Muller's transform in float64 makes normal numbers of them. Noise is made on the CPU
and then moved, so that a GPU draws the picture that a CPU draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

_MASK = 2**64 - 1
#: The counter's word 0 counts blocks; these say what the block is for.
_INITIAL = 2**63


def noise(seed: int, image: int, step: int, draw: int, shape: tuple[int, ...]) -> Tensor:
    """Standard normal numbers of ``shape``, float32 on the CPU.

    Args:
        seed: any integer; its low 64 bits are the key.
        image: which picture of a job that has one seed; the second word of the key.
        step: which sampling step, from 0; the counter's second word.
        draw: which of the step's draws, from 0; the counter's third word.
    """
    count = math.prod(shape)
    pairs = (count + 1) // 2
    key = np.array([seed & _MASK, image & _MASK], dtype=np.uint64)
    counter = np.array([0, step & _MASK, draw & _MASK, 0], dtype=np.uint64)
    words = np.random.Philox(key=key, counter=counter).random_raw(2 * pairs)
    uniform = ((words >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    radius = np.sqrt(-2.0 * np.log(uniform[:pairs]))
    angle = 2.0 * np.pi * uniform[pairs:]
    normal = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count]
    return torch.from_numpy(normal.astype(np.float32)).reshape(shape)


class BatchNoise:
    """The noise of a batch: row k is that of the single picture with seed ``seeds[k]``."""

    def __init__(self, seeds: Sequence[int], shape: tuple[int, ...], device: torch.device | str = "cpu") -> None:
        """``shape`` is one latent's: (C, h, w)."""
        self.seeds, self.shape, self.device = tuple(seeds), shape, device

    def _rows(self, step: int, draw: int) -> Tensor:
        return torch.stack([noise(seed, 0, step, draw, self.shape) for seed in self.seeds]).to(self.device)

    def initial(self) -> Tensor:
        """What sampling starts from: (B, C, h, w), float32."""
        return self._rows(_INITIAL, 0)

    def at(self, step: int) -> Callable[[int], Tensor]:
        """The step's noise: a function from the draw's number to (B, C, h, w), float32."""
        return lambda draw: self._rows(step, draw)
