"""What makes a loaded network fast on its device; the results stay the same up to rounding."""

from __future__ import annotations

import torch

from sfumato.runtime.attention import FastAttention
from sfumato.runtime.device import DeviceFacts
from sfumato.runtime.feed_forward import use_tiled_feed_forward
from sfumato.runtime.packed import can_pack, pack

#: diffusers' processors that :class:`FastAttention` computes the same as.
_STOCK = ("AttnProcessor", "AttnProcessor2_0", "FastAttention")


def packs(facts: DeviceFacts, dtype: torch.dtype) -> bool:
    """Whether :func:`prepare` lays the weights of a network that computes in this type out anew."""
    return facts.kind == "cpu" and facts.bf16 and dtype is torch.bfloat16 and can_pack()


def prepare(unet: torch.nn.Module, vae: torch.nn.Module, facts: DeviceFacts, dtype: torch.dtype) -> None:
    """Channels-last convolutions everywhere but on MPS; on a CPU our attention and feed-forward networks.

    On a CPU with fast bfloat16 a UNet that computes in it gets packed weights too, so whatever changes its weights has
    to do so before, and they may be of another type until then: see :func:`sfumato.runtime.packed.pack`. LoRAs change
    none and stand beside packed layers too: see :mod:`sfumato.runtime.adapted`.

    Args:
        dtype: what the UNet computes in.
    """
    if facts.kind == "cpu":
        use_tiled_feed_forward(unet)
    if packs(facts, dtype):
        pack(unet)
    for network in (unet, vae):
        if facts.kind != "mps":
            network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        if facts.kind == "cpu" and _has_stock_attention(network):
            network.set_attn_processor(FastAttention())  # pyright: ignore[reportCallIssue]


def _has_stock_attention(network: torch.nn.Module) -> bool:
    """Whether all of its attention is diffusers' plain one; attention of words and picture jointly is not."""
    processors = getattr(network, "attn_processors", {})
    return bool(processors) and all(type(one).__name__ in _STOCK for one in processors.values())
