"""What adapters change, beside a network's layers, put there and taken away without a change of its weights.

So they work with layers whose weights are packed or mapped, and without them the network gives its former bits.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.runtime.changes import Branch, Change, Decomposed, Product, plain
from sfumato.runtime.feed_forward import TiledFeedForward, halves
from sfumato.runtime.held import Holding

#: The steps of the second of a branch's two convolutions.
_ONCE: Mapping[str, Any] = {"stride": 1}


class Adapted(nn.Module):
    """A layer and its changes: ``base(x) + sum of scale * up(down(x))``, and other forms. Other attributes are the
    layer's.
    """

    def __init__(self, base: Any, changes: Sequence[Change], steps: Mapping[str, Any], like: Tensor) -> None:
        """``steps``: stride, padding and dilation of a convolution; empty for a linear layer.

        All branches become one, of all their ranks together, in the type and on the device of ``like``: what is done
        here once would be done at every step.
        """
        super().__init__()
        self.base, self._steps = base, steps
        branches = [change for change in changes if isinstance(change, Branch)]
        self._branch = _merged(branches, steps, like) if branches else None
        self._others = [_Other(c, base, steps, like) for c in changes if not isinstance(c, Branch)]

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("base"), name)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Inside, what is worked out at every use is worked out once."""
        with ExitStack() as stack:
            for one in (self.base, *self._others):
                if hasattr(one, "held"):
                    stack.enter_context(one.held())
            yield

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """What the layer takes, to what it gives."""
        out = self.base(x, *args, **kwargs)
        more = [one(x, out) for one in self._others]
        if self._branch is not None:
            out = out.add_(_apply(_apply(x, self._branch[0], self._steps), self._branch[1], self._steps and _ONCE))
        for one in more:
            out = out.add_(one)
        return out


class _Other(Holding):
    """A change that is no branch, beside its layer; inside ``held`` its matrix is worked out once."""

    def __init__(self, change: Change, base: Any, steps: Mapping[str, Any], like: Tensor) -> None:
        self._base, self._steps, self._like = base, steps, like
        self._gains: Tensor | None = None
        self._by_inputs, self._strength = False, 1.0
        weight = _weight_of(base)
        if isinstance(change, Decomposed):
            gains = change.gains if change.gains is not None else change.on(weight).gains
            self._gains = None if gains is None else gains.to(like.device, like.dtype).view(self._across())
            self._by_inputs, self._strength, change = change.by_inputs, change.strength, change.change
        self._change = change.to(like.device) if isinstance(change, Product) else change
        self._shape = weight.shape

    def _matrix(self) -> Tensor:
        like = self._like
        return self._once(like.dtype, lambda dtype: self._change.matrix().to(like.device, dtype).view(self._shape))

    def __call__(self, x: Tensor, out: Tensor) -> Tensor:
        """What is to be added to ``out``, the layer's answer to x."""
        if self._gains is None:
            return _apply(x, self._matrix(), self._steps)
        bias = _bias_of(self._base)
        if self._by_inputs:
            scaled = x * self._gains
            answer, plain_answer = self._base(scaled - x), _apply(scaled, self._matrix(), self._steps)
            return (plain_answer + (answer if bias is None else answer - bias.view(self._across()))) * self._strength
        bare = out if bias is None else out - bias.view(self._across())
        added = _apply(x, self._matrix(), self._steps)
        return ((self._gains - 1) * bare + self._gains * added) * self._strength

    def _across(self) -> tuple[int, ...]:
        return (-1, 1, 1) if self._steps else (-1,)


class AdaptedHalves(nn.Module):
    """A gated layer's two halves, each with its part of the changes."""

    def __init__(self, base: Any, changes: Sequence[Change], like: Tensor) -> None:
        super().__init__()
        self._base = base
        on = [change.on(_weight_of(base)) if isinstance(change, Decomposed) else change for change in changes]
        self.first, self.second = (
            Adapted(half, [change.half(k) for change in on], {}, like) for k, half in enumerate(halves(base))
        )


class Attachment:
    """Branches on a network, until :meth:`remove`."""

    def __init__(self, network: nn.Module, changes: Mapping[str, Sequence[Change]]) -> None:
        """``changes``: by the path of the layer that they stand beside. What fails half-way leaves nothing behind."""
        self._replaced: list[tuple[nn.Module, str, nn.Module]] = []
        like = next(p for p in network.parameters() if p.is_floating_point())
        try:
            for path, group in changes.items():
                self._attach(network, path, group, like)
        except BaseException:
            self.remove()
            raise

    def _attach(self, network: nn.Module, path: str, changes: Sequence[Change], like: Tensor) -> None:
        above, _, name = path.rpartition(".")
        parent = network.get_submodule(above)
        base = getattr(parent, name)
        feed = network.get_submodule(above.removesuffix(".net.0")) if above.endswith(".net.0") else None
        if isinstance(feed, TiledFeedForward):
            new: nn.Module = AdaptedHalves(base, changes, like)
        else:
            new = Adapted(base, changes, _steps_of(base), like)
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
        return plain((module.out_channels, module.in_channels, *module.kernel_size))
    if hasattr(module, "first") and hasattr(module, "second") and (one := _size(module.first)) is not None:
        return 2 * one[0], one[1]
    return None


def _steps_of(layer: Any) -> dict[str, Any]:
    return {n: getattr(layer, n) for n in ("stride", "padding", "dilation") if hasattr(layer, n)}


def _merged(branches: Sequence[Branch], steps: Mapping[str, Any], like: Tensor) -> tuple[Tensor, Tensor]:
    """(down, up) of all branches together."""
    ups = torch.cat([branch.up.flatten(1).float() * branch.scale for branch in branches], 1)
    downs = torch.cat([_four(branch.down).float() for branch in branches])
    up, down = (matrix.to(like.device, like.dtype) for matrix in (ups, downs))
    return (down, _four(up)) if steps else (down.flatten(1), up)


def _apply(x: Tensor, weight: Tensor, steps: Mapping[str, Any]) -> Tensor:
    return F.conv2d(x, weight, **steps) if steps else F.linear(x, weight)


def _weight_of(layer: Any) -> Tensor:
    """The layer's weight; of a gated one that has two halves, and of half a stock layer, too."""
    if isinstance(layer, functools.partial):
        return layer.keywords["weight"]
    if hasattr(layer, "weight"):
        return layer.weight
    return torch.cat([layer.first.weight, layer.second.weight])


def _bias_of(layer: Any) -> Tensor | None:
    return layer.keywords["bias"] if isinstance(layer, functools.partial) else layer.bias


def _four(weight: Tensor) -> Tensor:
    return weight if weight.ndim == 4 else weight[:, :, None, None]
