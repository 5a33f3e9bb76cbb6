"""Weights as 8-bit integers with a scale for each output channel, made of any checkpoint's when it is loaded.

Only weights are packed: they are unpacked when a layer works, and products are taken in the type of its input.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sfumato.quant.layers import place
from sfumato.quant.streamed import StreamedLayer
from sfumato.quant.unpack import ROWS
from sfumato.weights.blocks import Blocks

#: Smaller weights stay as they are.
LEAST = 2**12
_LEVELS = 127


def pack(weight: Tensor) -> Blocks | None:
    """The weight (out, ...) with each output channel's numbers from -127 to 127 times a scale in bfloat16.

    Returns:
        None for a weight of an odd number of numbers a channel, which blocks can't hold.
    """
    rows = weight.detach().flatten(1).float()
    if rows.shape[1] % 2:
        return None
    top = rows.abs().amax(1, keepdim=True).clamp(min=torch.finfo(torch.bfloat16).tiny * _LEVELS)
    scale = (top / _LEVELS).bfloat16()
    above = (scale.view(torch.int16) + 1).view(torch.bfloat16)
    scale = torch.where(scale.float() * _LEVELS < top, above, scale)
    levels = (rows / scale.float()).round_().clamp_(-_LEVELS, _LEVELS).to(torch.int8)
    data = torch.cat([scale.view(torch.uint8), levels.view(torch.uint8)], 1)
    return Blocks(data, ROWS, weight.shape)


def pack_network(network: nn.Module, dtype: torch.dtype) -> None:
    """Put packed layers in the place of the network's large linear layers, convolutions and tables.

    Args:
        dtype: what the network computes in.
    """
    for name in [name for name, _ in network.named_modules()]:  # the layers themselves go one by one
        layer = network.get_submodule(name)
        weight = _weight_of(layer)
        blocks = None if weight is None or weight.numel() < LEAST else pack(weight)
        if blocks is None:
            continue
        if isinstance(layer, StreamedLayer):
            network.set_submodule(name, layer.stock())
        if not place(network, f"{name}.weight", blocks, dtype):
            network.set_submodule(name, layer)


def _weight_of(layer: Any) -> Tensor | None:
    if isinstance(layer, StreamedLayer) or type(layer) in (nn.Linear, nn.Conv2d, nn.Embedding):
        return layer.weight
    return None
