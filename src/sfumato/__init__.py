"""Sfumato: local Stable Diffusion. Words to pictures on your own computer, with nothing sent anywhere.

>>> import sfumato
>>> sfumato.generate("a red apple", seed=7, steps=2, width=64, height=64).images[0].size
(64, 64)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sfumato.request import Hires, ImageInfo, InitImage, Mask, Result, StepEvent, Txt2ImgRequest

if TYPE_CHECKING:
    from sfumato.engine.simple import generate
    from sfumato.engine.studio import Studio

__all__ = ["Hires", "ImageInfo", "InitImage", "Mask", "Result", "StepEvent", "Studio", "Txt2ImgRequest", "generate"]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """``Studio`` and ``generate`` need torch, so they are imported when they are first used."""
    if name in ("Studio", "generate"):
        from sfumato.engine import simple

        return getattr(simple, name)
    raise AttributeError(f"module 'sfumato' has no attribute {name!r}")
