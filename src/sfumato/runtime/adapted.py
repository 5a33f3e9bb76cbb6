"""Low-rank branches beside a network's layers, put there and taken away without a change of its weights.

So they work with layers whose weights are packed or mapped, and without them the network gives its former bits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.runtime.feed_forward import TiledFeedForward, halves


@dataclass(frozen=True)
class Branch:
    """``scale * up(down(x))`` beside a layer: down (rank, in[, kh, kw]), up (out, rank[, 1, 1])."""

    down: Tensor
    up: Tensor
    scale: float

    @property
    def size(self) -> tuple[int, ...]:
        """The weight's that it can stand beside: (out, in), or (out, in, kh, kw) if the kernel is not 1x1."""
        return _plain((self.up.shape[0], *self.down.shape[1:]))


class Adapted(nn.Module):
    """A layer and its branches: ``base(x) + sum of scale * up(down(x))``. Other attributes are the layer's."""

    def __init__(self, base: Any, branches: Sequence[Branch], steps: Mapping[str, Any], like: Tensor) -> None:
        """``steps``: stride, padding and dilation of a convolution; empty for a linear layer.

        All branches become one, of all their ranks together, in the type and on the device of ``like``: what is done
        here once would be done at every step.
        """
        super().__init__()
        self.base, self._steps = base, steps
        ups = torch.cat([branch.up.flatten(1).float() * branch.scale for branch in branches], 1)
        downs = torch.cat([_four(branch.down).float() for branch in branches])
        up, down = (matrix.to(like.device, like.dtype) for matrix in (ups, downs))
        self._up, self._down = (_four(up), down) if steps else (up, down.flatten(1))

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("base"), name)

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """What the layer takes, to what it gives."""
        out = self.base(x, *args, **kwargs)
        if self._steps:
            return out.add_(F.conv2d(F.conv2d(x, self._down, **self._steps), self._up))
        return out.add_(F.linear(F.linear(x, self._down), self._up))


class AdaptedHalves(nn.Module):
    """A gated layer's two halves, each with its part of the branches."""

    def __init__(self, base: Any, branches: Sequence[Branch], like: Tensor) -> None:
        super().__init__()
        self._base = base
        self.first, self.second = (
            Adapted(half, [Branch(b.down, b.up.chunk(2)[k], b.scale) for b in branches], {}, like)
            for k, half in enumerate(halves(base))
        )


class Attachment:
    """Branches on a network, until :meth:`remove`."""

    def __init__(self, network: nn.Module, branches: Mapping[str, Sequence[Branch]]) -> None:
        """``branches``: by the path of the layer that they stand beside. What fails half-way leaves nothing behind."""
        self._replaced: list[tuple[nn.Module, str, nn.Module]] = []
        like = next(p for p in network.parameters() if p.is_floating_point())
        try:
            for path, group in branches.items():
                self._attach(network, path, group, like)
        except BaseException:
            self.remove()
            raise

    def _attach(self, network: nn.Module, path: str, branches: Sequence[Branch], like: Tensor) -> None:
        above, _, name = path.rpartition(".")
        parent = network.get_submodule(above)
        base = getattr(parent, name)
        feed = network.get_submodule(above.removesuffix(".net.0")) if above.endswith(".net.0") else None
        if isinstance(feed, TiledFeedForward):
            new: nn.Module = AdaptedHalves(base, branches, like)
        else:
            new = Adapted(base, branches, _steps_of(base), like)
        self._replaced.append((parent, name, base))
        setattr(parent, name, new)

    def remove(self) -> None:
        """Put the layers back as they were."""
        for parent, name, base in reversed(self._replaced):
            setattr(parent, name, base)
        self._replaced.clear()


def layers(network: nn.Module) -> dict[str, tuple[int, ...]]:
    """Every layer that can have branches, by its path, with its weight's size as :attr:`Branch.size` has it.

    Stock layers and packed ones.
    """
    found = {}
    for path, module in network.named_modules():
        size = _size(module) if path else None
        if size is not None and not path.endswith((".first", ".second")):
            found[path] = size
    return found


def _size(module: Any) -> tuple[int, ...] | None:
    if hasattr(module, "in_features") and hasattr(module, "out_features"):
        return module.out_features, module.in_features
    if hasattr(module, "kernel_size") and hasattr(module, "in_channels"):  # whole blocks have channels too
        return _plain((module.out_channels, module.in_channels, *module.kernel_size))
    if hasattr(module, "first") and hasattr(module, "second") and (one := _size(module.first)) is not None:
        return 2 * one[0], one[1]
    return None


def _steps_of(layer: Any) -> dict[str, Any]:
    return {n: getattr(layer, n) for n in ("stride", "padding", "dilation") if hasattr(layer, n)}


def _plain(size: tuple[int, ...]) -> tuple[int, ...]:
    """Without a kernel of 1x1."""
    return size[:2] if size[2:] == (1, 1) else size


def _four(weight: Tensor) -> Tensor:
    return weight if weight.ndim == 4 else weight[:, :, None, None]
