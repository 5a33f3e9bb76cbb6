"""Pictures on fixed prompts and seeds, drawn by the networks as they are at the moment."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image

from sfumato.engine.conditioning import EncodingCache
from sfumato.engine.draw import Stopwatch, draw
from sfumato.engine.resolve import resolve
from sfumato.families.base import Networks
from sfumato.families.text import read
from sfumato.request import Txt2ImgRequest
from sfumato.sampling.noise_schedule import NoiseSchedule

STEPS = 20


def sample(
    networks: Networks, schedule: NoiseSchedule, prompts: Sequence[str], seed: int, autocast: Any,
    cfg_scale: float | None = None,
) -> list[Image.Image]:  # fmt: skip
    """One picture for each prompt, of the model's own size, always from the same noise.

    Args:
        autocast: a context manager's factory, as the training computes in.
        cfg_scale: guidance; None is what suits the model.
    """
    networks.unet.eval()
    images = []
    cache = EncodingCache(functools.partial(read, networks))
    for prompt in prompts:
        job = resolve(Txt2ImgRequest(prompt=prompt, seed=seed, steps=STEPS, cfg_scale=cfg_scale), networks.spec)
        with torch.no_grad(), autocast():
            images += draw(job, networks, cache, schedule, None, Stopwatch())
    return images
