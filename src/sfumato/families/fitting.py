"""Whether an adapter fits a model, from headers: the model's networks are built without memory and without weights."""

from __future__ import annotations

from pathlib import Path

import torch

from sfumato.families import registry
from sfumato.families.adapters import Places, fit, matched, parts_of
from sfumato.families.base import Networks
from sfumato.families.embeddings import read_embedding
from sfumato.families.text import ClipReader
from sfumato.weights.detect import detect
from sfumato.weights.lora import read_lora
from sfumato.weights.source import open_any

_META = torch.device("meta")


def skeleton(model: Path) -> Networks:
    """A model's networks on the ``meta`` device: they have names, sizes and types, and no numbers.

    Raises:
        CheckpointError: it can't be loaded.
    """
    return registry.load(model, torch.float32, torch.float32, _META)


def fits(adapter: Path, networks: Networks) -> str:
    """How a LoRA or an embedding fits a model, in words.

    Raises:
        CheckpointError: it does not, or in part; the message says how much does.
    """
    if detect(open_any(adapter).header).kind == "lora":
        lora = read_lora(adapter)
        return matched(lora, fit(lora, {name: Places(name, part) for name, part in parts_of(networks).items()}))
    clips = [reader for reader in networks.readers if isinstance(reader, ClipReader)]
    sizes = [(len(read_embedding(adapter, one.network.config.hidden_size, one.key)), one.name) for one in clips]
    return ", ".join(f"{count} vectors in {name}" for count, name in sizes) + " fit"
