"""What clients of OpenAI's images API send."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, Field


class Generation(BaseModel):
    """``POST /v1/images/generations``, and as extras what Stable Diffusion has."""

    #: What the events of a stream are called by.
    event: ClassVar[str] = "image_generation"

    prompt: Annotated[str, Field(min_length=1, max_length=32_000)]
    model: str | None = None
    n: Annotated[int, Field(ge=1, le=10)] | None = 1
    size: str | None = "auto"
    response_format: Literal["url", "b64_json"] | None = "b64_json"
    output_format: Literal["png", "jpeg", "webp"] | None = "png"
    output_compression: Annotated[int, Field(ge=0, le=100)] | None = 100
    quality: str | None = None
    background: str | None = None
    moderation: str | None = None
    style: str | None = None
    user: str | None = None
    stream: bool | None = False
    partial_images: Annotated[int, Field(ge=0, le=3)] | None = 0
    negative_prompt: Annotated[str, Field(max_length=100_000)] = ""
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] | None = None
    steps: Annotated[int, Field(ge=1, le=1000)] | None = None
    sampler: str | None = None
    scheduler: str | None = None
    cfg_scale: Annotated[float, Field(ge=0, le=100)] | None = None
    clip_skip: Annotated[int, Field(ge=1, le=12)] | None = None
