"""Pictures whose edges fit each other: convolutions that go on at the other side instead of at nothing."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def seamless(*networks: nn.Module) -> Iterator[None]:
    """Inside, the networks' convolutions wrap around; afterwards, also after an error, they are as they were.

    Any layer that has a convolution's attributes is one: stock, packed, quantized, or with a LoRA. Its input is laid
    out by as much as its windows reach over the edge, and that part of its output is cut off: the rest is what
    ``padding_mode="circular"`` gives.
    """
    hooks: list[Any] = []
    try:
        for module in (m for network in networks for m in network.modules() if _reaches(m)):
            margins = _margins(module)
            hooks.append(module.register_forward_pre_hook(functools.partial(_wrap, margins)))
            hooks.append(module.register_forward_hook(functools.partial(_cut, margins)))
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _reaches(module: Any) -> bool:
    """Whether it is a convolution that pads."""
    if not (hasattr(module, "kernel_size") and hasattr(module, "padding") and hasattr(module, "stride")):
        return False
    padding = module.padding
    return isinstance(padding, tuple | list) and len(padding) == 2 and any(padding)


def _margins(module: Any) -> tuple[int, int]:
    """How many rows and columns are laid on each side: as many as are padded, up to whole strides."""
    rows, columns = (-(-pad // step) * step for pad, step in zip(module.padding, module.stride, strict=True))
    return rows, columns


def _wrap(margins: tuple[int, int], module: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    x, *rest = given
    return (around(x, *margins), *rest)


def _cut(margins: tuple[int, int], module: Any, given: tuple[Tensor, ...], out: Tensor) -> Tensor:
    rows, columns = (margin // step for margin, step in zip(margins, module.stride, strict=True))
    return out[:, :, rows : out.shape[2] - rows, columns : out.shape[3] - columns]


def around(x: Tensor, rows: int, columns: int) -> Tensor:
    """(..., H, W) with as many rows and columns more on each side, taken from the other one."""
    for dim, margin in ((-2, rows), (-1, columns)):
        if margin:
            size = x.shape[dim]
            x = x.index_select(dim, torch.arange(-margin, size + margin, device=x.device) % size)
    return x
