"""A model from its files to all that drawing with it needs."""

from __future__ import annotations

import functools
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import torch

from sfumato.engine.conditioning import EncodingCache
from sfumato.engine.residency import Residency
from sfumato.families import models_folder, registry
from sfumato.families.adapters import Adapters
from sfumato.families.base import Networks
from sfumato.families.noise import schedule_of
from sfumato.families.text import read
from sfumato.quant import int8
from sfumato.quant.streamed import settle
from sfumato.runtime import memory, optimize
from sfumato.runtime.device import DeviceFacts
from sfumato.runtime.plan import NETWORKS
from sfumato.runtime.precision import Precision
from sfumato.sampling.noise_schedule import NoiseSchedule
from sfumato.weights.digest import cache_file


@dataclass
class LoadedModel:
    """A model that is ready: its networks, its noise schedule and the encodings that it has made.

    ``hash`` is made beside the first picture: it takes reading all of the file, and nothing waits for it but the end.
    """

    name: str
    hash: Future[str]
    networks: Networks
    schedule: NoiseSchedule
    cache: EncodingCache
    adapters: Adapters
    residency: Residency
    streamed: tuple[str, ...] = ()


def load(
    path: Path,
    parts: registry.Parts,
    wish: Precision,
    facts: DeviceFacts,
    hashed: Future[str],
    *,
    streamed: tuple[str, ...],
) -> LoadedModel:
    """Load a checkpoint or folder with the other parts that were named; ``streamed`` leaves those networks'
    weights in the file.

    Raises:
        CheckpointError: it can't be loaded. OutOfMemoryError: there is too little memory.
    """
    with memory.worded_exhaustion(f"the model {path.name}"), memory.whole_pages():
        device = torch.device(facts.kind)
        packs = optimize.packs(facts, wish.dtype) and "unet" not in streamed
        # Of weights that stay in the file, one at a time is in memory while they are packed.
        apart = NETWORKS if wish.int8 else (*streamed, "unet") if packs else streamed
        networks = registry.load(path, wish.dtype, wish.vae_dtype, device, streamed=apart, parts=parts)
        if wish.int8:
            _pack(networks, wish)
        elif packs:
            settle(networks.unet)
        optimize.prepare(networks.unet, networks.vae, facts, wish.dtype)
    loras = Adapters(networks, partial=parts.partial)
    cache = EncodingCache(
        functools.partial(read, networks),
        reading=lambda: (loras.reading, *(reader.embeddings.known for reader in networks.readers)),
    )
    name, residency = models_folder.display_name(path), Residency(networks, cache_file().parent)
    return LoadedModel(name, hashed, networks, schedule_of(networks.spec), cache, loras, residency, streamed)


def _pack(networks: Networks, wish: Precision) -> None:
    """Weights of 8 bits in all networks."""
    int8.pack_network(networks.unet, wish.dtype)
    int8.pack_network(networks.vae, wish.vae_dtype)
    for reader in networks.readers:
        int8.pack_network(reader.network, wish.dtype)
