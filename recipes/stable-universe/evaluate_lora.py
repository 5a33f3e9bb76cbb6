"""Does a LoRA of a new thing draw it, and leave the rest as it was? The measure is evaluate.py's.

The new thing is the one of ``tests/new_thing.py``, and joins the reference pictures. Ten seeds of it are drawn, on
backgrounds of other colours than it has, and claimed subjects without and with the LoRA on.
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

import numpy as np
import torch

import captions
import evaluate
import likeness
import pictures
from sfumato import Studio

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
import new_thing


def arguments() -> argparse.Namespace:
    """The command line's flags."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("work"))
    parser.add_argument("--models", type=Path, default=Path("models"), help="has loras/NAME.safetensors")
    parser.add_argument("--lora", required=True, metavar="NAME")
    parser.add_argument("--strength", type=float, default=1.0)
    parser.add_argument("--others", type=int, default=20, help="how many claimed subjects are drawn")
    parser.add_argument("--sheet", type=Path, help="write all pictures as one sheet")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    figure = np.asarray(new_thing.figure(pictures.SIDE)).astype(np.float32)
    figure[..., :3] *= figure[..., 3:] / 255
    own = torch.from_numpy(figure).round().byte().permute(2, 0, 1)[None]
    references = likeness.References(torch.cat([pictures.load_rgba(args.work), own]))
    paint, rng = evaluate.Painter(Studio(models_folders=[args.models]), 20, None), random.Random(7)
    tag, colours = f"<lora:{args.lora}:{args.strength:g}>", list(pictures.BACKGROUNDS)
    row, right = len(references.boxes) - 1, 0
    for seed in range(100, 110):
        colour = rng.choice([name for name in colours if name not in new_thing.COLOURS])
        found = paint(f"a {new_thing.NAME} on a {colour} background {tag}", seed)
        right += references.rank(found)[0].item() == row
    print(f"the new thing: {right} of 10 seeds", flush=True)
    before = after = 0
    for subject in rng.sample(pictures.pool(args.work, 420), args.others):
        prompt = f"{captions.article(subject.names[0])} on a {rng.choice(colours)} background"
        before += references.rank(paint(prompt, 5))[0].item() == subject.row
        after += references.rank(paint(f"{prompt} {tag}", 5))[0].item() == subject.row
    print(f"{args.others} others: {before} right without the LoRA, {after} with it", flush=True)
    if args.sheet:
        evaluate.write_sheet(args.sheet, paint.images, columns=10)


if __name__ == "__main__":
    main()
