"""Weights laid out once as oneDNN's bfloat16 kernels read them, and not anew in every call.

The stock layers keep weights in PyTorch's order, and oneDNN turns them into its own before each product: a tenth of
the time of Stable Diffusion 1.5's step, and more than half of it in the deep layers, where weights are many and pixels
are few. The operators used are those that PyTorch's own compiler uses for the same purpose.
"""

from __future__ import annotations

import platform
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from sfumato.runtime.feed_forward import TiledFeedForward

#: The picture size that convolutions are laid out for, in latent pixels; others run as fast.
_SIDE = 32
#: What oneDNN takes and turns into bfloat16 itself.
_KNOWN = (torch.float32, torch.float16, torch.bfloat16)
_OPERATORS = ("_linear_pointwise", "_convolution_pointwise", "_reorder_linear_weight", "_is_mkldnn_bf16_supported")


def can_pack() -> bool:
    """Whether this PyTorch has the operators, and this processor the instructions that they are made of.

    Only the kernels of x86 processors are known to gain by them.
    """
    return (
        platform.machine().lower() in ("x86_64", "amd64")
        and torch.backends.mkldnn.is_available()
        and all(hasattr(torch.ops.mkldnn, name) for name in _OPERATORS)
        and hasattr(_own_operators(), "mkldnn_reorder_conv2d_weight")
        and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )


def _own_operators() -> Any:
    """PyTorch's operators that have no public name and no declared type."""
    return getattr(torch._C, "_nn")  # noqa: B009


class PackedLinear(nn.Module):
    """``x Wᵀ + b`` in bfloat16, for inference only."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        """``weight``: (out, in), of any floating type; ``bias``: (out,)."""
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach().bfloat16().contiguous(), None)
        self._bias = None if bias is None else bias.detach().bfloat16().contiguous()

    @property
    def weight(self) -> Tensor:
        """A copy of the weight in PyTorch's own order."""
        return self._packed.to_dense()

    @property
    def bias(self) -> Tensor | None:
        """(out,), if there is one."""
        return self._bias

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) to (..., out)."""
        return torch.ops.mkldnn._linear_pointwise(x, self._packed, self._bias, "none", [], "")


class PackedHalves(nn.Module):
    """A linear layer as two, with the first and the second half of its outputs."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        biases = (None, None) if layer.bias is None else layer.bias.chunk(2)
        self.first, self.second = map(PackedLinear, layer.weight.chunk(2), biases)


class PackedConv2d(nn.Module):
    """A convolution in bfloat16, for inference only."""

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self.in_channels, self.out_channels = layer.in_channels, layer.out_channels
        self.kernel_size = layer.kernel_size
        self.stride, self.padding, self.dilation = layer.stride, layer.padding, layer.dilation
        self._steps: tuple[Any, ...] = (list(layer.padding), list(layer.stride), list(layer.dilation), layer.groups)
        size = [2, layer.in_channels, _SIDE, _SIDE]
        weight = layer.weight.detach().contiguous()
        known = weight if weight.dtype in _KNOWN else weight.bfloat16()
        dense = known.to_mkldnn(torch.bfloat16)
        self._packed = _own_operators().mkldnn_reorder_conv2d_weight(dense, *self._steps, size)
        self._bias = None if layer.bias is None else layer.bias.detach().bfloat16()

    @property
    def weight(self) -> Tensor:
        """A copy of the weight in PyTorch's own order."""
        return self._packed.to_dense()

    @property
    def bias(self) -> Tensor | None:
        """(out,), if there is one."""
        return self._bias

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) to (B, out, H', W')."""
        return torch.ops.mkldnn._convolution_pointwise(x, self._packed, self._bias, *self._steps, "none", [], "")


def pack(network: nn.Module) -> None:
    """Put packed layers in the place of the network's linear and convolution layers, whatever their floating type.

    The weights are moved, so the network takes no more memory, but ``state_dict`` no longer has them: whatever changes
    weights has to do so before. Layers that can't be packed become bfloat16.
    """
    # A list of all modules would keep the layers alive, and with them two copies of every weight.
    for module in [m for m in network.modules() if not isinstance(m, (nn.Linear, nn.Conv2d))]:
        if isinstance(module, TiledFeedForward):
            gated: Any = module.net[0]
            if _can_be_linear(gated.proj):
                gated.proj = PackedHalves(gated.proj)
        for name, child in list(module.named_children()):
            if _can_be_linear(child):
                setattr(module, name, PackedLinear(child.weight, child.bias))
            elif _can_be_conv2d(child):
                setattr(module, name, PackedConv2d(child))
            elif isinstance(child, (nn.Linear, nn.Conv2d, nn.Embedding)):
                child.bfloat16()
    network.train(network.training)


def _can_be_linear(layer: nn.Module) -> TypeGuard[nn.Linear]:
    return type(layer) is nn.Linear


def _can_be_conv2d(layer: nn.Module) -> TypeGuard[nn.Conv2d]:
    if type(layer) is not nn.Conv2d or isinstance(layer.padding, str):
        return False
    return layer.padding_mode == "zeros" and layer.groups == 1
