"""Attention: on a CPU as plain matrix products over tiles of rows, elsewhere torch's own kernel.

On CPUs with fast bfloat16 products the stock kernel runs far below what the products alone reach. A tile's scores
stay in the cache between the first product, the softmax and the second one, and memory is bounded by the tile.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

#: Bytes that one tile's scores may have for each thread; about twice a second-level cache.
TILE_BYTES = 2 * 2**20
#: With fewer keys than this, all heads go through one product.
FEW_KEYS = 256
#: Products run fastest when the result's width is a multiple of a vector register's 16 numbers.
LANES = 16
#: Sums of a row's weights that are far enough from the ends of bfloat16's range.
SUMS = (2.0**-80, 2.0**100)

Weigh = Callable[[Tensor], Tensor]


def attention(q: Tensor, k: Tensor, v: Tensor, scale: float | None = None, mask: Tensor | None = None) -> Tensor:
    """``softmax(q kᵀ scale + mask) v``.

    Args:
        q: (B, H, Lq, D). k, v: (B, H, Lk, D). scale: 1/sqrt(D) if None. mask: added to the scores, (B, H, 1 or Lq, Lk).

    Returns:
        (B, H, Lq, D), in the type of ``q``; on a CPU and without gradients a view of a dense (B, Lq, H, D).
    """
    ours = q.device.type == "cpu" and q.dtype is torch.bfloat16 and mask is None and not torch.is_grad_enabled()
    if not ours:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)
    factor = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    if k.shape[2] <= FEW_KEYS:
        return _one_product(q * factor, k, v)
    return _tiled(q, k, v, factor)


def _one_product(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    batch, heads, rows, width = q.shape
    flat_q, flat_k, flat_v = (x.reshape(batch * heads, -1, width) for x in (q, k, v))
    weights = torch.softmax(torch.bmm(flat_q, flat_k.transpose(1, 2)), -1)
    out = q.new_empty(batch, rows, heads, width).transpose(1, 2)
    return out.copy_(torch.bmm(weights, flat_v).view(q.shape))


def _tiled(q: Tensor, k: Tensor, v: Tensor, factor: float) -> Tensor:
    """One head and at most ``TILE_BYTES`` of scores a thread at a time, in buffers that stay in the cache."""
    batch, heads, rows, width = q.shape
    keys = k.shape[2]
    tile = max(64, min(rows, TILE_BYTES * torch.get_num_threads() // (keys * q.element_size())))
    out = q.new_empty(batch, rows, heads, width).transpose(1, 2)
    scores = q.new_empty(tile, keys)
    values = q.new_zeros(keys, -(-(width + 1) // LANES) * LANES)
    values[:, width] = 1
    mixed = q.new_empty(rows, values.shape[1])
    for picture in range(batch):
        for head in range(heads):
            values[:, :width] = v[picture, head]
            _mix(q[picture, head], k[picture, head], values, factor, scores, mixed)
            torch.div(mixed[:, :width], mixed[:, width : width + 1], out=out[picture, head])
    return out


def _mix(q: Tensor, k: Tensor, values: Tensor, factor: float, scores: Tensor, mixed: Tensor) -> None:
    """One head's weighted values into ``mixed``, not yet divided by the weights' sum, which is a column of it.

    The weights are ``exp(score)`` as it is: a softmax, which looks for each row's greatest score first, takes half as
    long again. Sums tell whether that overflowed or came near to nothing; if so, the softmax does the head again.
    """
    turned, sums = k.t(), mixed[:, k.shape[1]]
    _mix_tiles(q, turned, values, factor * math.log2(math.e), scores, mixed, torch.exp2_)
    low, high = torch.aminmax(sums)
    if SUMS[0] < float(low) and float(high) < SUMS[1]:
        return
    _mix_tiles(q, turned, values, factor, scores, mixed, lambda tile: tile.copy_(torch.softmax(tile, -1)))


def _mix_tiles(
    q: Tensor, turned: Tensor, values: Tensor, factor: float, scores: Tensor, mixed: Tensor, weigh: Weigh
) -> None:
    for part, target in zip(q.split(len(scores)), mixed.split(len(scores)), strict=True):
        tile = scores[: len(part)]
        torch.addmm(tile, part, turned, beta=0, alpha=factor, out=tile)
        weigh(tile)
        torch.mm(tile, values, out=target)


class FastAttention:
    """A diffusers attention processor around :func:`attention`; an attention with a mask goes to torch's own.

    The module that it is called with is diffusers' ``Attention``.
    """

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        *args: object,
        **kwargs: object,
    ) -> Tensor:
        """(B, L, C) or (B, C, H, W) to the same, as diffusers' own processors compute it."""
        residual = hidden_states
        if attn.spatial_norm is not None:
            hidden_states = attn.spatial_norm(hidden_states, temb)
        shape = hidden_states.shape
        if hidden_states.ndim == 4:
            hidden_states = hidden_states.flatten(2).transpose(1, 2)
        if attn.group_norm is not None:
            hidden_states = attn.group_norm(hidden_states.transpose(1, 2)).transpose(1, 2)
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        if encoder_hidden_states is not None and attn.norm_cross:
            context = attn.norm_encoder_hidden_states(context)
        q, k, v = (
            layer(source).unflatten(-1, (attn.heads, -1)).transpose(1, 2)
            for layer, source in ((attn.to_q, hidden_states), (attn.to_k, context), (attn.to_v, context))
        )
        if attn.norm_q is not None:
            q = attn.norm_q(q)
        if attn.norm_k is not None:
            k = attn.norm_k(k)
        mask = attention_mask
        if mask is not None:
            mask = attn.prepare_attention_mask(mask, k.shape[2], len(q)).view(len(q), attn.heads, -1, k.shape[2])
        mixed = attention(q, k, v, attn.scale, mask)
        out = attn.to_out[1](attn.to_out[0](mixed.transpose(1, 2).flatten(2).to(q.dtype)))
        if len(shape) == 4:
            out = out.transpose(1, 2).reshape(shape)
        if attn.residual_connection:
            out = out + residual
        return out if attn.rescale_output_factor == 1 else out / attn.rescale_output_factor
