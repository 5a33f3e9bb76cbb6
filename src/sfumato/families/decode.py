"""Latents to pixels and back, with the family's scale."""

from __future__ import annotations

import torch
from torch import Tensor

from sfumato.families.base import Networks

#: The share of a tile's side that it has in common with the next.
OVERLAP = 0.25


def decode(networks: Networks, latent: Tensor, tile: int = 0) -> Tensor:
    """(B, C, h, w) float latents to (B, 3, H, W) float32 pixels, 0..1 where the picture is not over-exposed.

    ``tile``: cells along a side of the pieces to decode, that are blended where they overlap; 0 decodes it whole. Each
    piece is normalized by itself, so that its tones may differ from the whole's by a few levels.
    """
    spec = networks.spec
    z = latent / spec.scaling_factor + spec.shift_factor
    if not tile or max(z.shape[2:]) <= tile:
        return _decode(networks, z)
    factor, step = spec.latent_factor, max(1, int(tile * (1 - OVERLAP)))
    height, width = z.shape[2] * factor, z.shape[3] * factor
    sums = z.new_zeros((len(z), 3, height, width), dtype=torch.float32)
    shares = z.new_zeros((1, 1, height, width), dtype=torch.float32)
    for top in _starts(z.shape[2], tile, step):
        for left in _starts(z.shape[3], tile, step):
            piece = _decode(networks, z[:, :, top : top + tile, left : left + tile])
            down, across = (_ramp(n, (tile - step) * factor).to(piece.device) for n in piece.shape[2:])
            share = down[:, None] * across
            place = (
                ...,
                slice(top * factor, top * factor + len(down)),
                slice(left * factor, left * factor + len(across)),
            )
            sums[place] += piece * share
            shares[place] += share
    return sums / shares


def _decode(networks: Networks, z: Tensor) -> Tensor:
    return networks.vae.decode(z.to(networks.vae.dtype)).sample.float() / 2 + 0.5


def _starts(side: int, tile: int, step: int) -> list[int]:
    """Where pieces begin along a side; the last one ends where the side does.

    >>> _starts(64, 32, 24)
    [0, 24, 32]
    """
    last = max(0, side - tile)
    return [*range(0, last, step), last]


def _ramp(length: int, overlap: int) -> Tensor:
    """(length,) from little to one over the overlap, and back: the weight of a piece's pixels. Only ratios count."""
    rise = (torch.arange(length) + 0.5) / max(1, overlap)
    return torch.minimum(rise, rise.flip(0)).clamp(max=1)


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
