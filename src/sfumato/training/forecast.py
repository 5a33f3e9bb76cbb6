"""What a run will take, before it takes it: a step's time is measured, its memory counted on tensors without data."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sfumato.families.base import Networks
from sfumato.training.methods import Trainee

#: A step that is shorter, in seconds, is taken again: the first one of all is slow.
SHORT, AGAIN = 2.0, 3
#: Bytes of Python and its libraries.
_PROGRAM = 400 * 2**20


@dataclass(frozen=True)
class Forecast:
    """For the whole run: optimizer steps, seconds, and the most memory in bytes; both rough."""

    steps: int
    seconds: float
    memory_bytes: int


def forecast(
    trainee: Trainee, networks: Networks, size: tuple[int, int], batch: int, batches: int, steps: int,
    autocast: AbstractContextManager[Any], moments: int = 2,
) -> Forecast:  # fmt: skip
    """Take a step with empty pictures of ``size`` pixels, without changing any weight.

    Args:
        batches: how many of ``batch`` pictures an optimizer step has.
        autocast: what the training computes in.
        moments: numbers that the optimizer keeps for each that is trained.
    """
    trained = sum(p.numel() for p in trainee.trained().values())
    kept = sum(p.nbytes for network in (trainee, networks.vae) for p in network.parameters())
    inputs = _inputs(networks, size, batch)
    with autocast:
        seconds = _seconds(trainee, inputs)
    memory = kept + _saved_bytes(trainee, inputs) + trained * 4 * (1 + moments) + _PROGRAM
    return Forecast(steps, seconds * batches * steps, memory)


def _inputs(networks: Networks, size: tuple[int, int], batch: int) -> tuple[Tensor, Tensor, Tensor]:
    spec, device, dtype = networks.spec, networks.device, networks.unet.dtype
    latent = (spec.latent_channels, size[1] // spec.latent_factor, size[0] // spec.latent_factor)
    words = (spec.context_length, networks.text_encoder.config.hidden_size)
    return (
        torch.zeros(batch, *latent, device=device, dtype=dtype),
        torch.zeros(batch, device=device),
        torch.zeros(batch, *words, device=device, dtype=dtype, requires_grad=True),
    )


def _seconds(trainee: Trainee, inputs: tuple[Tensor, Tensor, Tensor]) -> float:
    """A forward and backward pass; of short ones the quickest of a few."""
    taken: list[float] = []
    while not taken or (taken[0] < SHORT and len(taken) <= AGAIN):
        began = time.perf_counter()
        trainee(*inputs).float().mean().backward()
        taken.append(time.perf_counter() - began)
    trainee.zero_grad(set_to_none=True)
    return min(taken)


def _saved_bytes(trainee: Trainee, inputs: tuple[Tensor, Tensor, Tensor]) -> int:
    """What a forward pass keeps for the backward pass, weights left out."""
    unet = trainee.unet
    tensors = {n: t.detach().to("meta").requires_grad_(t.requires_grad) for n, t in unet.named_parameters()}
    tensors |= {n: t.to("meta") for n, t in unet.named_buffers()}
    weights = {t.untyped_storage()._cdata for t in tensors.values()}
    seen: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if (storage := tensor.untyped_storage()._cdata) not in weights:
            seen[storage] = max(seen.get(storage, 0), tensor.nbytes)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        torch.func.functional_call(unet, tensors, tuple(t.detach().to("meta") for t in inputs))
    return sum(seen.values())
