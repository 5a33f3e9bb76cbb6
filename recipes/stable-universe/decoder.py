"""Stage 5: the decoder once more, by the squared error, which is what is measured.

The encoder stays as it is, and so do the latents. Half of the pictures are scenes as the model draws them. Noise on the
latents stands for the diffusion model's errors, so that a flat background stays flat.
"""

from __future__ import annotations

import argparse
import random
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderTiny
from torch import Tensor

import autoencoder
import latents
import pictures
from compute import autocast
from state import load_state, save_state

SIDE, BATCH = 128, 8


def scenes(work: Path, subjects: int | None) -> Tensor:
    """Scenes of all claimed subjects, alone and in pairs, each on one background: uint8 (N, 3, 256, 256)."""
    rgba, rng = pictures.load_rgba(work), random.Random(1)
    listed = latents.all_scenes(pictures.pool(work, subjects))
    drawn = [latents.draw(scene, rgba, pictures.SIDE, rng) for scene in listed[:: len(listed) // 2000]]
    return (torch.stack(drawn) * 255).round().byte()


def encode(model: AutoencoderTiny, x: Tensor) -> Tensor:
    """Pictures in 0..1 to latents, without gradients."""
    with torch.inference_mode(), autocast():
        z = model.encode((x * 2 - 1).contiguous(memory_format=torch.channels_last)).latents
    return z.float().clone()


def loss_of(model: AutoencoderTiny, z: Tensor, target: Tensor) -> tuple[Tensor, float]:
    """Squared error with a little of the gradients' error, which keeps edges; and the PSNR in dB."""
    with autocast():
        y = model.decode(z).sample
    y = y.float()
    mse = F.mse_loss(y, target)
    edges = F.l1_loss(y.diff(dim=2), target.diff(dim=2)) + F.l1_loss(y.diff(dim=3), target.diff(dim=3))
    return 10 * mse + 0.1 * edges + 0.1 * F.l1_loss(y, target), -10 * torch.log10(mse.detach() / 4).item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("work"))
    parser.add_argument("--subjects", type=int, help="only the first so many lines of subjects.txt")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--lr", type=float, default=4e-4)
    parser.add_argument("--noise", type=float, default=0.1, help="at most; each picture has a share of it")
    args = parser.parse_args()
    pools = [scenes(args.work, args.subjects), autoencoder.render_pool(pictures.load_rgba(args.work), autoencoder.POOL)]
    model = autoencoder.build().to(memory_format=torch.channels_last)
    load_state(args.work / "autoencoder.pt", model=model)
    model.encoder.requires_grad_(False)
    optimizer = torch.optim.AdamW(model.decoder.parameters(), lr=args.lr, betas=(0.9, 0.99), weight_decay=1e-4)
    path, start, began, mean = args.work / "decoder.pt", 0, time.time(), 0.0
    if path.exists():
        start = load_state(path, model=model, optimizer=optimizer)
    for step in range(start, args.steps):
        g = torch.Generator().manual_seed(step)
        for group in optimizer.param_groups:
            group["lr"] = args.lr * min(1, (step + 1) / 100) * (1 - step / args.steps)
        x = autoencoder.batch(pools[step % 2], BATCH, g, SIDE)
        z = encode(model, x)
        z = z + args.noise * torch.rand(BATCH, 1, 1, 1, generator=g) * torch.randn(z.shape, generator=g)
        loss, psnr = loss_of(model, z, x * 2 - 1)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.decoder.parameters(), 1.0)
        optimizer.step()
        mean += (psnr - mean) * max(0.02, 1 / (step - start + 1))
        if step % 50 == 0:
            print(f"step {step} psnr {mean:.2f} {time.time() - began:.0f}s", flush=True)
        if step % 250 == 249 or step == args.steps - 1:
            save_state(path, step + 1, model=model, optimizer=optimizer)


if __name__ == "__main__":
    main()
