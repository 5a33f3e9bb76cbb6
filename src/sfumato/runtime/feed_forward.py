"""The transformer blocks' feed-forward network, some rows at a time, so that its wide middle stays in the cache."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Numbers of the wide middle that are worked on at a time.
TILE_NUMBERS = 2**20


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
        first, last = layers[0].proj, layers[2]
        middle = first.out_features // 2
        biases = (None, None) if first.bias is None else (first.bias[:middle], first.bias[middle:])
        rows = hidden_states.reshape(-1, hidden_states.shape[-1])
        parts = []
        for part in rows.split(max(1, TILE_NUMBERS // middle)):
            gate = F.gelu(F.linear(part, first.weight[middle:], biases[1]))
            parts.append(last(F.linear(part, first.weight[:middle], biases[0]).mul_(gate)))
        return torch.cat(parts).view(*hidden_states.shape[:-1], -1)


def use_tiled_feed_forward(network: nn.Module) -> None:
    """Put :class:`TiledFeedForward` in the place of every gated feed-forward network of diffusers' blocks."""
    from diffusers.models.activations import GEGLU  # takes seconds, and is loaded when there is a network
    from diffusers.models.attention import FeedForward

    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if type(child) is FeedForward and len(child.net) == 3 and type(child.net[0]) is GEGLU:
                setattr(module, name, TiledFeedForward(child.net).train(child.training))
