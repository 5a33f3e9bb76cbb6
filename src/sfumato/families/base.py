"""What every family gives to the engine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from sfumato.families.embeddings import Embeddings
from sfumato.families.tokens import ClipTokenizer


@dataclass(frozen=True, kw_only=True)
class Spec:
    """A model's facts. ``latent_factor`` is pixels a latent cell, along one side; ``native_size`` is in pixels.

    Latents are ``(encoded - shift_factor) * scaling_factor``; ``betas`` is (start, end, kind, count) of the noise.
    ``cfg_scale`` is the guidance that suits the model, for requests that name none; ``second_pass``
    the share of the steps that refine a picture far above the native size.
    """

    name: str
    prediction: str = "epsilon"
    latent_channels: int = 4
    latent_factor: int = 8
    scaling_factor: float = 0.18215
    shift_factor: float = 0.0
    context_length: int = 77
    native_size: tuple[int, int] = (512, 512)
    cfg_scale: float = 7.0
    second_pass: float = 0.4
    betas: tuple[float, float, str, int] = (0.00085, 0.012, "scaled_linear", 1000)


@dataclass
class Networks:
    """A loaded model: text encoder, UNet and autoencoder of their libraries' classes, with tokenizer and facts."""

    spec: Spec
    tokenizer: ClipTokenizer
    text_encoder: Any
    unet: Any
    vae: Any
    device: torch.device
    embeddings: Embeddings = field(default_factory=Embeddings)
