"""What a run will take, before it takes it: a step's time is measured, its memory counted on tensors without data."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sfumato.families.base import Encoding, Networks
from sfumato.training.cache import read_caption
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
    memory = kept + _saved_bytes(trainee, networks, inputs) + trained * 4 * (1 + moments) + _PROGRAM
    return Forecast(steps, seconds * batches * steps, memory)


def _inputs(networks: Networks, size: tuple[int, int], batch: int) -> tuple[Tensor, Tensor, Encoding]:
    spec, device, dtype = networks.spec, networks.device, networks.unet.dtype
    latent = (spec.latent_channels, size[1] // spec.latent_factor, size[0] // spec.latent_factor)
    with torch.no_grad():
        words = read_caption(networks, "").repeated(batch)
    words.context.requires_grad_(True)
    return torch.zeros(batch, *latent, device=device, dtype=dtype), torch.zeros(batch, device=device), words


def _seconds(trainee: Trainee, inputs: tuple[Tensor, Tensor, Encoding]) -> float:
    """A forward and backward pass; of short ones the quickest of a few."""
    taken: list[float] = []
    while not taken or (taken[0] < SHORT and len(taken) <= AGAIN):
        began = time.perf_counter()
        trainee(*inputs).float().mean().backward()
        taken.append(time.perf_counter() - began)
    trainee.zero_grad(set_to_none=True)
    return min(taken)


def _saved_bytes(trainee: Trainee, networks: Networks, inputs: tuple[Tensor, Tensor, Encoding]) -> int:
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

    def without_data(*args: Any, **kwargs: Any) -> Any:
        return torch.func.functional_call(unet, tensors, args, kwargs)

    x, t = (one.to("meta") for one in inputs[:2])
    words = Encoding(**{name: part.detach().to("meta") for name, part in inputs[2].parts().items()})
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        networks.conditioner.predict(without_data, x, t, words, (0, 0))
    return sum(seen.values())
