"""Which number formats to compute in: a pure function from a wish and a device's facts."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from sfumato.errors import DeviceError, nearest
from sfumato.runtime.device import DeviceFacts

WISHES = ("autocast", "full", "half", "bf16")


@dataclass(frozen=True)
class Precision:
    """``dtype`` for the UNet and the text encoder, ``vae_dtype`` for the autoencoder, and why."""

    dtype: torch.dtype
    vae_dtype: torch.dtype
    reason: str


def choose(wish: str, facts: DeviceFacts) -> Precision:
    """The formats for ``autocast`` (half precision where the device is good at it), ``full``, ``half`` or ``bf16``.

    Raises:
        DeviceError: the wish is unknown, or float16 was wished on a CPU, which computes it slower than float32.
    """
    if wish not in WISHES:
        choices = f"choose {', '.join(WISHES)}; {nearest(wish, WISHES)}".rstrip("; ")
        raise DeviceError(f"unknown precision {wish!r}; {choices}")
    if wish == "full":
        return Precision(torch.float32, torch.float32, "float32 as asked")
    if wish == "bf16":
        return Precision(torch.bfloat16, torch.bfloat16, "bfloat16 as asked")
    if wish == "half":
        if facts.kind == "cpu":
            raise DeviceError("float16 is slower than float32 on a CPU; use --precision bf16, full or autocast")
        return Precision(torch.float16, torch.float32, "float16 as asked; float32 for the VAE, which overflows in it")
    return _autocast(facts)


def _autocast(facts: DeviceFacts) -> Precision:
    if facts.bf16:
        return Precision(torch.bfloat16, torch.bfloat16, f"{facts.kind} has fast bfloat16")
    if facts.fp16 and facts.kind != "cpu":
        return Precision(torch.float16, torch.float32, f"{facts.kind} has fast float16; the VAE overflows in it")
    return Precision(torch.float32, torch.float32, f"{facts.kind} has no fast half precision")
