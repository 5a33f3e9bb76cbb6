"""A step's batch. Everything random in it is a function of seed, step and place in the batch, and of nothing else."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sfumato.families.base import Networks
from sfumato.runtime import rng
from sfumato.sampling.noise_schedule import NoiseSchedule
from sfumato.training import buckets, captions
from sfumato.training.cache import LatentCache
from sfumato.training.dataset import Dataset, Item
from sfumato.training.objective import Noisy, corrupt
from sfumato.training.order import Order
from sfumato.training.settings import TrainSettings

#: Which of a picture's draws is for what.
_NOISE, _OFFSET, _LATENT = range(3)


@dataclass(frozen=True)
class Batch:
    """Noisy latents (B, C, h, w), their words, what each counts (B,), and where of the latent it counts, if not all."""

    noisy: Noisy
    words: tuple[str, ...]
    weight: Tensor
    mask: Tensor | None
    items: tuple[Item, ...]


class Batches:
    """The batches of a run, by step and by the places of the whole batch that are wanted."""

    def __init__(
        self,
        dataset: Dataset,
        settings: TrainSettings,
        networks: Networks,
        schedule: NoiseSchedule,
        cache: LatentCache,
        together: int,
    ) -> None:
        """``together`` is how many pictures one optimizer step sees, in all processes."""
        self.dataset, self.settings, self.cache = dataset, settings, cache
        self._networks, self._schedule = networks, schedule
        self.sizes = tuple(bucket_of(item, settings, networks) for item in dataset.items)
        repeats = tuple(item.repeats for item in dataset.items)
        prior = tuple(item.prior for item in dataset.items)
        self.order = Order(self.sizes, repeats, together, settings.seed, prior)

    def get(self, step: int, places: Sequence[int]) -> Batch:
        """The pictures at these places of the step's whole batch."""
        rows = self.order.at(step)
        examples = [self._example(step, place, rows[place]) for place in places]
        x0, noise, times, words, masks = zip(*examples, strict=True)
        noisy = corrupt(
            torch.stack(x0), torch.stack(noise), torch.tensor(times), self._networks.spec.prediction,
            self._schedule, self.settings.snr_gamma,
        )  # fmt: skip
        items = tuple(self.dataset.items[rows[place]] for place in places)
        mask = torch.stack(masks) if self.settings.data.masked_loss else None
        return Batch(noisy, words, torch.tensor([item.weight for item in items]), mask, items)

    def _example(self, step: int, place: int, row: int) -> tuple[Tensor, Tensor, int, str, Tensor]:
        item, data, seed = self.dataset.items[row], self.settings.data, self.settings.seed
        dice = random.Random(f"{seed}:{step}:{place}")
        time = dice.randrange(len(self._schedule))
        words = captions.vary(item.caption, data, dice)
        flip = data.flip and dice.random() < 0.5
        if data.random_crop:
            found = self.cache.compute(item, self.sizes[row], flip, (dice.random(), dice.random()))
        else:
            found = self.cache.get(item, self.sizes[row], flip)
        x0 = found["mean"]
        noise = rng.noise(seed, place, step, _NOISE, tuple(x0.shape))
        if "std" in found:
            x0 = x0 + found["std"] * rng.noise(seed, place, step, _LATENT, tuple(x0.shape))
        if self.settings.noise_offset:
            noise = noise + self.settings.noise_offset * rng.noise(seed, place, step, _OFFSET, (x0.shape[0], 1, 1))
        return x0, noise, time, words, found.get("mask", torch.ones(1, *x0.shape[1:]))


def bucket_of(item: Item, settings: TrainSettings, networks: Networks) -> tuple[int, int]:
    """The size in pixels that a picture is trained at."""
    spec = networks.spec
    resolution = settings.data.resolution or min(spec.native_size)
    levels = len(networks.unet.config.block_out_channels)
    return buckets.nearest(item.size, resolution, spec.latent_factor * 2 ** (levels - 1))
