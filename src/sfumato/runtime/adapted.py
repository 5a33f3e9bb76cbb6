"""Low-rank branches beside a network's layers, put there and taken away without a change of its weights.

So they work with layers whose weights are packed or mapped, and without them the network gives its former bits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.runtime.feed_forward import TiledFeedForward, halves


@dataclass(frozen=True)
class Branch:
    """``scale * up(down(x))`` beside a layer: down (rank, in[, kh, kw]), up (out, rank[, 1, 1])."""

    down: Tensor
    up: Tensor
    scale: float


class Adapted(nn.Module):
    """A layer and its branches: ``base(x) + sum of scale * up(down(x))``. Other attributes are the layer's."""

    def __init__(self, base: Any, branches: Sequence[Branch], steps: Mapping[str, Any]) -> None:
        """``steps``: stride, padding and dilation of a convolution; empty for a linear layer."""
        super().__init__()
        self.base, self._branches, self._steps = base, branches, steps

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("base"), name)

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """What the layer takes, to what it gives."""
        out = self.base(x, *args, **kwargs)
        for branch in self._branches:
            down, up = branch.down.to(x), branch.up.to(x)
            if self._steps:
                out = out + branch.scale * F.conv2d(F.conv2d(x, _conv(down), **self._steps), _conv(up))
            else:
                out = out + branch.scale * F.linear(F.linear(x, down.flatten(1)), up.flatten(1))
        return out


class AdaptedHalves(nn.Module):
    """A gated layer's two halves, each with its part of the branches."""

    def __init__(self, base: Any, branches: Sequence[Branch]) -> None:
        super().__init__()
        first = [Branch(b.down, b.up.chunk(2)[0], b.scale) for b in branches]
        second = [Branch(b.down, b.up.chunk(2)[1], b.scale) for b in branches]
        self._base = base
        self.first, self.second = (Adapted(h, b, {}) for h, b in zip(halves(base), (first, second), strict=True))


class Attachment:
    """Branches on a network, until :meth:`remove`."""

    def __init__(self, network: nn.Module, branches: Mapping[str, Sequence[Branch]]) -> None:
        """``branches``: by the path of the layer that they stand beside."""
        self._replaced: list[tuple[nn.Module, str, nn.Module]] = []
        for path, group in branches.items():
            self._attach(network, path, group)

    def _attach(self, network: nn.Module, path: str, branches: Sequence[Branch]) -> None:
        above, _, name = path.rpartition(".")
        parent = network.get_submodule(above)
        base = getattr(parent, name)
        feed = network.get_submodule(above.removesuffix(".net.0")) if above.endswith(".net.0") else None
        if isinstance(feed, TiledFeedForward):
            new: nn.Module = AdaptedHalves(base, branches)
        else:
            new = Adapted(base, branches, _steps_of(base))
        self._replaced.append((parent, name, base))
        setattr(parent, name, new)

    def remove(self) -> None:
        """Put the layers back as they were."""
        for parent, name, base in reversed(self._replaced):
            setattr(parent, name, base)
        self._replaced.clear()


def layers(network: nn.Module) -> dict[str, tuple[int, ...]]:
    """Every layer that can have branches, by its path, with its weight's (out, in): stock layers and packed ones."""
    found = {}
    for path, module in network.named_modules():
        size = _size(module) if path else None  # a network has channels too
        if size is not None and not path.endswith((".first", ".second")):
            found[path] = size
    return found


def _size(module: Any) -> tuple[int, int] | None:
    for inside, outside in (("in_features", "out_features"), ("in_channels", "out_channels")):
        if isinstance(getattr(module, inside, None), int) and isinstance(getattr(module, outside, None), int):
            return getattr(module, outside), getattr(module, inside)
    if hasattr(module, "first") and hasattr(module, "second") and (one := _size(module.first)) is not None:
        return 2 * one[0], one[1]
    return None


def _steps_of(layer: Any) -> dict[str, Any]:
    return {n: getattr(layer, n) for n in ("stride", "padding", "dilation") if hasattr(layer, n)}


def _conv(weight: Tensor) -> Tensor:
    return weight if weight.ndim == 4 else weight[:, :, None, None]
