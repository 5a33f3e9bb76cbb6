"""What a picture will take in memory, told by the model's header before torch is imported."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sfumato.families import models_folder
from sfumato.runtime import formats
from sfumato.runtime.device import quick
from sfumato.runtime.memory import room
from sfumato.runtime.plan import Ask, Plan, plan
from sfumato.weights.sizes import sizes_of

if TYPE_CHECKING:
    from sfumato.config import Settings


def forecast(settings: Settings, ask: Ask, refiner: str | None = None) -> tuple[Plan, formats.Formats, int]:
    """How the settings' model would draw it, in what types, and the bytes that are free. ``refiner`` names the second
    model, if there is one.

    Raises:
        OutOfMemoryError: it does not fit; the message says what does. CheckpointError: there is no such model.
    """
    folders, model = [Path(settings.models_dir)], settings.model
    vae = next(iter(models_folder.find_parts(model.vae or "", "vae", folders)), None)
    texts = models_folder.find_parts(model.text_encoder or "", "text_encoder", folders)
    sizes = sizes_of(models_folder.find(model.type, folders), vae, texts)
    if refiner is not None:
        sizes = sizes.beside(sizes_of(models_folder.find(refiner, folders)))
    facts = quick(settings.device)
    chosen = formats.choose(model.precision, facts.kind, facts.bf16, facts.fp16)
    free = room(facts.free_memory)
    return plan(sizes, ask, chosen, free, settings.memory, device=facts.kind), chosen, free
