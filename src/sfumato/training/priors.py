"""Prior preservation (Ruiz et al. 2022, "DreamBooth"): pictures that the base model drew itself, to learn along.

Without them a model that only sees one new thing soon draws that thing whatever the words are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin

from sfumato.families.base import Networks
from sfumato.families.registry import recommended
from sfumato.runtime.atomic import write_whole
from sfumato.sampling.noise_schedule import NoiseSchedule
from sfumato.training import samples
from sfumato.training.dataset import Item
from sfumato.training.settings import DataSettings

#: How many are drawn for a prompt of the user's own.
FOR_A_PROMPT = 50


def prompts(settings: DataSettings, base: Path) -> list[str]:
    """What to draw: ``--class_prompt`` as often as wished, or what the base model recommends; nothing beside a folder.

    Returns:
        A prompt for each picture, the same one perhaps many times.
    """
    if settings.reg_dir is not None or settings.class_pictures == 0:
        return []
    if settings.class_prompt is not None:
        return [settings.class_prompt] * (settings.class_pictures or FOR_A_PROMPT)
    known = recommended(base).get("class_prompts", [])
    count = len(known) if settings.class_pictures is None else settings.class_pictures
    return [known[k % len(known)] for k in range(count)] if known else []


def plan(networks: Networks, wanted: Sequence[str], weight: float, folder: Path) -> list[Item]:
    """The pictures as items, whether they are drawn already or not."""
    size = networks.spec.native_size
    return [Item(folder / f"{row:04d}.png", text, 1, weight, size, prior=True) for row, text in enumerate(wanted)]


def draw(
    items: Sequence[Item], networks: Networks, schedule: NoiseSchedule, autocast: Any,
    on_picture: Callable[[int], None], cfg_scale: float | None,
) -> None:  # fmt: skip
    """Draw those that are not there, with those that are drawn at once with them; ``on_picture`` is told how many are.

    Args:
        cfg_scale: guidance; None is what suits the model. A model that draws well without any (1) is better taught
            what it draws without: otherwise it learns the guidance along, and has it twice when it is used.
    """
    count = samples.at_once(networks)
    for first in range(0, len(items), count):
        group = items[first : first + count]
        if not all(item.path.is_file() for item in group):
            prompts, seeds = [item.caption for item in group], range(first, first + len(group))
            images = samples.sample(networks, schedule, prompts, seeds, autocast, cfg_scale)
            for item, image in zip(group, images, strict=True):
                _write(item, image)
        on_picture(first + len(group))


def _write(item: Item, image: Image.Image) -> None:
    notes = PngImagePlugin.PngInfo()
    notes.add_text("prompt", item.caption)
    write_whole(item.path, lambda file: image.save(file, "PNG", pnginfo=notes))
