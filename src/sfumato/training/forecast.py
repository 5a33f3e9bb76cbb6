"""What a run will take, before it takes it: work and memory counted on networks without weights."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from sfumato.families.base import Networks
from sfumato.training.methods import Trainee

#: The share of a large product's speed that a training step reaches; 0.2 to 0.4 was seen on two cores.
EFFICIENCY = 0.3
_SIDE = 1024


@dataclass(frozen=True)
class Forecast:
    """For the whole run: optimizer steps, seconds, and the most memory in bytes; both rough."""

    steps: int
    seconds: float
    memory_bytes: int


def forecast(
    trainee: Trainee, networks: Networks, size: tuple[int, int], batch: int, accumulation: int, steps: int,
    dtype: torch.dtype, moments: int = 2,
) -> Forecast:  # fmt: skip
    """Count one step at ``size`` pixels and measure how fast this device multiplies.

    Args:
        dtype: what the networks compute in.
        moments: numbers that the optimizer keeps for each that is trained.
    """
    trained = sum(p.numel() for p in trainee.trained().values())
    kept = sum(p.numel() * p.element_size() for p in trainee.parameters())
    kept += sum(p.numel() * p.element_size() for p in networks.vae.parameters())
    flops, saved = count(trainee, networks, size, batch)
    full = trained == sum(p.numel() for p in trainee.parameters())
    work = flops * (3 if full else 2) * accumulation * steps
    memory = kept + saved * dtype.itemsize + trained * 4 * (1 + moments) + 400 * 2**20
    return Forecast(steps, work / (speed(networks.device, dtype) * EFFICIENCY), memory)


def count(trainee: Trainee, networks: Networks, size: tuple[int, int], batch: int) -> tuple[int, int]:
    """Operations of one forward pass, and how many numbers it keeps for the backward pass."""
    unet, spec = trainee.unet, networks.spec
    tensors = {n: t.detach().to("meta").requires_grad_(t.requires_grad) for n, t in unet.named_parameters()}
    tensors |= {n: t.to("meta") for n, t in unet.named_buffers()}
    shape = (batch, spec.latent_channels, size[1] // spec.latent_factor, size[0] // spec.latent_factor)
    width = networks.text_encoder.config.hidden_size
    dtype = next(iter(tensors.values())).dtype
    inputs = torch.zeros(shape, device="meta", dtype=dtype), torch.zeros(batch, device="meta")
    words = torch.zeros(batch, spec.context_length, width, device="meta", dtype=dtype)
    weights = {t.untyped_storage()._cdata for t in tensors.values()}
    seen: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if (storage := tensor.untyped_storage()._cdata) not in weights:
            seen[storage] = max(seen.get(storage, 0), tensor.numel())
        return tensor

    with FlopCounterMode(display=False) as counter, torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        torch.func.functional_call(unet, tensors, (*inputs, words))
    return counter.get_total_flops(), sum(seen.values())


def speed(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of a large matrix product, measured now."""
    a = torch.ones(_SIDE, _SIDE, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(4):
        began = time.perf_counter()
        (a @ a)[0, 0].item()
        best = min(best, time.perf_counter() - began)
    return 2 * _SIDE**3 / best
