"""Does a LoRA of a new thing draw it, and leave the rest as it was? The measure is evaluate.py's.

The new thing is the one of ``tests/new_thing.py``, and joins the reference pictures. Ten seeds of it are drawn, and ten
claimed subjects without and with the LoRA on.
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import captions
import likeness
import pictures
from sfumato import Studio, Txt2ImgRequest

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
import new_thing


def drawn(studio: Studio, prompt: str, seed: int) -> Tensor:
    """A picture as (3, 256, 256) in 0..1."""
    request = Txt2ImgRequest(prompt=prompt, seed=seed, steps=20, width=pictures.SIDE, height=pictures.SIDE)
    image = studio.generate(request).images[0]
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).float() / 255


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("work"))
    parser.add_argument("--models", type=Path, default=Path("models"), help="has loras/NAME.safetensors")
    parser.add_argument("--lora", required=True, metavar="NAME")
    parser.add_argument("--strength", type=float, default=1.0)
    args = parser.parse_args()
    figure = np.asarray(new_thing.figure(pictures.SIDE)).astype(np.float32)
    figure[..., :3] *= figure[..., 3:] / 255
    own = torch.from_numpy(figure).round().byte().permute(2, 0, 1)[None]
    references = likeness.References(torch.cat([pictures.load_rgba(args.work), own]))
    studio, rng = Studio(models_folders=[args.models]), random.Random(7)
    tag, colours = f"<lora:{args.lora}:{args.strength:g}>", list(pictures.BACKGROUNDS)
    row, right = len(references.boxes) - 1, 0
    for seed in range(100, 110):
        found = drawn(studio, f"a {new_thing.NAME} on a {rng.choice(colours)} background {tag}", seed)
        right += references.rank(found)[0].item() == row
    print(f"the new thing: {right} of 10 seeds")
    before = after = 0
    for subject in rng.sample(pictures.pool(args.work, 100), 10):
        prompt = f"{captions.article(subject.names[0])} on a {rng.choice(colours)} background"
        before += references.rank(drawn(studio, prompt, 5))[0].item() == subject.row
        after += references.rank(drawn(studio, f"{prompt} {tag}", 5))[0].item() == subject.row
    print(f"ten others: {before} right without the LoRA, {after} with it")


if __name__ == "__main__":
    main()
