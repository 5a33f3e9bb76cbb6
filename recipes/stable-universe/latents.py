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
#: Parts of the picture's side: a lone subject, each of two, and a cell of the autoencoder.
SIZE, PAIR_SIZE, CELL = 0.8125, 0.46875, 1 / 16
#: Things that are not the same from left to right stayed blurred while a third of them was mirrored.
MIRRORED = 0.0


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


def draw(scene: captions.Scene, rgba: Tensor, side: int, rng: random.Random, cells: int = 1) -> Tensor:
    """The scene as a float (3, side, side) picture in 0..1: one subject near the middle, or two side by side.

    One size, and moves by whole latent cells (at most ``cells`` each way): so a thing has the same latents wherever it
    stands, and the diffusion model learns a shape once. Free sizes and places took many times as long to learn.
    """
    g = torch.Generator().manual_seed(rng.randrange(2**31))
    canvas = pictures.background([scene.colour], g)[0].expand(3, side, side).clone()
    if scene.second is None:
        centre = (0.5 + rng.randint(-cells, cells) * CELL, 0.5 + rng.randint(-cells, cells) * CELL)
        stamp(canvas, rgba[scene.first.row], round(SIZE * side), centre, rng.random() < MIRRORED)
        return canvas
    for subject, x in ((scene.first, 0.25), (scene.second, 0.75)):
        stamp(canvas, rgba[subject.row], round(PAIR_SIZE * side), (x, 0.5), rng.random() < MIRRORED)
    return canvas


def make_shard(
    path: Path, index: int, pool: list[pictures.Subject], rgba: Tensor, model: torch.nn.Module, cells: int, pairs: float
) -> None:
    """Write shard ``index``: latents (512, 16, 16, 16) in float16 and what they show."""
    rng = random.Random(index)
    scenes = [captions.random_scene(pool, rng, pairs=pairs, plain=0.15) for _ in range(SHARD)]
    out = []
    for first in range(0, SHARD, 32):
        batch = torch.stack([draw(s, rgba, pictures.SIDE, rng, cells) for s in scenes[first : first + 32]]) * 2 - 1
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
    parser.add_argument("--cells", type=int, default=1, help="how far from the middle a subject may stand")
    parser.add_argument("--pairs", type=float, default=0.1, help="how many pictures show two subjects")
    args = parser.parse_args()
    pool, rgba = pictures.pool(args.work, args.subjects), pictures.load_rgba(args.work)
    model = autoencoder.build()
    load_state(args.work / "autoencoder.pt", model=model)
    model = model.eval().to(memory_format=torch.channels_last)
    folder = args.work / f"latents-{len(pool)}-{args.cells}"
    folder.mkdir(exist_ok=True)
    began = time.time()
    for index in range(args.shards):
        path = folder / f"{index:05d}.pt"
        if not path.exists():
            make_shard(path, index, pool, rgba, model, args.cells, args.pairs)
            print(f"shard {index} {time.time() - began:.0f}s", flush=True)


if __name__ == "__main__":
    main()
