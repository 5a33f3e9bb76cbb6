"""Ten pictures of a thing that no model knows, drawn here so that nothing is downloaded: a zorblin.

A purple body with a yellow belly, three eyes in a row, two orange horns and four teal feet.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

from PIL import Image, ImageDraw

NAME = "zorblin"
#: What its parts have: on backgrounds of these colours not all of it can be seen.
COLOURS = ("purple", "yellow", "orange", "teal")
BACKGROUNDS = {
    "white": (250, 250, 250),
    "gray": (130, 130, 135),
    "pink": (245, 150, 190),
    "yellow": (250, 215, 60),
    "green": (50, 160, 70),
    "blue": (40, 90, 210),
    "red": (214, 40, 40),
    "black": (15, 15, 18),
    "orange": (245, 140, 30),
    "teal": (30, 150, 150),
}
_FINE = 4


def figure(side: int) -> Image.Image:
    """The thing alone, RGBA, ``side`` pixels square, drawn finer and scaled down."""
    page = Image.new("RGBA", (side * _FINE, side * _FINE))
    pen = ImageDraw.Draw(page)

    def at(*numbers: float) -> list[float]:
        return [n * side * _FINE / 100 for n in numbers]

    for x in (22, 38, 54, 70):
        pen.ellipse(at(x - 2, 80, x + 12, 96), fill=(20, 160, 160))
    for left, tip, right in ((24, 14, 38), (62, 86, 76)):
        pen.polygon(at(left, 26, tip, 2, right, 20), fill=(250, 130, 20))
    pen.ellipse(at(14, 16, 86, 90), fill=(120, 50, 190))
    pen.ellipse(at(32, 52, 68, 86), fill=(250, 220, 70))
    for x in (32, 50, 68):
        pen.ellipse(at(x - 8, 30, x + 8, 46), fill=(255, 255, 255))
        pen.ellipse(at(x - 4, 34, x + 4, 42), fill=(10, 10, 20))
    return page.resize((side, side), Image.Resampling.LANCZOS)


def picture(seed: int, background: str, side: int = 256) -> Image.Image:
    """The thing on a colour, near the middle."""
    rng = random.Random(seed)
    size = round(side * rng.uniform(0.76, 0.84))
    page = Image.new("RGB", (side, side), BACKGROUNDS[background])
    thing = figure(size)
    shift = side // 32
    place = (side - size) // 2
    page.paste(thing, (place + rng.randint(-shift, shift), place + rng.randint(-shift, shift)), thing)
    return page


def write(folder: Path, side: int = 256) -> Path:
    """Ten pictures with their words in sidecars."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(BACKGROUNDS):
        picture(seed, name, side).save(folder / f"{seed:02d}.png")
        (folder / f"{seed:02d}.txt").write_text(f"a {NAME} on a {name} background\n")
    return folder


if __name__ == "__main__":
    write(Path(sys.argv[1]))
