"""Pictures of many prompts, drawn by the networks as they are at the moment, some at once."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from PIL import Image

from sfumato.engine.conditioning import Conditioning, EncodingCache, Track
from sfumato.engine.draw import GuidedNetwork, Sampler, condition, to_images
from sfumato.engine.resolve import resolve
from sfumato.families.base import Encoding, Networks
from sfumato.families.text import read
from sfumato.request import Txt2ImgRequest
from sfumato.sampling.noise_schedule import NoiseSchedule

STEPS = 20
#: The most pixels that are drawn at once: eight small pictures, whose layers take little longer than one's.
AT_ONCE = 8 * 256 * 256


def at_once(networks: Networks) -> int:
    """How many pictures of the model's own size are drawn at once."""
    width, height = networks.spec.native_size
    return max(1, AT_ONCE // (width * height))


def sample(
    networks: Networks, schedule: NoiseSchedule, prompts: Sequence[str], seeds: Sequence[int], autocast: Any,
    cfg_scale: float | None = None,
) -> list[Image.Image]:  # fmt: skip
    """One picture for each prompt and its seed, of the model's own size.

    Args:
        autocast: a context manager's factory, as the training computes in.
        cfg_scale: guidance; None is what suits the model.
    """
    networks.unet.eval()
    cache = EncodingCache(functools.partial(read, networks))
    asked = [Txt2ImgRequest(prompt=each, seed=0, steps=STEPS, cfg_scale=cfg_scale) for each in prompts]
    jobs = [replace(resolve(each, networks.spec), seeds=(seed,)) for each, seed in zip(asked, seeds, strict=True)]
    images: dict[int, Image.Image] = {}
    with torch.no_grad(), autocast():
        words = [condition(job, cache) for job in jobs]
        for rows in _groups(words, at_once(networks)):
            job = replace(jobs[rows[0]], seeds=tuple(seeds[row] for row in rows))
            network = GuidedNetwork(networks, _together([words[row] for row in rows]), job.cfg_scale)
            latents = Sampler(job, networks, network, schedule, None).run()
            images.update(zip(rows, to_images(networks, latents), strict=True))
    return [images[row] for row in sorted(images)]


def _groups(words: Sequence[Conditioning], count: int) -> Iterator[list[int]]:
    """The rows of up to ``count`` that are drawn at once: whose texts are all of one length; others are alone."""
    alike: dict[tuple[int, int | None], list[int]] = {}
    for row, each in enumerate(words):
        tracks = [*each.positive, *([each.negative] if each.negative else [])]
        lengths = {encoding.context.shape[1] for track in tracks for _, encoding in track.spans}
        plain = len(lengths) == 1 and len(each.positive) == 1 and each.positive[0].weight == 1
        alike.setdefault((lengths.pop(), None) if plain else (0, row), []).append(row)
    for rows in alike.values():
        yield from (rows[first : first + count] for first in range(0, len(rows), count))


def _together(words: Sequence[Conditioning]) -> Conditioning:
    """The words of several pictures as one's, whose encodings have a row for each picture."""
    if len(words) == 1:
        return words[0]
    unwanted = [each.negative for each in words if each.negative is not None]
    return Conditioning((_stacked([each.positive[0] for each in words]),), _stacked(unwanted) if unwanted else None)


def _stacked(tracks: Sequence[Track]) -> Track:
    ends = sorted({until for track in tracks for until, _ in track.spans})
    return Track(1.0, tuple((end, Encoding.stacked([track.at(end - 1) for track in tracks])) for end in ends))
