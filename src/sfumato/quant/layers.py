"""Layers that hold their weights packed and unpack them when they are used, for inference only.

They have the names and sizes of the layers in whose place they stand, so LoRAs find them; a weight is in memory
unpacked for as long as its layer works, and no longer.
"""

from __future__ import annotations

from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.quant.unpack import codec_of, unpack
from sfumato.runtime.held import Holding
from sfumato.weights.blocks import Blocks

Layer = TypeVar("Layer", bound=nn.Module)


class QuantLayer(Holding, nn.Module):
    """What they have in common; inside ``held`` the weight stays unpacked from its first use on."""

    def __init__(self, blocks: Blocks, bias: Tensor | None) -> None:
        super().__init__()
        self._kind, self._shape = blocks.kind, blocks.shape
        self.register_buffer("blocks", blocks.data, persistent=False)
        self.bias = bias if bias is None or isinstance(bias, nn.Parameter) else nn.Parameter(bias, requires_grad=False)

    @property
    def packed(self) -> Blocks:
        """The weight as it is."""
        return Blocks(self.get_buffer("blocks"), self._kind, self._shape)

    @property
    def weight(self) -> Tensor:
        """A copy of the weight, unpacked, in float32."""
        return unpack(self.packed, torch.float32)

    def stock(self, dtype: torch.dtype) -> nn.Module:
        """The layer in whose place it stands, with the weight unpacked in ``dtype``."""
        raise NotImplementedError

    def _unpacked(self, dtype: torch.dtype) -> Tensor:
        return self._once(dtype, lambda dtype: unpack(self.packed, dtype))

    def extra_repr(self) -> str:
        """For printing."""
        return f"{tuple(self._shape)}, {self._kind.lower()}"


class QuantLinear(QuantLayer):
    """``x Wᵀ + b`` in the type of x."""

    def __init__(self, blocks: Blocks, bias: Tensor | None) -> None:
        """``blocks``: of (out, in); ``bias``: (out,)."""
        super().__init__(blocks, bias)
        self.out_features, self.in_features = blocks.shape

    @property
    def first(self) -> QuantLinear:
        """The layer of the first half of the outputs, with the same bytes."""
        return self._half(0)

    @property
    def second(self) -> QuantLinear:
        """The layer of the second half."""
        return self._half(1)

    def _half(self, which: int) -> QuantLinear:
        bias = None if self.bias is None else self.bias.chunk(2)[which]
        return QuantLinear(self.packed.chunk(2)[which], bias)

    def stock(self, dtype: torch.dtype) -> nn.Linear:
        """See :class:`QuantLayer`."""
        plain = nn.Linear(self.in_features, self.out_features, self.bias is not None, device="meta")
        return _filled(plain, self, dtype)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) to (..., out)."""
        return F.linear(x, self._unpacked(x.dtype), self.bias)


class QuantConv2d(QuantLayer):
    """A convolution in the type of its input."""

    def __init__(self, blocks: Blocks, layer: nn.Conv2d) -> None:
        """``layer``: the stock one, whose weight may be on ``meta``."""
        super().__init__(blocks, layer.bias)
        self.in_channels, self.out_channels = layer.in_channels, layer.out_channels
        self.kernel_size, self.groups = layer.kernel_size, layer.groups
        self.stride, self.padding, self.dilation = layer.stride, layer.padding, layer.dilation

    def stock(self, dtype: torch.dtype) -> nn.Conv2d:
        """See :class:`QuantLayer`."""
        steps: Any = (self.kernel_size, self.stride, self.padding, self.dilation)
        bias = self.bias is not None
        plain = nn.Conv2d(self.in_channels, self.out_channels, *steps, groups=self.groups, bias=bias, device="meta")
        return _filled(plain, self, dtype)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) to (B, out, H', W')."""
        weight = self._unpacked(x.dtype)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class QuantEmbedding(QuantLayer):
    """A table of rows, of which only those that are looked up are unpacked."""

    def __init__(self, blocks: Blocks, dtype: torch.dtype) -> None:
        """``blocks``: of (rows, columns), each row in blocks of its own; ``dtype``: what rows are given in."""
        super().__init__(blocks, None)
        self.num_embeddings, self.embedding_dim = blocks.shape
        self._dtype = dtype

    def stock(self, dtype: torch.dtype) -> nn.Embedding:
        """See :class:`QuantLayer`."""
        return _filled(nn.Embedding(self.num_embeddings, self.embedding_dim, device="meta"), self, dtype)

    def forward(self, numbers: Tensor) -> Tensor:
        """(...) row numbers to (..., columns)."""
        rows = self.packed.data.view(self.num_embeddings, -1)[numbers.flatten()]
        shape = torch.Size((*numbers.shape, self.embedding_dim))
        data = rows.view(-1, self.packed.data.shape[1])
        return unpack(Blocks(data, self._kind, shape), self._dtype)


def _filled(plain: Layer, packed: QuantLayer, dtype: torch.dtype) -> Layer:
    tensors = {"weight": unpack(packed.packed, dtype), "bias": packed.bias}
    plain.load_state_dict({name: tensor for name, tensor in tensors.items() if tensor is not None}, assign=True)
    return plain.train(packed.training).requires_grad_(False)


def unpack_network(network: nn.Module, dtype: torch.dtype) -> None:
    """Put stock layers in the place of those that hold their weights packed, as training needs them."""
    for name, layer in list(network.named_modules()):
        if isinstance(layer, QuantLayer):
            network.set_submodule(name, layer.stock(dtype))


def place(network: nn.Module, name: str, blocks: Blocks, dtype: torch.dtype) -> bool:
    """Put a layer that holds ``blocks`` in the place of the stock layer whose weight has this name.

    Args:
        dtype: what the network computes in.

    Returns:
        False, and nothing is changed, where the weight is none of a linear layer, a convolution or a table, or takes
        no less memory packed.
    """
    path, _, leaf = name.rpartition(".")
    layer: Any = network.get_submodule(path)
    if leaf != "weight" or not path or blocks.data.nbytes >= blocks.numbers * dtype.itemsize:
        return False
    new = _layer_for(layer, blocks, dtype)
    if new is not None:
        network.set_submodule(path, new.train(layer.training))
    return new is not None


def _layer_for(layer: nn.Module, blocks: Blocks, dtype: torch.dtype) -> QuantLayer | None:
    codec_of(blocks.kind)
    # A layer of two halves is used by halves: see :mod:`sfumato.runtime.feed_forward`.
    if type(layer) is nn.Linear and (layer.out_features % 2 or blocks.can_split(2)):
        return QuantLinear(blocks, layer.bias)
    if type(layer) is nn.Conv2d and layer.padding_mode == "zeros" and not isinstance(layer.padding, str):
        return QuantConv2d(blocks, layer)
    if type(layer) is nn.Embedding and layer.max_norm is None and blocks.can_split(layer.num_embeddings):
        return QuantEmbedding(blocks, dtype)
    return None
