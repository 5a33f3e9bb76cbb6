"""The words that a picture is shown with at one step."""

from __future__ import annotations

import random

from sfumato.training.settings import DataSettings


def vary(caption: str, settings: DataSettings, rng: random.Random) -> str:
    """The caption, sometimes left out, and with its comma-separated parts in a new order if that is wished.

    >>> vary("xyz, red, round", DataSettings(data_dir=None, shuffle_caption=True, keep_tokens=1), random.Random(1))
    'xyz, round, red'
    """
    if rng.random() < settings.caption_dropout:
        return ""
    if not settings.shuffle_caption:
        return caption
    parts = [part.strip() for part in caption.split(",") if part.strip()]
    kept, rest = parts[: settings.keep_tokens], parts[settings.keep_tokens :]
    rng.shuffle(rest)
    return ", ".join(kept + rest)
