"""How well does the model draw what it claims? Each claim is a measure of its own, with fixed seeds.

``labels``: each subject by its own name on a random background; the nearest of all reference pictures should be its own
(see likeness.py), and the background of the named colour. The ceiling is the same measure on the originals: moved,
scaled, through the autoencoder, with noise. ``tags``: called by its tags alone, without its name. ``pairs``: two
subjects in one prompt, both to be found, each as the nearest of one half. ``large``: at 512x512. ``seeds``: how much
two seeds of a prompt differ. ``strange``: with words around the name that no caption had.
"""

from __future__ import annotations

import argparse
import random
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import captions
import latents
import pictures
from likeness import References, named_colour
from sfumato import Studio, Txt2ImgRequest
from unknown_words import Writer


@dataclass
class Painter:
    """Draws prompts, and keeps every picture for the sheet."""

    studio: Studio
    steps: int
    cfg_scale: float | None
    images: list[Image.Image] = field(default_factory=list)

    def __call__(self, prompt: str, seed: int, side: int = pictures.SIDE) -> Tensor:
        """A float (3, side, side) picture in 0..1."""
        request = Txt2ImgRequest(
            prompt=prompt, seed=seed, steps=self.steps, width=side, height=side, cfg_scale=self.cfg_scale
        )
        image = self.studio.generate(request).images[0]
        self.images.append(image)
        return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).float() / 255


@dataclass(frozen=True)
class Trial:
    """What every measure is made with: the subjects to draw, each with its seed and background."""

    paint: Painter
    references: References
    rgba: Tensor
    writer: Writer
    drawn: list[tuple[int, pictures.Subject, str]]

    def found(self, prompts: list[str], side: int = pictures.SIDE) -> tuple[list[list[int]], list[str]]:
        """Of each drawn subject's prompt the five nearest references and the background's name."""
        ranks, colours = [], []
        for (seed, _, colour), prompt in zip(self.drawn, prompts, strict=True):
            picture = self.paint(f"{prompt} on a {colour} background", seed, side)
            ranks.append(self.references.rank(picture)[:5].tolist())
            colours.append(named_colour(picture))
        return ranks, colours

    def first(self, count: int) -> Trial:
        """The same with fewer subjects."""
        return Trial(self.paint, self.references, self.rgba, self.writer, self.drawn[:count])

    def right(self, ranks: list[list[int]], nearest: int) -> str:
        """How many subjects are among their ``nearest`` references."""
        return share([s.row in ranked[:nearest] for (_, s, _), ranked in zip(self.drawn, ranks, strict=True)])


def share(right: list[bool]) -> str:
    """``91.5 % (183 of 200)``."""
    return f"{sum(right) / len(right):.1%} ({sum(right)} of {len(right)})"


def by_name(trial: Trial) -> list[str]:
    """Each subject's name with its article."""
    return [captions.article(subject.names[0]) for _, subject, _ in trial.drawn]


def labels(trial: Trial) -> None:
    """Top-1, top-5, colours and the ceiling."""
    ranks, colours = trial.found(by_name(trial))
    print(f"by name: top-1 {trial.right(ranks, 1)}  top-5 {trial.right(ranks, 5)}")
    print(f"background colour: {share([a == c for a, (_, _, c) in zip(colours, trial.drawn, strict=True)])}")
    rng = random.Random(2026)
    originals = [degraded(s, c, trial.rgba, trial.paint.studio, rng) for _, s, c in trial.drawn]
    print(f"originals: top-1 {trial.right([trial.references.rank(o)[:1].tolist() for o in originals], 1)}")
    missed = [s.names[0] for (_, s, _), r in zip(trial.drawn, ranks, strict=True) if r[0] != s.row]
    print("missed: " + ", ".join(missed), flush=True)


def tags(trial: Trial) -> None:
    """Called by tags alone."""
    ranks, _ = trial.found([", ".join(s.tags) or s.names[0] for _, s, _ in trial.drawn])
    print(f"by tags: top-1 {trial.right(ranks, 1)}  top-5 {trial.right(ranks, 5)}", flush=True)


def pairs(trial: Trial) -> None:
    """Both subjects of "X and Y on a Z background", one in each half, in whatever order."""
    both, one = [], []
    others = trial.drawn[1:] + trial.drawn[:1]
    for (seed, first, colour), (_, second, _) in zip(trial.drawn, others, strict=True):
        names = [captions.article(s.names[0]) for s in (first, second)]
        halves = trial.paint(f"{names[0]} and {names[1]} on a {colour} background", seed).chunk(2, dim=2)
        seen = {trial.references.rank(half)[0].item() for half in halves}
        both.append(seen == {first.row, second.row})
        one.append(bool(seen & {first.row, second.row}))
    print(f"pairs: both found {share(both)}  at least one {share(one)}", flush=True)


def large(trial: Trial) -> None:
    """At 512x512, beside the same subjects at the model's own size."""
    for side in (pictures.SIDE, 2 * pictures.SIDE):
        ranks, _ = trial.found(by_name(trial), side)
        print(f"{side}x{side}: top-1 {trial.right(ranks, 1)}", flush=True)


def seeds(trial: Trial) -> None:
    """The mean difference of two seeds' pixels, in levels of 255; the prompt names no background."""
    apart = []
    for seed, subject, _ in trial.drawn:
        prompt = captions.article(subject.names[0])
        apart.append((trial.paint(prompt, seed) - trial.paint(prompt, seed + 10000)).abs().mean().item() * 255)
    middle = sorted(apart)[len(apart) // 2]
    print(f"two seeds differ by {min(apart):.1f} to {max(apart):.1f} of 255, in the middle {middle:.1f}", flush=True)


def strange(trial: Trial) -> None:
    """Each subject's name among words that mean nothing to the model."""
    rng = random.Random(2026)
    ranks, _ = trial.found([trial.writer.spoil(name, rng) for name in by_name(trial)])
    print(f"among strange words: top-1 {trial.right(ranks, 1)}  top-5 {trial.right(ranks, 5)}", flush=True)


def degraded(subject: pictures.Subject, colour: str, rgba: Tensor, studio: Studio, rng: random.Random) -> Tensor:
    """The original, moved and scaled, through the autoencoder and with noise of 3 %: what the measure can reach."""
    picture = latents.draw(captions.Scene(subject, None, colour), rgba, pictures.SIDE, rng)
    vae = studio.load().networks.vae
    with torch.inference_mode():
        coded = vae.decode(vae.encode((picture[None] * 2 - 1).to(vae.dtype)).latents).sample[0].float() / 2 + 0.5
    noise = torch.randn(coded.shape, generator=torch.Generator().manual_seed(subject.row))
    return (coded + 0.03 * noise).clamp(0, 1)


#: Of each measure, how many subjects are drawn if nothing else is said.
MEASURES = {labels: 320, tags: 100, pairs: 100, large: 50, seeds: 30, strange: 100}


def arguments() -> argparse.Namespace:
    """The command line's flags."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("work"))
    parser.add_argument("--model", default="stable-universe")
    parser.add_argument("--subjects", type=int, help="only the first so many lines of subjects.txt")
    parser.add_argument("--measures", default="labels", help="labels,tags,pairs,large,seeds,strange or all")
    parser.add_argument("--count", type=int, help="how many subjects a measure draws, at random")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--cfg_scale", type=float, help="the model's own if not given")
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
    rgba, rng = pictures.load_rgba(args.work), random.Random(2026)
    pool = pictures.pool(args.work, args.subjects)
    chosen = [(k, s, rng.choice(list(pictures.BACKGROUNDS))) for k, s in enumerate(pool)]
    rng.shuffle(chosen)
    paint = Painter(Studio(args.model), args.steps, args.cfg_scale)
    trial = Trial(paint, References(rgba), rgba, Writer(args.work, pool), chosen)
    print(f"references {len(rgba)}  claimed {len(chosen)}  steps {args.steps}  cfg_scale {args.cfg_scale or 'own'}")
    for measure, count in MEASURES.items():
        if args.measures == "all" or measure.__name__ in args.measures.split(","):
            measure(trial.first(args.count or count))
    if args.sheet:
        write_sheet(args.sheet, paint.images)


if __name__ == "__main__":
    main()
