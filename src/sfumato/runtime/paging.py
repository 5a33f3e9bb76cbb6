"""Weights that lie in a mapped file of their own: in memory while they are used, and given back after.

They are written once, to a temporary file without a name, which goes with the process.
"""

from __future__ import annotations

import mmap
import tempfile
from itertools import chain
from pathlib import Path
from typing import IO

import torch
from torch import Tensor, nn


class Pages:
    """A network's weights in a mapped file, from now on. They come back by being used."""

    def __init__(self, network: nn.Module, folder: Path) -> None:
        """``network``: on the CPU. ``folder``: on a disk; it is made if it is not there.

        Raises:
            OSError: the disk is full or the folder can't be written. The network is as it was.
        """
        tensors = [tensor for tensor in chain(network.parameters(), network.buffers()) if tensor.numel()]
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder, prefix=".sfumato-") as file:
            places = [_write(tensor, file) for tensor in tensors]
            file.truncate(-(-file.tell() // mmap.PAGESIZE) * mmap.PAGESIZE)
            file.flush()
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        for tensor, place in zip(tensors, places, strict=True):
            flat = torch.frombuffer(self._map, dtype=tensor.dtype, count=tensor.numel(), offset=place)
            tensor.data = flat.as_strided(tensor.shape, _dense_strides(tensor))

    def release(self) -> None:
        """Give the memory back, where the system can be told so; elsewhere it takes it when it needs it."""
        if hasattr(self._map, "madvise"):
            self._map.madvise(mmap.MADV_DONTNEED)


def _write(tensor: Tensor, file: IO[bytes]) -> int:
    """Put the numbers at the file's end, in the order that they have in memory; says where."""
    place = -(-file.tell() // mmap.PAGESIZE) * mmap.PAGESIZE
    file.seek(place)
    strides = _dense_strides(tensor)
    order = sorted(range(tensor.ndim), key=lambda k: (-strides[k], k))
    file.write(tensor.detach().permute(order).contiguous().flatten().view(torch.uint8).numpy().data)
    return place


def _dense_strides(tensor: Tensor) -> tuple[int, ...]:
    """The tensor's own strides where it fills its memory, as in channels-last order; else those of a plain copy."""
    order = sorted(range(tensor.ndim), key=lambda k: (-tensor.stride(k), k))
    strides, step = [0] * tensor.ndim, 1
    for k in reversed(order):
        strides[k] = step
        step *= tensor.shape[k]
    return tuple(strides)
