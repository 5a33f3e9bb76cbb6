"""What Stable Diffusion 3's transformer is given beside latents and time.

Two CLIP text encoders' states stand side by side, and T5's after them as so many more words. T5 may be absent: its
words are zeros then, as the reference has them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sfumato.families.base import Encoding, Segments
from sfumato.families.embeddings import Embeddings
from sfumato.families.t5_tokens import T5Tokenizer
from sfumato.families.text import BREAK, ClipReader, emphasize
from sfumato.families.tokens import ClipTokenizer

#: Words that T5 reads at least; a shorter text is filled up, as in the training.
T5_TOKENS = 256


@dataclass(frozen=True)
class JointWords:
    """States of all text encoders one after the other, ``width`` numbers each, and CLIP's views of the whole text."""

    width: int

    def join(self, readings: Sequence[Encoding], *, negative: bool, empty: bool) -> Encoding:
        """See :class:`sfumato.families.base.Conditioner`; a reading without a view of the whole text is T5's."""
        clips = [one for one in readings if one.pooled is not None]
        states = torch.cat([one.context for one in clips], dim=-1)
        states = F.pad(states, (0, self.width - states.shape[-1]))
        more = [one.context.to(states.dtype) for one in readings if one.pooled is None]
        more = more or [states.new_zeros(1, T5_TOKENS, self.width)]
        pooled = torch.cat([one.pooled for one in clips if one.pooled is not None], dim=-1)
        return Encoding(torch.cat([states, *more], dim=1), pooled)

    def predict(self, network: Any, x: Tensor, t: Tensor, encoding: Encoding, size: tuple[int, int]) -> Tensor:
        """See :class:`sfumato.families.base.Conditioner`."""
        assert encoding.pooled is not None
        return network(
            hidden_states=x,
            timestep=t,
            encoder_hidden_states=encoding.context.to(x.dtype),
            pooled_projections=encoding.pooled.to(x.dtype),
            return_dict=False,
        )[0]


def reader(name: str, network: Any, tokenizer: ClipTokenizer) -> ClipReader:
    """A CLIP text encoder as the family reads with it; ``clip_skip`` changes nothing."""
    key = "clip_l" if name == "text_encoder" else "clip_g"
    return ClipReader(tokenizer, network, name, layer=2, normed=False, skips=False, key=key)


@dataclass
class T5Reader:
    """T5's encoder with its tokenizer: all of a text at once, however long, and no words of one's own."""

    tokenizer: T5Tokenizer
    network: Any
    name: str = "text_encoder_3"
    embeddings: Embeddings = field(default_factory=Embeddings)

    def know(self, words: Mapping[str, Path]) -> None:
        """Embeddings are for CLIP: T5 reads their names as words."""

    def read(self, segments: Segments, clip_skip: int, device: torch.device) -> Encoding:
        """Weighted text to (1, T, D) in T5's type; T is 256, or as long as the text is with its end."""
        ids: list[int] = []
        weights: list[float] = []
        for segment in segments:
            if segment != BREAK:
                found = self.tokenizer.ids(segment[0])
                ids += found
                weights += [segment[1]] * len(found)
        ids.append(self.tokenizer.eos)
        fill = max(0, T5_TOKENS - len(ids))
        states = self.network(torch.tensor([ids + [self.tokenizer.pad] * fill], device=device))
        row = torch.tensor([weights + [1.0] * (fill + 1)], device=device)
        return Encoding(emphasize(states, row))
