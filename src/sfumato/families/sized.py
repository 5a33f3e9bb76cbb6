"""What Stable Diffusion XL's UNets are given beside latents and time.

The base reads with two text encoders, of each the states before the last layer, and is given the second one's view
of the text as a whole, the picture's size, and what was cut off (nothing). The refiner has the second text encoder
alone, and in the place of the wished size how beautiful the picture is to be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sfumato.families.base import Encoding
from sfumato.families.text import ClipReader
from sfumato.families.tokens import ClipTokenizer

#: How beautiful a picture is to be that is wished, and one that is not: the published refiner's.
SCORES = (6.0, 2.5)


@dataclass(frozen=True)
class WordsAndSize:
    """States and the text as a whole, the picture's size, and of the refiner a score.

    Attributes:
        zero_empty: whether a negative prompt without words is all zeros, as the base was trained.
        scored: whether the UNet takes a score in the place of the wished size.
    """

    zero_empty: bool
    scored: bool = False

    def join(self, readings: Sequence[Encoding], *, negative: bool, empty: bool) -> Encoding:
        """The states side by side, and the last reading's view of the whole."""
        context = torch.cat([one.context for one in readings], dim=-1)
        pooled = next(one.pooled for one in reversed(readings) if one.pooled is not None)
        if self.zero_empty and negative and empty:
            context, pooled = torch.zeros_like(context), torch.zeros_like(pooled)
        score = torch.tensor([[SCORES[negative]]], device=context.device) if self.scored else None
        return Encoding(context, pooled, score)

    def predict(self, network: Any, x: Tensor, t: Tensor, encoding: Encoding, size: tuple[int, int]) -> Tensor:
        """As the pictures were described in training: (height, width), the cut's (top, left), and the wished size."""
        assert encoding.pooled is not None
        width, height = size
        whole = torch.tensor([[height, width, 0, 0]], dtype=torch.float32, device=x.device).expand(len(x), -1)
        last = whole[:, :2] if encoding.score is None else encoding.score
        added = {"text_embeds": encoding.pooled.to(x.dtype), "time_ids": torch.cat([whole, last], dim=1)}
        return network(x, t, encoding.context.to(x.dtype), added_cond_kwargs=added, return_dict=False)[0]


def reader(name: str, network: Any, tokenizer: ClipTokenizer) -> ClipReader:
    """A text encoder as the family reads with it; ``clip_skip`` changes nothing, as in the web UI."""
    key = "clip_l" if name == "text_encoder" else "clip_g"
    return ClipReader(tokenizer, network, name, layer=2, normed=False, skips=False, key=key)


def added_config(vector: int, pooled: int, *, scored: bool) -> dict[str, Any]:
    """The configuration of what is added to the time: ``vector`` numbers, ``pooled`` of them the text as a whole."""
    return {
        "addition_embed_type": "text_time",
        "projection_class_embeddings_input_dim": vector,
        "addition_time_embed_dim": (vector - pooled) // (5 if scored else 6),
    }
