"""Layers whose weights are in memory while they are used, for inference only: read from the model's file each time.

They have the names and sizes of the layers in whose place they stand, so LoRAs find them.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.runtime.held import Holding
from sfumato.weights.remote import Remote


class StreamedLayer(Holding, nn.Module):
    """What they have in common; inside ``held`` the weight stays from its first use on."""

    def __init__(self, remote: Remote, bias: Tensor | None) -> None:
        super().__init__()
        self._remote = remote
        self.bias = bias if bias is None or isinstance(bias, nn.Parameter) else nn.Parameter(bias, requires_grad=False)

    @property
    def weight(self) -> Tensor:
        """A copy of the weight, as the file has it."""
        return self._remote.read().clone()

    def stock(self) -> nn.Module:
        """The stock layer of its kind and size, whose weight is on ``meta``."""
        raise NotImplementedError

    def settled(self) -> nn.Module:
        """The stock layer with the weight, as the file has it."""
        layer = self.stock().train(self.training)
        layer.weight = nn.Parameter(self._remote.read(), requires_grad=False)
        return layer

    def _weight_for(self, x: Tensor) -> Tensor:
        return self._once(x.dtype, lambda dtype: self._remote.read().to(x.device, dtype))

    def extra_repr(self) -> str:
        """For printing."""
        return f"{tuple(self._remote.shape)}, streamed"


class StreamedLinear(StreamedLayer):
    """``x Wᵀ + b`` in the type of x."""

    def __init__(self, remote: Remote, bias: Tensor | None) -> None:
        """``remote``: of (out, in); ``bias``: (out,)."""
        super().__init__(remote, bias)
        self.out_features, self.in_features = remote.shape

    def stock(self) -> nn.Module:
        """See :meth:`StreamedLayer.stock`."""
        layer: Any = nn.Linear(self.in_features, self.out_features, bias=False, device="meta")
        layer.bias = self.bias
        return layer

    @property
    def first(self) -> StreamedLinear:
        """The layer of the first half of the outputs."""
        return self._half(0)

    @property
    def second(self) -> StreamedLinear:
        """The layer of the second half."""
        return self._half(1)

    def _half(self, which: int) -> StreamedLinear:
        bias = None if self.bias is None else self.bias.chunk(2)[which]
        return StreamedLinear(self._remote.chunk(2)[which], bias)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) to (..., out)."""
        return F.linear(x, self._weight_for(x), self.bias)


class StreamedEmbedding(StreamedLayer):
    """A table of rows, of which only those that are looked up are read where the file is mapped."""

    def __init__(self, remote: Remote, dtype: torch.dtype) -> None:
        """``remote``: of (rows, columns); ``dtype``: what rows are given in."""
        super().__init__(remote, None)
        self.num_embeddings, self.embedding_dim = remote.shape
        self._dtype = dtype

    def stock(self) -> nn.Module:
        """See :meth:`StreamedLayer.stock`."""
        return nn.Embedding(self.num_embeddings, self.embedding_dim, device="meta")

    def forward(self, numbers: Tensor) -> Tensor:
        """(...) row numbers to (..., columns)."""
        return F.embedding(numbers.cpu(), self._remote.read()).to(numbers.device, self._dtype)


class StreamedConv2d(StreamedLayer):
    """A convolution in the type of its input."""

    def __init__(self, remote: Remote, layer: nn.Conv2d) -> None:
        """``layer``: the stock one, whose weight may be on ``meta``."""
        super().__init__(remote, layer.bias)
        self.in_channels, self.out_channels = layer.in_channels, layer.out_channels
        self.kernel_size, self.groups = layer.kernel_size, layer.groups
        self.stride, self.padding, self.dilation = layer.stride, layer.padding, layer.dilation

    def stock(self) -> nn.Module:
        """See :meth:`StreamedLayer.stock`."""
        shape: Any = (self.kernel_size, self.stride, self.padding, self.dilation)
        layer: Any = nn.Conv2d(
            self.in_channels, self.out_channels, *shape, groups=self.groups, bias=False, device="meta"
        )
        layer.bias = self.bias
        return layer

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) to (B, out, H', W')."""
        weight = self._weight_for(x)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


def settle(network: nn.Module) -> None:
    """Put stock layers in the place of streamed ones, with their weights as the file has them: in its type, and without
    a copy where it is mapped.
    """
    for name, layer in list(network.named_modules()):
        if isinstance(layer, StreamedLayer):
            network.set_submodule(name, layer.settled())


def place(network: nn.Module, name: str, remote: Remote, dtype: torch.dtype) -> bool:
    """Put a layer that reads ``remote`` in the place of the stock layer whose weight has this name.

    Args:
        dtype: what the network computes in.

    Returns:
        False, and nothing is changed, where the weight is none of a linear layer, a plain convolution or a table.
    """
    path, _, leaf = name.rpartition(".")
    layer: Any = network.get_submodule(path)
    if leaf != "weight" or not path:
        return False
    if type(layer) is nn.Linear:
        new: StreamedLayer = StreamedLinear(remote, layer.bias)
    elif type(layer) is nn.Embedding:
        new = StreamedEmbedding(remote, dtype)
    elif type(layer) is nn.Conv2d and layer.padding_mode == "zeros" and not isinstance(layer.padding, str):
        new = StreamedConv2d(remote, layer)
    else:
        return False
    network.set_submodule(path, new.train(layer.training))
    return True
