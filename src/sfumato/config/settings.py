"""Every setting, its type and its default. The same keys stand in config.yaml with their explanation."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from sfumato.request import MAX_STEPS

_SIZE = re.compile(r"\s*(\d+)\s*(?:[xX×]\s*(\d+)\s*)?")


def parse_size(value: object) -> str:
    """``512x768`` or ``512`` as ``WIDTHxHEIGHT``.

    >>> parse_size(512), parse_size("512 x 768")
    ('512x512', '512x768')
    """
    match = None if isinstance(value, bool) else _SIZE.fullmatch(str(value))
    if match is None or 0 in (int(match[1]), int(match[2] or match[1])):
        raise ValueError("should be WIDTHxHEIGHT in pixels, such as 512x512")
    return f"{int(match[1])}x{int(match[2] or match[1])}"


def _no_switch(value: object) -> object:
    """YAML reads ``yes``, ``no``, ``on`` and ``off`` as switches, which Python would count as 1 and 0."""
    if isinstance(value, bool):
        raise ValueError("should be a number")  # noqa: TRY004  pydantic reports only ValueError
    return value


def _level(value: object) -> object:
    """``true`` and ``false`` are what this was once."""
    return {"true": "full", "false": "none"}.get(str(value).lower(), value)


Whole = Annotated[int, BeforeValidator(_no_switch)]
Real = Annotated[float, BeforeValidator(_no_switch)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelSettings(_Section):
    """Which model, and how it draws."""

    type: Annotated[str, Field(min_length=1)] = "stable-universe"
    resolution: Annotated[str, BeforeValidator(parse_size)] = "512x512"
    steps: Annotated[Whole, Field(ge=1, le=MAX_STEPS)] = 50
    sampler: str | None = None
    scheduler: str | None = None
    cfg_scale: Annotated[Annotated[float, Field(ge=0, le=100)] | None, BeforeValidator(_no_switch)] = None
    clip_skip: Annotated[Whole, Field(ge=1, le=12)] = 1
    vae: str | None = None
    text_encoder: str | None = None
    allow_partial: bool = False
    precision: Literal["autocast", "full", "half", "bf16", "int8"] = "autocast"

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        width, _, height = self.resolution.partition("x")
        return int(width), int(height)


class OutputSettings(_Section):
    """Where pictures go, and what is written into them."""

    dir: Annotated[str, Field(min_length=1)] = "outputs"
    pattern: Annotated[str, Field(min_length=1)] = "[date]/[number]-[seed]"
    format: Literal["png", "jpeg", "webp"] = "png"
    metadata: Annotated[Literal["none", "ai-flag", "full"], BeforeValidator(_level)] = "full"


class JobSettings(_Section):
    """The queue, and those who draw what it holds."""

    dir: Annotated[str, Field(min_length=1)] = "jobs"
    checkpoint_steps: Annotated[Whole, Field(ge=1, le=MAX_STEPS)] = 5
    workers: Annotated[Annotated[int, Field(ge=1, le=64)] | None, BeforeValidator(_no_switch)] = None


class Settings(_Section):
    """All settings."""

    model: ModelSettings = ModelSettings()
    output: OutputSettings = OutputSettings()
    jobs: JobSettings = JobSettings()
    device: Literal["auto", "cpu", "cuda", "mps", "xpu"] = "auto"
    memory: Literal["auto", "max_speed", "balanced", "low", "minimal"] = "auto"
    threads: Annotated[Annotated[int, Field(ge=1, le=1024)] | None, BeforeValidator(_no_switch)] = None
    models_dir: Annotated[str, Field(min_length=1)] = "models"
