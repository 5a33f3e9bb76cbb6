"""Which number formats to compute in, as torch has them."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from sfumato.runtime import formats
from sfumato.runtime.device import DeviceFacts
from sfumato.runtime.formats import WISHES

__all__ = ["WISHES", "Precision", "choose"]


@dataclass(frozen=True)
class Precision:
    """``dtype`` for the UNet and the text encoder, ``vae_dtype`` for the autoencoder, why, and whether weights are
    packed to 8 bits.
    """

    dtype: torch.dtype
    vae_dtype: torch.dtype
    reason: str
    int8: bool = False


def choose(wish: str, facts: DeviceFacts) -> Precision:
    """As :func:`sfumato.runtime.formats.choose`, in torch's types.

    Raises:
        DeviceError: as there.
    """
    chosen = formats.choose(wish, facts.kind, facts.bf16, facts.fp16)
    return Precision(getattr(torch, chosen.dtype), getattr(torch, chosen.vae_dtype), chosen.reason, chosen.int8)
