"""Counter-based noise: the same (seed, image, step, draw) gives the same numbers on any device, in any batch.

Philox 4x64 (Salmon et al., 2011, "Parallel random numbers: as easy as 1, 2, 3") makes the bits, numpy's
implementation of it; Box and Muller's transform in float64 makes normal numbers of them. Noise is made on the CPU
and then moved, so that a GPU draws the picture that a CPU draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

_MASK = 2**64 - 1
#: The counter's word 0 counts blocks; these say what the block is for.
_INITIAL = 2**63
#: From this mean cosine on two noises count as the same, and are mixed in a straight line.
_PARALLEL = 0.9995


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


@dataclass(frozen=True)
class Start:
    """What is done to the noise that sampling starts from; the steps' own noise is the seeds'.

    Attributes:
        seeds: of the other noise, one for each picture.
        strength: how much of the way to it: 0 is the picture's own noise, 1 the other.
        size: (h, w) in latent cells of the noise that is made and laid in the middle; None is the picture's.
    """

    seeds: tuple[int, ...] = ()
    strength: float = 0.0
    size: tuple[int, int] | None = None


def slerp(strength: float, low: Tensor, high: Tensor) -> Tensor:
    """Spherical interpolation from ``low`` to ``high``, both (C, h, w): columns turn, each by its own angle.

    As the web UI does it, whose angles are those between columns along h; so its pictures' relations stay.
    """
    ends = [one / one.norm(dim=1, keepdim=True) for one in (low, high)]
    cosine = (ends[0] * ends[1]).sum(1)
    if cosine.mean() > _PARALLEL:
        return low * (1 - strength) + high * strength
    angle = torch.acos(cosine.clamp(-1, 1))
    parts = [torch.sin(share * angle) / torch.sin(angle) for share in (1 - strength, strength)]
    return parts[0].unsqueeze(1) * low + parts[1].unsqueeze(1) * high


def centred(ground: Tensor, middle: Tensor) -> Tensor:
    """``ground`` (C, h, w) with the middle of ``middle`` (C, H, W) laid over its own; the web UI's rounding."""
    (high, wide), (tall, broad) = ground.shape[1:], middle.shape[1:]
    down, across = (high - tall) // 2, (wide - broad) // 2
    rows = tall if down >= 0 else tall + 2 * down
    columns = broad if across >= 0 else broad + 2 * across
    top, left, skip, over = max(down, 0), max(across, 0), max(-down, 0), max(-across, 0)
    out = ground.clone()
    out[:, top : top + rows, left : left + columns] = middle[:, skip : skip + rows, over : over + columns]
    return out


class BatchNoise:
    """The noise of a batch: row k is that of the single picture with seed ``seeds[k]``."""

    def __init__(
        self,
        seeds: Sequence[int],
        shape: tuple[int, ...],
        device: torch.device | str = "cpu",
        start: Start | None = None,
    ) -> None:
        """``shape`` is one latent's: (C, h, w)."""
        self.seeds, self.shape, self.device = tuple(seeds), shape, device
        self._start = start or Start()

    def _rows(self, step: int, draw: int) -> Tensor:
        return torch.stack([noise(seed, 0, step, draw, self.shape) for seed in self.seeds]).to(self.device)

    def initial(self) -> Tensor:
        """What sampling starts from: (B, C, h, w), float32."""
        return torch.stack([self._first(k) for k in range(len(self.seeds))]).to(self.device)

    def _first(self, row: int) -> Tensor:
        start, seed = self._start, self.seeds[row]
        shape = self.shape if start.size is None else (self.shape[0], *start.size)
        own = noise(seed, 0, _INITIAL, 0, shape)
        if start.strength:
            own = slerp(start.strength, own, noise(start.seeds[row], 0, _INITIAL, 0, shape))
        return own if shape == self.shape else centred(noise(seed, 0, _INITIAL, 0, self.shape), own)

    def at(self, step: int) -> Callable[[int], Tensor]:
        """The step's noise: a function from the draw's number to (B, C, h, w), float32."""
        return lambda draw: self._rows(step, draw)
