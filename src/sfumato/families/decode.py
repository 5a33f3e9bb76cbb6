"""Latents to pixels and back, with the family's scale."""

from __future__ import annotations

from torch import Tensor

from sfumato.families.base import Networks


def decode(networks: Networks, latent: Tensor) -> Tensor:
    """(B, C, h, w) float latents to (B, 3, H, W) float32 pixels, 0..1 where the picture is not over-exposed."""
    spec = networks.spec
    z = latent / spec.scaling_factor + spec.shift_factor
    return networks.vae.decode(z.to(networks.vae.dtype)).sample.float() / 2 + 0.5
