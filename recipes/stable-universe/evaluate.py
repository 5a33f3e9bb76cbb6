"""How well does the model draw what it claims? Nearest reference picture, and the background's colour.

Each subject is prompted by its own name on a random background with a fixed seed. The picture's subject is cut out
(the bounding box of what differs from the border's colour), brought to 32x32 and compared with all reference
pictures, cut and coloured the same way: so position and scale do not count. The distance is the mean squared
difference of the RGB pixels plus that of their horizontal and vertical gradients, the smaller of the picture and its
mirror image. The ceiling is the same measure on the originals themselves: moved, scaled, through the autoencoder,
with noise.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

import captions
import latents
import pictures
from sfumato import Studio, Txt2ImgRequest

BOX = 32


def cut(picture: Tensor, mask: Tensor) -> Tensor:
    """The square around the mask, (C, H, W) to (C, 32, 32); an empty mask keeps the whole picture."""
    rows, columns = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
    if len(rows) == 0:
        return F.interpolate(picture[None], (BOX, BOX), mode="area")[0]
    y0, y1, x0, x1 = rows[0].item(), rows[-1].item() + 1, columns[0].item(), columns[-1].item() + 1
    side = max(y1 - y0, x1 - x0)
    top, left = (y0 + y1 - side) // 2, (x0 + x1 - side) // 2
    height, width = picture.shape[1:]
    pad = (max(0, -left), max(0, left + side - width), max(0, -top), max(0, top + side - height))
    wide = F.pad(picture[None], pad, mode="replicate")[0]
    square = wide[:, top + pad[2] : top + pad[2] + side, left + pad[0] : left + pad[0] + side]
    return F.interpolate(square[None], (BOX, BOX), mode="bilinear", antialias=True, align_corners=False)[0]


def border_colour(picture: Tensor) -> Tensor:
    """The median of the outermost two pixels: (3,)."""
    edge = torch.cat([picture[:, :2].flatten(1), picture[:, -2:].flatten(1), picture[:, :, :2].flatten(1)], 1)
    return edge.median(1).values


def with_gradients(pixels: Tensor) -> Tensor:
    """(..., 3, 32, 32) and its differences, flat."""
    dx, dy = pixels.diff(dim=-1), pixels.diff(dim=-2)
    return torch.cat([pixels.flatten(-3), 2 * dx.flatten(-3), 2 * dy.flatten(-3)], -1)


class References:
    """All subjects' pictures, cut to their boxes: premultiplied RGBA (N, 4, 32, 32)."""

    def __init__(self, rgba: Tensor) -> None:
        self.boxes = torch.stack([cut(row.float() / 255, row[3] > 20) for row in rgba])

    def rank(self, picture: Tensor) -> Tensor:
        """Rows of the references, nearest first, for a float (3, H, W) picture in 0..1."""
        colour = border_colour(picture)
        apart = (picture - colour[:, None, None]).abs().amax(0)
        mask = F.avg_pool2d(apart[None], 5, stride=1, padding=2)[0] > 0.15
        seen = cut(picture, mask)
        all_on_colour = with_gradients(pictures.over(self.boxes, colour[None, :, None, None]))
        distances = [(all_on_colour - with_gradients(s)).square().mean(1) for s in (seen, seen.flip(-1))]
        return torch.minimum(*distances).argsort()


def named_colour(picture: Tensor) -> str:
    """The palette's name for the border's colour."""
    colour = border_colour(picture) * 255
    return min(pictures.BACKGROUNDS, key=lambda n: (colour - torch.tensor(pictures.BACKGROUNDS[n])).square().sum())


def degraded(subject: pictures.Subject, colour: str, rgba: Tensor, studio: Studio, rng: random.Random) -> Tensor:
    """The original, moved and scaled, through the autoencoder and with noise of 3 %: what the measure can reach."""
    picture = latents.draw(captions.Scene(subject, None, colour), rgba, pictures.SIDE, rng)
    vae = studio.load().networks.vae
    with torch.inference_mode():
        coded = vae.decode(vae.encode((picture[None] * 2 - 1).to(vae.dtype)).latents).sample[0].float() / 2 + 0.5
    return (coded + 0.03 * torch.randn_like(coded)).clamp(0, 1)


def arguments() -> argparse.Namespace:
    """The command line's flags."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("work"))
    parser.add_argument("--model", default="stable-universe")
    parser.add_argument("--subjects", type=int, help="only the first so many lines of subjects.txt")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--cfg_scale", type=float, default=4.0)
    parser.add_argument("--sheet", type=Path, help="write all pictures as one sheet")
    return parser.parse_args()


def write_sheet(path: Path, images: list[Image.Image], columns: int = 16) -> None:
    """All pictures as one, small, in rows."""
    sheet = Image.new("RGB", (columns * 128, -(-len(images) // columns) * 128))
    for k, image in enumerate(images):
        sheet.paste(image.resize((128, 128)), (k % columns * 128, k // columns * 128))
    sheet.save(path)


def main() -> None:
    args = arguments()
    pictures.fetch(args.work)
    rgba = pictures.load_rgba(args.work)
    references, pool = References(rgba), pictures.pool(args.work, args.subjects)
    studio, rng = Studio(args.model), random.Random(2026)
    torch.manual_seed(0)
    top1, top5, colours, ceiling, images, missed = 0, 0, 0, 0, [], []
    for seed, subject in enumerate(pool):
        colour = rng.choice(list(pictures.BACKGROUNDS))
        request = Txt2ImgRequest(
            prompt=f"{captions.article(subject.names[0])} on a {colour} background", seed=seed, steps=args.steps,
            width=pictures.SIDE, height=pictures.SIDE, cfg_scale=args.cfg_scale,
        )  # fmt: skip
        image = studio.generate(request).images[0]
        images.append(image)
        picture = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).float() / 255
        ranked = references.rank(picture)[:5].tolist()
        top1 += ranked[0] == subject.row
        top5 += subject.row in ranked
        colours += named_colour(picture) == colour
        ceiling += references.rank(degraded(subject, colour, rgba, studio, rng))[0].item() == subject.row
        if ranked[0] != subject.row:
            missed.append(subject.names[0])
    count = len(pool)
    print(f"references {len(rgba)}  subjects {count}  steps {args.steps}  cfg_scale {args.cfg_scale}")
    print(f"nearest is right: top-1 {top1 / count:.1%}  top-5 {top5 / count:.1%}  (originals: {ceiling / count:.1%})")
    print(f"background colour: {colours / count:.1%}")
    print("missed: " + ", ".join(missed))
    if args.sheet:
        write_sheet(args.sheet, images)


if __name__ == "__main__":
    main()
