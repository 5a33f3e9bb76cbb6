"""Attention that is taught where to look: at the token of the part of the picture that a position is in."""

from __future__ import annotations

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor

from text_encoder import FIRST_PART, GRID


def places(side: int, heads: int) -> Tensor:
    """Where each head should look from each of side x side positions: (heads, side * side), places of the text.

    A head is for one of a part's positions (with fewer positions than heads, several heads are for one): from there it
    looks at the part's token, from elsewhere at the start of the text, which says nothing. So what a head
    hands on is what belongs there, and needs no further sorting.
    """
    wide = side // GRID
    row, column = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    part = (row // wide * GRID + column // wide).flatten()
    inside = (row % wide * wide + column % wide).flatten()
    mine = torch.arange(heads)[:, None] % wide**2 == inside
    return torch.where(mine, FIRST_PART + part, 0)


class Pointer:
    """An attention processor of diffusers that keeps, as ``loss``, how far its heads look from :func:`places`.

    Heads at work and heads at rest count the same, though the latter are many.
    """

    def __init__(self) -> None:
        self.loss = torch.zeros(())

    def __call__(
        self, attn: Attention, hidden_states: Tensor, encoder_hidden_states: Tensor, attention_mask: None = None
    ) -> Tensor:
        def split(x: Tensor) -> Tensor:
            return x.unflatten(-1, (attn.heads, -1)).transpose(1, 2)

        query, key = split(attn.to_q(hidden_states)), split(attn.to_k(encoder_hidden_states))
        scores = (query @ key.transpose(-1, -2)).float() * attn.scale
        chances = scores.log_softmax(-1)
        wanted = places(int(hidden_states.shape[1] ** 0.5), attn.heads)
        apart = -chances.gather(-1, wanted[None, :, :, None].expand(len(scores), -1, -1, 1)).squeeze(-1).mean(0)
        at_work = (wanted > 0).float()
        at_rest = 1 - at_work
        self.loss = (apart * at_work).sum() / at_work.sum() + (apart * at_rest).sum() / at_rest.sum().clamp(min=1)
        mixed = chances.exp().to(query.dtype) @ split(attn.to_v(encoder_hidden_states))
        return attn.to_out[1](attn.to_out[0](mixed.transpose(1, 2).flatten(2)))
