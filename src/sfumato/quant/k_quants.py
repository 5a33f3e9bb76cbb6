"""From numbers to ggml's K-quants: blocks of 256 numbers in groups, whose scales are themselves quantized.

For each group the scale (and, where a type has one, the lowest value) is sought that leaves the least squared error, as
ggml's reference does (``quantize_row_q4_K_ref``, ``q5_K``, ``q6_K`` in ``ggml-quants.c``): for some roundings of the
group, the best scale and lowest value have a closed form. ggml weighs large numbers more, which leaves a greater error
of the whole; all count the same here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

#: Blocks that are packed at a time, so that what lies between stays in a processor's cache.
CHUNK = 1024
#: A group whose greatest number is below this is nothing but zeros.
_NOTHING = 1e-15


def pack(numbers: Tensor, kind: str) -> Tensor:
    """(n, 256) float32 to (n, bytes of a block) uint8, for ``Q4_K``, ``Q5_K`` or ``Q6_K``."""
    return torch.cat([KINDS[kind](part) for part in numbers.split(CHUNK)])


def _q4_k(x: Tensor) -> Tensor:
    heads, fields = _with_lows(x, 15, -1.0, 20)
    return torch.cat([heads, _joined(fields, 32, 4)], 1)


def _q5_k(x: Tensor) -> Tensor:
    heads, fields = _with_lows(x, 31, -0.5, 15)
    return torch.cat([heads, _joined(fields >> 4, 32, 1), _joined(fields & 15, 32, 4)], 1)


def _q6_k(x: Tensor) -> Tensor:
    groups = x.view(-1, 16, 16)
    best = _scales(groups, 32)
    top = best.gather(1, best.abs().argmax(1, keepdim=True))
    unit = torch.where(top.abs() < _NOTHING, 0, top / -128).half()
    codes = (best * _inverse(top / -128)).round().clamp(-128, 127)
    scales = unit.float() * codes
    fields = (groups * _inverse(scales)[..., None]).round().clamp(-32, 31).add(32).to(torch.uint8).flatten(1)
    low, high = _joined(fields & 15, 64, 4), _joined(fields >> 4, 32, 2)
    return torch.cat([low, high, codes.to(torch.int8).view(torch.uint8), _bytes(unit)], 1)


KINDS: Mapping[str, Callable[[Tensor], Tensor]] = {"Q4_K": _q4_k, "Q5_K": _q5_k, "Q6_K": _q6_k}


def _with_lows(x: Tensor, most: int, first: float, tries: int) -> tuple[Tensor, Tensor]:
    """What a block of ``Q4_K`` or ``Q5_K`` begins with, (n, 16), and its fields from 0 to ``most``, (n, 256)."""
    groups = x.view(-1, 8, 32)
    scales, lows = _scales_and_lows(groups, most, first, tries)
    units = [values.amax(1, keepdim=True).clamp_min(0) / 63 for values in (scales, lows)]
    codes = [(v * _inverse(u)).round().clamp(0, 63) for v, u in zip((scales, lows), units, strict=True)]
    halves = [unit.half() for unit in units]
    step, low = (half.float() * code for half, code in zip(halves, codes, strict=True))
    fields = ((groups + low[..., None]) * _inverse(step)[..., None]).round().clamp(0, most)
    s, m = (code.to(torch.uint8) for code in codes)
    sixes = [s[:, :4] | (s[:, 4:] >> 4 << 6), m[:, :4] | (m[:, 4:] >> 4 << 6), (s[:, 4:] & 15) | (m[:, 4:] & 15) << 4]
    return torch.cat([*map(_bytes, halves), *sixes], 1), fields.to(torch.uint8).flatten(1)


def _scales_and_lows(x: Tensor, most: int, first: float, tries: int) -> tuple[Tensor, Tensor]:
    """The (n, g) scales and lows of groups (n, g, k), so that ``scale * field - low`` is near x (``make_qkx2_quants``).

    Roundings to ``most + first``, ``most + first + 0.1``, ... steps are tried.
    """
    low, high = x.amin(-1).clamp_max(0), x.amax(-1)
    room = high - low
    count, all_x, all_xx = x.shape[-1], x.sum(-1), x.square().sum(-1)
    shifted = x - low[..., None]

    def sums(steps: float) -> tuple[Tensor, Tensor, Tensor]:
        fields = (shifted * (steps * _inverse(room))[..., None]).round_().clamp_(0, most)
        return fields.sum(-1), fields.square().sum(-1), (fields * x).sum(-1)

    def error(scale: Tensor, least: Tensor, some: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        s_l, s_ll, s_lx = some
        cross = scale * least * s_l - scale * s_lx - least * all_x
        return scale * scale * s_ll + least * least * count + all_xx + 2 * cross

    scale, least = room / most, low
    found = error(scale, least, sums(most))
    for k in range(tries + 1):
        s_l, s_ll, s_lx = some = sums(most + first + 0.1 * k)
        share = count * s_ll - s_l * s_l
        new_scale = (count * s_lx - all_x * s_l) / share
        new_least = (s_ll * all_x - s_l * s_lx) / share
        above = new_least > 0
        new_scale, new_least = torch.where(above, s_lx / s_ll, new_scale), torch.where(above, 0, new_least)
        new = error(new_scale, new_least, some)
        better = (share > 0) & (new < found)
        scale, least = torch.where(better, new_scale, scale), torch.where(better, new_least, least)
        found = torch.where(better, new, found)
    return torch.where(room > 0, scale, 0), -least


def _scales(x: Tensor, most: int) -> Tensor:
    """The (n, g) scales of groups (n, g, k), for fields from ``-most`` to ``most - 1`` (``make_qx_quants``)."""
    top = x.gather(-1, x.abs().argmax(-1, keepdim=True))
    scale, gain = torch.zeros_like(top[..., 0]), torch.zeros_like(top[..., 0])
    for k in (0, *range(-9, 0), *range(1, 10)):
        fields = (x * (-(most + 0.1 * k) * _inverse(top))).round_().clamp_(-most, most - 1)
        s_lx, s_ll = (fields * x).sum(-1), fields.square().sum(-1)
        better = (s_ll > 0) & (s_lx * s_lx > gain * s_ll)
        scale = torch.where(better, s_lx / s_ll, scale)
        gain = torch.where(better, s_lx * s_lx / s_ll, gain)
    return torch.where(top[..., 0].abs() < _NOTHING, 0, scale)


def _inverse(x: Tensor) -> Tensor:
    """1 / x, and 0 of 0."""
    return torch.where(x == 0, 0, 1 / x)


def _joined(fields: Tensor, width: int, bits: int) -> Tensor:
    """The reverse of :func:`sfumato.quant.unpack._fields`: (n, 256) fields to (n, 32 bits) bytes."""
    parts = fields.unflatten(1, (-1, 8 // bits, width))
    out = parts[:, :, 0].clone()
    for k in range(1, 8 // bits):
        out |= parts[:, :, k] << (k * bits)
    return out.flatten(1)


def _bytes(half: Tensor) -> Tensor:
    return half.view(torch.uint8)
