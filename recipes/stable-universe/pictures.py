"""The training pictures: Fluent 3D emoji with labels, drawn on coloured backgrounds.

Pictures: Microsoft Fluent 3D emoji, 256x256 RGBA, MIT, as npm ``@lobehub/fluent-emoji-3d`` packs them.
Labels, tags and groups: npm ``emojibase-data``, MIT.
"""

from __future__ import annotations

import colorsys
import json
import random
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

PACKAGES = ("@lobehub/fluent-emoji-3d@1.1.0", "emojibase-data@17.0.0")
SIDE = 256

#: Named backgrounds, sRGB. Far enough apart that a border pixel names its colour.
BACKGROUNDS: dict[str, tuple[int, int, int]] = {
    "red": (214, 40, 40),
    "orange": (245, 140, 30),
    "yellow": (250, 215, 60),
    "green": (50, 160, 70),
    "teal": (30, 150, 150),
    "blue": (40, 90, 210),
    "purple": (120, 60, 180),
    "pink": (245, 150, 190),
    "brown": (120, 75, 40),
    "black": (15, 15, 18),
    "gray": (130, 130, 135),
    "white": (252, 252, 252),
}


@dataclass(frozen=True)
class Subject:
    """One thing: its picture's row, the emoji's label and tags, and its names, of which the first is its own."""

    row: int
    label: str
    tags: tuple[str, ...]
    group: int
    hexcode: str
    names: tuple[str, ...]


def fetch(work: Path) -> None:
    """Download and unpack both packages with npm, unless they are there."""
    for package in PACKAGES:
        folder = work / package.rsplit("@", 1)[0].replace("/", "-").lstrip("@")
        if folder.exists():
            continue
        packed = subprocess.run(
            ["npm", "pack", "--silent", package], cwd=work, check=True, capture_output=True, text=True
        ).stdout.split()[-1]
        with tarfile.open(work / packed) as archive:
            archive.extractall(folder, filter="data")
        (work / packed).unlink()


def _plain(hexcode: str) -> str:
    """The hexcode without variation selectors, which the two packages place differently."""
    return "-".join(part for part in hexcode.lower().split("-") if part != "fe0f")


def subjects(work: Path) -> list[Subject]:
    """All base pictures that have a label, flags left out, in the order of the emoji standard."""
    entries = json.loads((work / "emojibase-data/package/en/data.json").read_text())
    files = {_plain(p.stem) for p in _assets(work).glob("*.webp")}
    kept = [e for e in entries if _plain(e["hexcode"]) in files and e.get("group") not in (None, 2, 9)]
    kept.sort(key=lambda e: e.get("order", 0))
    listed = dict(claims())
    out = []
    for row, e in enumerate(kept):
        label = e["label"].replace("’", "'")
        tags = tuple(e.get("tags", ()))
        out.append(Subject(row, label, tags, e["group"], e["hexcode"], listed.get(label, (label,))))
    if unknown := listed.keys() - {s.label for s in out}:
        raise ValueError(f"subjects.txt names what no picture shows: {sorted(unknown)}")
    return out


def claims(first: int | None = None) -> list[tuple[str, tuple[str, ...]]]:
    """Of each line of subjects.txt, or the first so many: the emoji label, and all names with the main one first."""
    out = []
    for line in (Path(__file__).parent / "subjects.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, label, others = (part.strip() for part in line.split("|"))
            out.append((label or name, (name, *(o.strip() for o in others.split(",") if o.strip()))))
    return out[:first]


def pool(work: Path, first: int | None = None) -> list[Subject]:
    """The claimed subjects, in the order of subjects.txt."""
    by_label = {s.label: s for s in subjects(work)}
    return [by_label[label] for label, _ in claims(first)]


def _assets(work: Path) -> Path:
    return work / "lobehub-fluent-emoji-3d/package/assets"


def load_rgba(work: Path) -> Tensor:
    """Every subject's picture, premultiplied by its alpha: uint8 (N, 4, 256, 256), cached as one file."""
    cache = work / "rgba.npy"
    if not cache.exists():
        paths = {_plain(p.stem): p for p in _assets(work).glob("*.webp")}
        rows = []
        for subject in subjects(work):
            picture = Image.open(paths[_plain(subject.hexcode)]).convert("RGBA").resize((SIDE, SIDE))
            pixels = np.asarray(picture, dtype=np.float32)
            pixels[..., :3] *= pixels[..., 3:] / 255
            rows.append(pixels.round().astype(np.uint8).transpose(2, 0, 1))
        np.save(work / "rgba.tmp.npy", np.stack(rows))
        (work / "rgba.tmp.npy").replace(cache)
    return torch.from_numpy(np.load(cache, mmap_mode="r+"))


@dataclass
class Placement:
    """Where subjects stand: all (B,) float; ``x, y`` in half pictures from the middle, ``mirror`` is -1 or 1."""

    scale: Tensor
    x: Tensor
    y: Tensor
    mirror: Tensor

    @classmethod
    def random(cls, count: int, g: torch.Generator, scale: tuple[float, float], jitter: float) -> Placement:
        """Uniform scale; an offset up to ``jitter`` in each direction; mirrored half of the time."""
        size = scale[0] + (scale[1] - scale[0]) * torch.rand(count, generator=g)
        x, y = ((torch.rand(2, count, generator=g) * 2 - 1) * jitter).unbind()
        mirror = torch.randint(0, 2, (count,), generator=g) * 2.0 - 1
        return cls(size, x, y, mirror)


def place(rgba: Tensor, at: Placement) -> Tensor:
    """Premultiplied uint8 (B, 4, S, S) moved into place: float (B, 4, S, S) in 0..1."""
    theta = torch.zeros(len(rgba), 2, 3)
    theta[:, 0, 0] = at.mirror / at.scale
    theta[:, 1, 1] = 1 / at.scale
    theta[:, 0, 2] = -at.x * at.mirror / at.scale
    theta[:, 1, 2] = -at.y / at.scale
    grid = F.affine_grid(theta, list(rgba.shape), align_corners=False)
    return F.grid_sample(rgba.float() / 255, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def over(top: Tensor, below: Tensor) -> Tensor:
    """Premultiplied RGBA (B, 4, H, W) over opaque RGB (B, 3, H, W) or (B, 3, 1, 1), in 0..1."""
    return top[:, :3] + below * (1 - top[:, 3:])


def background(name: str | None, side: int, rng: random.Random) -> Tensor:
    """RGB in 0..1, (3, side, side): the named colour, a little varied; for None any hue, running into another."""
    if name is not None:
        colour = [channel / 255 + rng.uniform(-0.02, 0.02) for channel in BACKGROUNDS[name]]
        return torch.tensor(colour).clamp(0, 1)[:, None, None].expand(3, side, side).clone()
    hue, saturation = rng.random(), rng.uniform(0.1, 0.65)
    corners = [
        colorsys.hsv_to_rgb((hue + rng.uniform(-0.06, 0.06)) % 1, saturation, rng.uniform(0.72, 1)) for _ in range(4)
    ]
    small = torch.tensor(corners).T.reshape(1, 3, 2, 2)
    return F.interpolate(small, (side, side), mode="bilinear", align_corners=True)[0]
