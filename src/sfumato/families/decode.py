"""Latents to pixels and back, with the family's scale."""

from __future__ import annotations

from torch import Tensor

from sfumato.families.base import Networks


def decode(networks: Networks, latent: Tensor) -> Tensor:
    """(B, C, h, w) float latents to (B, 3, H, W) float32 pixels, 0..1 where the picture is not over-exposed."""
    spec = networks.spec
    z = latent / spec.scaling_factor + spec.shift_factor
    return networks.vae.decode(z.to(networks.vae.dtype)).sample.float() / 2 + 0.5


def encode(networks: Networks, pixels: Tensor) -> Tensor:
    """(B, 3, H, W) pixels in 0..1 to (B, C, h, w) float32 latents; of a distribution, its mode."""
    return moments(networks, pixels)[0]


def moments(networks: Networks, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
    """(B, 3, H, W) pixels in 0..1 to the latents' mean and, of a variational encoder, deviation: (B, C, h, w)."""
    spec = networks.spec
    coded = networks.vae.encode((pixels * 2 - 1).to(networks.device, networks.vae.dtype))
    if hasattr(coded, "latents"):
        mean, std = coded.latents, None
    else:
        mean, std = coded.latent_dist.mean, coded.latent_dist.std.float() * spec.scaling_factor
    return (mean.float() - spec.shift_factor) * spec.scaling_factor, std
