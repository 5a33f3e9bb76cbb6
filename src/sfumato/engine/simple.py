"""One call from words to a picture, with a studio that is shared between calls."""

from __future__ import annotations

from dataclasses import replace

from sfumato.engine.studio import Studio
from sfumato.request import Result, Txt2ImgRequest


def generate(prompt: str, *, studio: Studio | None = None, **options: object) -> Result:
    """Draw one prompt with the built-in model, or with a studio's.

    >>> import sfumato
    >>> result = sfumato.generate("a red apple", seed=7, steps=2, width=64, height=64)
    >>> result.images[0].size, result.infos[0].seed
    ((64, 64), 7)
    """
    request = replace(Txt2ImgRequest(prompt=prompt), **options)  # pyright: ignore[reportArgumentType]
    return (studio or default_studio()).generate(request)


_default: list[Studio] = []


def default_studio() -> Studio:
    """The studio that :func:`generate` shares between calls, made at the first."""
    if not _default:
        _default.append(Studio())
    return _default[0]
