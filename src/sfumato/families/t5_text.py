"""T5's encoder (Raffel et al. 2020; v1.1: Shazeer 2020), under transformers' names and with its numbers.

It is ours for the reason that CLIP's is: see :mod:`sfumato.families.clip_text`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: The only one of the family's feed-forward networks that a Stable Diffusion model comes with.
_GATED = "gated-gelu"


@dataclass(frozen=True)
class T5Config:
    """transformers' ``T5Config``, as far as it says what the encoder computes; the defaults are T5 v1.1 XXL's.

    ``d_kv`` is a head's width. Distances between tokens fall into ``relative_attention_num_buckets`` kinds.
    """

    vocab_size: int = 32128
    d_model: int = 4096
    d_kv: int = 64
    d_ff: int = 10240
    num_layers: int = 24
    num_heads: int = 64
    relative_attention_num_buckets: int = 32
    relative_attention_max_distance: int = 128
    layer_norm_epsilon: float = 1e-6
    feed_forward_proj: str = _GATED

    def __post_init__(self) -> None:
        if self.feed_forward_proj != _GATED:
            raise ValueError(f"feed_forward_proj is {self.feed_forward_proj!r}; known: {_GATED}")

    @property
    def hidden_size(self) -> int:
        """Numbers a word."""
        return self.d_model

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> T5Config:
        """The configuration in a mapping that may say more. Raises ValueError for what is not known."""
        return cls(**{one.name: config[one.name] for one in fields(cls) if one.name in config})


class T5Encoder(nn.Module):
    """Token ids to states; every token sees every other one."""

    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.config = config
        self.shared = nn.Embedding(config.vocab_size, config.d_model)
        self.encoder = nn.Module()
        self.encoder.block = nn.ModuleList(_Block(config, first=k == 0) for k in range(config.num_layers))
        self.encoder.final_layer_norm = _Norm(config)

    @property
    def dtype(self) -> torch.dtype:
        """What it computes in."""
        norm: Any = self.encoder.final_layer_norm
        return norm.weight.dtype

    def forward(self, input_ids: Tensor) -> Tensor:
        """(B, T) token ids to (B, T, D), normed."""
        encoder: Any = self.encoder
        x = self.shared(input_ids)
        bias = encoder.block[0].layer[0].SelfAttention.bias(input_ids.shape[-1], x.device).to(x.dtype)
        for block in encoder.block:
            for layer in block.layer:
                x = layer(x, bias)
        return encoder.final_layer_norm(x)


class _Norm(nn.Module):
    """To a root mean square of one; nothing is subtracted."""

    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(config.d_model))
        self._least = config.layer_norm_epsilon

    def forward(self, x: Tensor) -> Tensor:
        scale = torch.rsqrt(x.float().square().mean(-1, keepdim=True) + self._least)
        return self.weight * (x * scale).to(self.weight.dtype)


class _Block(nn.Module):
    def __init__(self, config: T5Config, *, first: bool) -> None:
        super().__init__()
        self.layer = nn.ModuleList([_AttentionLayer(config, first=first), _FeedForwardLayer(config)])


class _AttentionLayer(nn.Module):
    def __init__(self, config: T5Config, *, first: bool) -> None:
        super().__init__()
        self.SelfAttention = _Attention(config, biased=first)
        self.layer_norm = _Norm(config)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        return x + self.SelfAttention(self.layer_norm(x), bias)


class _Attention(nn.Module):
    """The first block's knows how distances count, for all blocks."""

    def __init__(self, config: T5Config, *, biased: bool) -> None:
        super().__init__()
        self._heads, inner = config.num_heads, config.num_heads * config.d_kv
        self._farthest = config.relative_attention_max_distance
        self.q, self.k, self.v = (nn.Linear(config.d_model, inner, bias=False) for _ in "qkv")
        self.o = nn.Linear(inner, config.d_model, bias=False)
        if biased:
            self.relative_attention_bias = nn.Embedding(config.relative_attention_num_buckets, config.num_heads)

    def bias(self, length: int, device: torch.device) -> Tensor:
        """What the distance adds to the attention of each token to each: (1, heads, T, T)."""
        places = torch.arange(length, device=device)
        kinds = buckets(places[None] - places[:, None], self.relative_attention_bias.num_embeddings, self._farthest)
        return self.relative_attention_bias(kinds).permute(2, 0, 1)[None]

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        q, k, v = (layer(x).unflatten(-1, (self._heads, -1)).transpose(1, 2) for layer in (self.q, self.k, self.v))
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=1.0)
        return self.o(mixed.transpose(1, 2).flatten(2))


class _FeedForwardLayer(nn.Module):
    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.DenseReluDense = _FeedForward(config)
        self.layer_norm = _Norm(config)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        return x + self.DenseReluDense(self.layer_norm(x))


class _FeedForward(nn.Module):
    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.wi_0, self.wi_1 = (nn.Linear(config.d_model, config.d_ff, bias=False) for _ in range(2))
        self.wo = nn.Linear(config.d_ff, config.d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.wo(F.gelu(self.wi_0(x), approximate="tanh") * self.wi_1(x))


def buckets(distances: Tensor, count: int, farthest: int) -> Tensor:
    """Kinds of distances, 0 to ``count - 1``: half for tokens before and half for those after; of each half, a half for
    near ones singly and the rest in logarithmic steps up to ``farthest``.
    """
    half = count // 2
    near = half // 2
    far = distances.abs()
    steps = torch.log(far.clamp(min=1).float() / near) / math.log(farthest / near) * (half - near)
    kinds = torch.where(far < near, far, (near + steps.long()).clamp(max=half - 1))
    return kinds + (distances > 0) * half
