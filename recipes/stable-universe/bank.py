"""The encoded scenes in memory, and how batches of them are drawn."""

from __future__ import annotations

import json
import random
from pathlib import Path

import torch
from torch import Tensor

import captions
import pictures


class Bank:
    """All shards of a folder: lone subjects, and pairs by the colour of their background."""

    def __init__(self, folder: Path, subjects: list[pictures.Subject]) -> None:
        parts, self.scenes = [], []
        for file in sorted(folder.glob("*.pt")):
            saved = torch.load(file, weights_only=True)
            parts.append(saved["latents"])
            for first, second, colour in json.loads(saved["scenes"]):
                other = None if second is None else subjects[second]
                self.scenes.append(captions.Scene(subjects[first], other, colour))
        self.latents = torch.cat(parts)
        self.alone = [k for k, s in enumerate(self.scenes) if s.second is None]
        self.pairs: dict[str, list[int]] = {}
        for k, scene in enumerate(self.scenes):
            if scene.second is not None and scene.colour is not None:
                self.pairs.setdefault(scene.colour, []).append(k)

    def draw(self, count: int, rng: random.Random, pairs: float) -> tuple[Tensor, list[captions.Scene]]:
        """Random rows: latents (count, 16, 16, 16) and their scenes; a share of ``pairs`` is of two subjects.

        A pair is the left half of one row and the right half of another on the same background, so that any two
        subjects meet.
        """
        latents, scenes = [], []
        for _ in range(count):
            if rng.random() < pairs:
                left, right = rng.choices(rng.choice(list(self.pairs.values())), k=2)
                half = self.latents.shape[-1] // 2
                latents.append(torch.cat([self.latents[left][..., :half], self.latents[right][..., half:]], -1))
                one, other = self.scenes[left], self.scenes[right]
                scenes.append(captions.Scene(one.first, other.second, one.colour))
            else:
                row = rng.choice(self.alone)
                latents.append(self.latents[row])
                scenes.append(self.scenes[row])
        return torch.stack(latents).float(), scenes
