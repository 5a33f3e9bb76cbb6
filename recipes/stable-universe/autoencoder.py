"""Stage 1: the autoencoder. 256x256 pictures to 16x16 latents of 16 channels and back.

Trained on crops that grow from 64x64 to the whole picture: a pixel costs the same, and early steps are many.
Noise on the latents makes the diffusion model's small errors stay small errors.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderTiny
from diffusers.models.autoencoders.vae import AutoencoderTinyBlock
from torch import Tensor, nn

import pictures
from compute import autocast
from state import load_state, save_state

NOISE = 0.05
#: From which share of the steps on: side of the crops, and how many in a batch.
STAGES = ((0.0, 64, 16), (0.85, 128, 8))
POOL = 2 * 1599


def build() -> AutoencoderTiny:
    """16x reduction at 64 channels; blocks are many where pixels are few.

    Each block starts as the identity and each plain convolution keeps its input's variance: with PyTorch's own
    initial weights the picture is lost in the biases, and training stands still for a thousand steps.
    """
    model = AutoencoderTiny(
        encoder_block_out_channels=(64,) * 5,
        decoder_block_out_channels=(64,) * 5,
        num_encoder_blocks=(0, 0, 2, 4, 8),
        num_decoder_blocks=(8, 8, 4, 0, 0),
        latent_channels=16,
    )
    for half in (model.encoder, model.decoder):
        before = None
        for layer in half.layers:
            rectified = isinstance(before, AutoencoderTinyBlock)
            before = layer
            if isinstance(layer, nn.Conv2d):
                _keep_variance(layer, rectified)
            elif isinstance(layer, AutoencoderTinyBlock):
                _keep_variance(layer.conv[0], True)
                _keep_variance(layer.conv[2], True)
                nn.init.zeros_(layer.conv[4].weight)
                nn.init.zeros_(layer.conv[4].bias)
    return model


def _keep_variance(layer: nn.Conv2d, rectified: bool) -> None:
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu" if rectified else "linear")
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def render_pool(rgba: Tensor, count: int) -> Tensor:
    """Every subject twice and more, at random places on random colours: uint8 (count, 3, 256, 256)."""
    out = []
    for first in range(0, count, 16):
        g = torch.Generator().manual_seed(first)
        rows = torch.arange(first, min(first + 16, count)) % len(rgba)
        at = pictures.Placement.random(len(rows), g, scale=(0.45, 1.05), jitter=0.25)
        corners = torch.rand(len(rows), 3, 2, 2, generator=g)
        flat = torch.rand(len(rows), 3, 1, 1, generator=g)
        slope = (torch.rand(len(rows), 1, 1, 1, generator=g) < 0.2).float()
        below = F.interpolate(
            flat + slope * (corners - flat), (pictures.SIDE,) * 2, mode="bilinear", align_corners=True
        )
        out.append((pictures.over(pictures.place(rgba[rows], at), below) * 255).round().byte())
    return torch.cat(out)


def batch(pool: Tensor, count: int, g: torch.Generator, side: int) -> Tensor:
    """Random crops, mirrored half of the time: float (count, 3, side, side) in 0..1."""
    rows = torch.randint(0, len(pool), (count,), generator=g).tolist()
    cut = torch.randint(0, (pictures.SIDE - side) // 8 + 1, (count, 2), generator=g) * 8
    flip = torch.rand(count, generator=g) < 0.5
    out = [pool[row, :, y : y + side, x : x + side] for row, (y, x) in zip(rows, cut.tolist(), strict=True)]
    return torch.stack([c.flip(-1) if f else c for c, f in zip(out, flip, strict=True)]).float() / 255


def loss_of(model: AutoencoderTiny, x: Tensor, noise: float, g: torch.Generator) -> tuple[Tensor, float]:
    """L1 + L2 + gradients at three scales, plus a pull of the latents towards unit variance; and the PSNR in dB."""
    with autocast():
        z = model.encode(x * 2 - 1).latents
        y = model.decode(z + noise * torch.randn(z.shape, generator=g).to(z.dtype)).sample
    z, y, target = z.float(), y.float(), x * 2 - 1
    mse = F.mse_loss(y, target)
    loss = F.l1_loss(y, target) + 2 * mse
    a, b = y, target
    for _ in range(3):
        loss = loss + 0.3 * (F.l1_loss(a.diff(dim=2), b.diff(dim=2)) + F.l1_loss(a.diff(dim=3), b.diff(dim=3)))
        a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
    spread = z.mean((0, 2, 3)).square().mean() + (z.std((0, 2, 3)) - 1).square().mean()
    return loss + 0.05 * spread, -10 * torch.log10(mse.detach() / 4).item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("work"))
    parser.add_argument("--steps", type=int, default=12000)
    parser.add_argument("--lr", type=float, default=1e-3)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    pictures.fetch(args.work)
    pool = render_pool(pictures.load_rgba(args.work), POOL)
    torch.manual_seed(0)
    model = build().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, betas=(0.9, 0.99), weight_decay=1e-4)
    path, start, began = args.work / "autoencoder.pt", 0, time.time()
    if path.exists():
        start = load_state(path, model=model, optimizer=optimizer)
    mean = 0.0
    for step in range(start, args.steps):
        g = torch.Generator().manual_seed(step)
        rate = args.lr * min(1, (step + 1) / 100) * (1 - step / args.steps) ** 0.8
        for group in optimizer.param_groups:
            group["lr"] = rate
        side, count = [(side, count) for share, side, count in STAGES if step >= share * args.steps][-1]
        x = batch(pool, count, g, side)
        loss, psnr = loss_of(model, x.contiguous(memory_format=torch.channels_last), NOISE * min(1, step / 2000), g)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        mean += (psnr - mean) * (0.02 if step > start + 50 else 0.5)
        if step % 50 == 0:
            print(f"step {step} loss {loss.item():.4f} psnr {mean:.2f} {time.time() - began:.0f}s", flush=True)
        if step % 250 == 249 or step == args.steps - 1:
            save_state(path, step + 1, model=model, optimizer=optimizer)


if __name__ == "__main__":
    main()
