"""Stage 3: scenes drawn and encoded once, in shards, so that the diffusion model never waits for the autoencoder."""

from __future__ import annotations

import argparse
import json
import random
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

import autoencoder
import captions
import pictures
from state import load_state

SHARD = 512


def stamp(canvas: Tensor, rgba: Tensor, size: int, centre: tuple[float, float], mirror: bool) -> None:
    """Draw one premultiplied uint8 (4, S, S) picture onto the float (3, H, W) canvas, ``size`` pixels wide."""
    small = F.interpolate(rgba[None].float() / 255, (size, size), mode="bilinear", antialias=True, align_corners=False)[
        0
    ]
    small = small.flip(-1) if mirror else small
    side = canvas.shape[-1]
    left, top = round(centre[0] * side - size / 2), round(centre[1] * side - size / 2)
    x0, y0 = max(0, left), max(0, top)
    x1, y1 = min(side, left + size), min(side, top + size)
    part = small[:, y0 - top : y1 - top, x0 - left : x1 - left]
    canvas[:, y0:y1, x0:x1] = part[:3] + canvas[:, y0:y1, x0:x1] * (1 - part[3])


def draw(scene: captions.Scene, rgba: Tensor, side: int, rng: random.Random) -> Tensor:
    """The scene as a float (3, side, side) picture in 0..1: one subject near the middle, or two side by side."""
    g = torch.Generator().manual_seed(rng.randrange(2**31))
    canvas = pictures.background([scene.colour], g)[0].expand(3, side, side).clone()
    if scene.second is None:
        scale = rng.uniform(0.74, 0.94)
        room = (1 - scale) * 0.5
        centre = (0.5 + rng.uniform(-room, room), 0.5 + rng.uniform(-room, room))
        stamp(canvas, rgba[scene.first.row], round(scale * side), centre, rng.random() < 0.2)
        return canvas
    for subject, x in ((scene.first, 0.26), (scene.second, 0.74)):
        centre = (x + rng.uniform(-0.01, 0.01), 0.5 + rng.uniform(-0.06, 0.06))
        stamp(canvas, rgba[subject.row], round(rng.uniform(0.44, 0.49) * side), centre, rng.random() < 0.2)
    return canvas


def make_shard(path: Path, index: int, pool: list[pictures.Subject], rgba: Tensor, model: torch.nn.Module) -> None:
    """Write shard ``index``: latents (512, 12, 16, 16) in float16 and what they show."""
    rng = random.Random(index)
    scenes = [captions.random_scene(pool, rng, pairs=0.08, plain=0.2) for _ in range(SHARD)]
    out = []
    for first in range(0, SHARD, 32):
        batch = torch.stack([draw(s, rgba, pictures.SIDE, rng) for s in scenes[first : first + 32]]) * 2 - 1
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            out.append(model.encode(batch.contiguous(memory_format=torch.channels_last)).latents.half())
    rows = [(s.first.row, s.second.row if s.second else None, s.colour) for s in scenes]
    torch.save({"latents": torch.cat(out).contiguous(), "scenes": json.dumps(rows)}, path.with_suffix(".tmp"))
    path.with_suffix(".tmp").replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("work"))
    parser.add_argument("--subjects", type=int, help="only the first so many lines of subjects.txt")
    parser.add_argument("--shards", type=int, default=40)
    args = parser.parse_args()
    pool, rgba = pictures.pool(args.work, args.subjects), pictures.load_rgba(args.work)
    model = autoencoder.build()
    load_state(args.work / "autoencoder.pt", model=model)
    model = model.eval().to(memory_format=torch.channels_last)
    folder = args.work / f"latents-{len(pool)}"
    folder.mkdir(exist_ok=True)
    began = time.time()
    for index in range(args.shards):
        path = folder / f"{index:05d}.pt"
        if not path.exists():
            make_shard(path, index, pool, rgba, model)
            print(f"shard {index} {time.time() - began:.0f}s", flush=True)


if __name__ == "__main__":
    main()
