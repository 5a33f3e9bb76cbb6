"""Which pictures are seen at which step: a pure function of data, seed and step, so that a resume needs no memory."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True)
class Order:
    """Every epoch shows each picture as often as it repeats, in batches of one size each.

    Of the ``prior`` pictures, which are all of one size, each epoch shows as many as of all others together.

    Args:
        sizes: of each picture, (width, height) of its bucket.
        repeats: of each picture.
        batch: pictures in one batch, of all processes and accumulated steps together.
    """

    sizes: tuple[tuple[int, int], ...]
    repeats: tuple[int, ...]
    batch: int
    seed: int
    prior: tuple[bool, ...] = ()

    def __len__(self) -> int:
        """Batches in an epoch."""
        return sum(math.ceil(len(rows) / self.batch) for rows in _groups(self, 0))

    def at(self, step: int) -> tuple[int, ...]:
        """The pictures of a step, counted from 0 through all epochs."""
        epoch, place = divmod(step, len(self))
        return _epoch(self, epoch)[place]


@lru_cache(maxsize=8)
def _groups(order: Order, epoch: int) -> tuple[tuple[int, ...], ...]:
    """An epoch's pictures by size."""
    prior = [row for row, drawn in enumerate(order.prior) if drawn]
    groups: dict[tuple[int, int], list[int]] = {}
    own = 0
    for row, (size, repeats) in enumerate(zip(order.sizes, order.repeats, strict=True)):
        if row not in prior:
            groups.setdefault(size, []).extend([row] * repeats)
            own += repeats
    if prior:
        chosen = random.Random(f"{order.seed}:{epoch}:prior").sample(prior, min(own, len(prior)))
        groups.setdefault(order.sizes[prior[0]], []).extend(chosen)
    return tuple(tuple(rows) for rows in groups.values())


@lru_cache(maxsize=4)
def _epoch(order: Order, epoch: int) -> tuple[tuple[int, ...], ...]:
    """All batches of an epoch, shuffled; a group's last batch is filled up with pictures of the same size."""
    rng = random.Random(f"{order.seed}:{epoch}")
    batches: list[tuple[int, ...]] = []
    for group in _groups(order, epoch):
        rows: Sequence[int] = rng.sample(group, len(group))
        missing = -len(rows) % order.batch
        filled = [*rows, *rng.choices(group, k=missing)]
        batches += [tuple(filled[k : k + order.batch]) for k in range(0, len(filled), order.batch)]
    rng.shuffle(batches)
    return tuple(batches)
