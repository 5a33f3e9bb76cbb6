"""Stage 2: scenes drawn and encoded once: every subject on every background, alone and in pairs.

One size and one place: so a thing has the same latents wherever it is seen, and the diffusion model learns a shape
once. Free sizes and places took many times as long to learn.
"""

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
from compute import autocast
from state import load_state

SHARD = 512
#: Parts of the picture's side: a lone subject, and each of two.
SIZE, PAIR_SIZE = 0.8125, 0.46875
#: How often a subject stands alone on a background that no caption names.
UNNAMED = 12


def stamp(canvas: Tensor, rgba: Tensor, size: int, centre: tuple[float, float]) -> None:
    """Draw one premultiplied uint8 (4, S, S) picture onto the float (3, H, W) canvas, ``size`` pixels wide."""
    small = F.interpolate(rgba[None].float() / 255, (size, size), mode="bilinear", antialias=True, align_corners=False)
    side = canvas.shape[-1]
    left, top = round(centre[0] * side - size / 2), round(centre[1] * side - size / 2)
    part = canvas[:, top : top + size, left : left + size]
    canvas[:, top : top + size, left : left + size] = small[0, :3] + part * (1 - small[0, 3])


def draw(scene: captions.Scene, rgba: Tensor, side: int, rng: random.Random) -> Tensor:
    """The scene as a float (3, side, side) picture in 0..1: one subject in the middle, or two side by side.

    The backgrounds of pairs are exact, so that a half of one fits a half of another.
    """
    if scene.second is None:
        canvas = pictures.background(scene.colour, side, rng)
        stamp(canvas, rgba[scene.first.row], round(SIZE * side), (0.5, 0.5))
        return canvas
    colour = torch.tensor(pictures.BACKGROUNDS[scene.colour or "white"]) / 255
    canvas = colour[:, None, None].expand(3, side, side).clone()
    for subject, x in ((scene.first, 0.25), (scene.second, 0.75)):
        stamp(canvas, rgba[subject.row], round(PAIR_SIZE * side), (x, 0.5))
    return canvas


def all_scenes(pool: list[pictures.Subject]) -> list[captions.Scene]:
    """Each subject alone on each background and on unnamed ones, and once on each side of a pair on each; shuffled."""
    rng = random.Random(0)
    scenes = [captions.Scene(s, None, colour) for s in pool for colour in [*pictures.BACKGROUNDS] + [None] * UNNAMED]
    for colour in pictures.BACKGROUNDS:
        others = rng.sample(pool, len(pool))
        scenes += [captions.Scene(a, b, colour) for a, b in zip(pool, others, strict=True)]
    rng.shuffle(scenes)
    return scenes


def make_shard(path: Path, scenes: list[captions.Scene], rgba: Tensor, model: torch.nn.Module, side: int) -> None:
    """Write a shard: latents (N, 16, side / 16, side / 16) in float16 and what they show."""
    rng = random.Random(path.stem)
    out = []
    for first in range(0, len(scenes), 32):
        batch = torch.stack([draw(s, rgba, side, rng) for s in scenes[first : first + 32]]) * 2 - 1
        with torch.inference_mode(), autocast():
            out.append(model.encode(batch.contiguous(memory_format=torch.channels_last)).latents.half())
    rows = [(s.first.row, s.second.row if s.second else None, s.colour) for s in scenes]
    torch.save({"latents": torch.cat(out).contiguous(), "scenes": json.dumps(rows)}, path.with_suffix(".tmp"))
    path.with_suffix(".tmp").replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("work"))
    parser.add_argument("--subjects", type=int, help="only the first so many lines of subjects.txt")
    parser.add_argument("--large", action="store_true", help="512x512 instead, of every fourth scene")
    parser.add_argument("--every", type=int, default=1, help="only one of so many scenes")
    args = parser.parse_args()
    pool, rgba = pictures.pool(args.work, args.subjects), pictures.load_rgba(args.work)
    model = autoencoder.build()
    load_state(args.work / "autoencoder.pt", model=model)
    model = model.eval().to(memory_format=torch.channels_last)
    folder = args.work / f"latents-{len(pool)}{'-large' * args.large}"
    folder.mkdir(exist_ok=True)
    began, side = time.time(), pictures.SIDE << args.large
    scenes = all_scenes(pool)[:: args.every * (4 if args.large else 1)]
    for index in range(0, len(scenes), SHARD):
        path = folder / f"{index // SHARD:05d}.pt"
        if not path.exists():
            make_shard(path, scenes[index : index + SHARD], rgba, model, side)
            print(f"{index + SHARD} of {len(scenes)} {time.time() - began:.0f}s", flush=True)


if __name__ == "__main__":
    main()
