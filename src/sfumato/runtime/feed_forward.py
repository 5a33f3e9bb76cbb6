"""The transformer blocks' feed-forward network, some rows at a time, so that its wide middle stays in the cache."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Numbers of the wide middle that a thread works on at a time.
TILE_NUMBERS = 2**19

Layer = Callable[[Tensor], Tensor]


class TiledFeedForward(nn.Module):
    """``(a * gelu(b)) W + c`` with ``a, b`` the halves of a first linear layer (Shazeer, 2020, "GLU variants").

    It keeps the layers, and so the parameters' names, of the diffusers network that it takes the place of.
    """

    def __init__(self, net: nn.ModuleList) -> None:
        super().__init__()
        self.net = net

    def forward(self, hidden_states: Tensor, *args: object, **kwargs: object) -> Tensor:
        """(..., C) to (..., C)."""
        layers: Any = self.net
        value, gate = halves(layers[0].proj)
        rows = hidden_states.reshape(-1, hidden_states.shape[-1])
        tiles = -(-len(rows) * layers[2].in_features // (TILE_NUMBERS * torch.get_num_threads()))
        with ExitStack() as stack:
            pieces: tuple[Any, ...] = (value, gate, layers[2])
            for layer in pieces:
                if hasattr(layer, "held"):  # a packed weight is unpacked once, and not for every tile
                    stack.enter_context(layer.held())
            parts = [layers[2](value(part).mul_(F.gelu(gate(part)))) for part in rows.chunk(max(1, tiles))]
        return torch.cat(parts).view(*hidden_states.shape[:-1], -1)


def halves(layer: Any) -> tuple[Layer, Layer]:
    """The functions that give the first and the second half of a linear layer's outputs; its own if it has them."""
    if not isinstance(layer, nn.Linear):
        return layer.first, layer.second
    biases = (None, None) if layer.bias is None else layer.bias.chunk(2)
    first, second = (
        functools.partial(F.linear, weight=weight, bias=bias)
        for weight, bias in zip(layer.weight.chunk(2), biases, strict=True)
    )
    return first, second


def use_tiled_feed_forward(network: nn.Module) -> None:
    """Put :class:`TiledFeedForward` in the place of every gated feed-forward network of diffusers' blocks."""
    for module in list(network.modules()):
        children: list[tuple[str, Any]] = list(module.named_children())
        for name, child in children:
            if _is_gated(child):
                setattr(module, name, TiledFeedForward(child.net).train(child.training))


def _is_gated(module: Any) -> bool:
    """Whether it is diffusers' feed-forward network with a gate, of whichever copy of diffusers."""
    if type(module).__name__ != "FeedForward" or not type(module).__module__.endswith(".models.attention"):
        return False
    return len(module.net) == 3 and type(module.net[0]).__name__ == "GEGLU"
