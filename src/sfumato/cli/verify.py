"""How far a smaller model's pictures are from the original's."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

#: What is drawn: the same few words, steps and pixels for every model; the seeds count from 0.
PROMPTS = ("a red apple", "a cat on a blue background", "a house", "a portrait of a woman")
STEPS, SIDE = 4, 128


def verify(original: Path, smaller: Path, count: int) -> str:
    """A line on the peak signal-to-noise ratio of so many pictures; one model is in memory at a time.

    Raises:
        SfumatoError: a model can't be drawn with.
    """
    pairs = zip(_draw(original, count), _draw(smaller, count), strict=True)
    ratios = [psnr(before, after) for before, after in pairs]
    what = f"{count} picture{'s' * (count != 1)} of {SIDE}x{SIDE} in {STEPS} steps"
    return f"PSNR of {what}: {_decibels(sum(ratios) / count)} on average, {_decibels(min(ratios))} at the least"


def psnr(before: np.ndarray, after: np.ndarray) -> float:
    """Of pictures with levels to 255, in decibels; infinite for equal ones.

    >>> round(psnr(np.zeros(4), np.full(4, 2.55)), 6)
    40.0
    """
    error = float(np.square(before.astype(np.float64) - after).mean())
    return 10 * math.log10(255**2 / error) if error else math.inf


def _draw(model: Path, count: int) -> list[np.ndarray]:
    from sfumato import Studio, Txt2ImgRequest

    studio = Studio(model)
    request = [
        Txt2ImgRequest(prompt=PROMPTS[seed % len(PROMPTS)], seed=seed, steps=STEPS, width=SIDE, height=SIDE)
        for seed in range(count)
    ]
    return [np.asarray(studio.generate(one).images[0]) for one in request]


def _decibels(ratio: float) -> str:
    return f"{ratio:.1f} dB" if math.isfinite(ratio) else "equal"
