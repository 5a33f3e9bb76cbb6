"""From packed blocks to numbers, on any device, with the very bits that the gguf package gives in float32.

The layouts are those of ggml's ``ggml-common.h``: scales first or last, and fields of a few bits whose bytes hold
numbers that are far apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from sfumato.errors import CheckpointError
from sfumato.weights.blocks import Blocks

#: Numbers that are unpacked at a time, so that what lies between stays in a processor's cache.
CHUNK = 2**18
#: Our own type, of no file: a row's scale in bfloat16 and its numbers as 8-bit integers, however many.
ROWS = "INT8"
#: The sixteen values of the types that have no even steps.
_UNEVEN = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)


@dataclass(frozen=True)
class Codec:
    """A type's blocks: so many numbers in so many bytes; ``unpack`` takes (n, bytes) to (n, numbers) in float32."""

    numbers: int
    bytes: int
    unpack: Callable[[Tensor], Tensor]


def unpack(blocks: Blocks, dtype: torch.dtype) -> Tensor:
    """The numbers in the tensor's shape, rounded to ``dtype``.

    Raises:
        CheckpointError: the type is unknown.
    """
    codec, data = codec_of(blocks.kind), blocks.data
    out = torch.empty(len(data), blocks.block, dtype=dtype, device=data.device)
    step = max(1, CHUNK // blocks.block) if data.device.type == "cpu" else len(data)
    for start in range(0, len(data), step):
        out[start : start + step] = codec.unpack(data[start : start + step])
    return out.view(blocks.shape)


def codec_of(kind: str) -> Codec:
    """The type of that name.

    Raises:
        CheckpointError: there is none.
    """
    if kind == ROWS:
        return Codec(0, 0, _rows)
    if kind not in CODECS:
        raise CheckpointError(f"weights of type {kind} can't be read; known: {', '.join(CODECS).lower()}")
    return CODECS[kind]


def _half(data: Tensor, place: int) -> Tensor:
    """(n, 1): the float16 number at this byte of every block."""
    return data[:, place : place + 2].view(torch.float16).float()


def _fields(data: Tensor, width: int, bits: int) -> Tensor:
    """(n, k) bytes to (n, 8 k / bits) fields: of each ``width`` bytes all lowest fields, then all next ones."""
    data = data.contiguous().unflatten(1, (-1, width))  # whole bytes side by side: twice as fast as broadcast shifts
    shifted = [data >> shift if shift else data for shift in range(0, 8, bits)]
    parts = [part & (2**bits - 1) for part in shifted[:-1]] + shifted[-1:]
    return torch.stack(parts, 2).flatten(1)


def _q4_0(data: Tensor) -> Tensor:
    return _fields(data[:, 2:], 16, 4).float().sub_(8).mul_(_half(data, 0))


def _q4_1(data: Tensor) -> Tensor:
    return _fields(data[:, 4:], 16, 4).float().mul_(_half(data, 0)).add_(_half(data, 2))


def _five(data: Tensor) -> Tensor:
    """Four bytes of highest bits and sixteen of the others."""
    return (_fields(data[:, 4:], 16, 4) | (_fields(data[:, :4], 1, 1) << 4)).float()


def _q5_0(data: Tensor) -> Tensor:
    return _five(data[:, 2:]).sub_(16).mul_(_half(data, 0))


def _q5_1(data: Tensor) -> Tensor:
    return _five(data[:, 4:]).mul_(_half(data, 0)).add_(_half(data, 2))


def _q8_0(data: Tensor) -> Tensor:
    return data[:, 2:].view(torch.int8).float().mul_(_half(data, 0))


def _scaled(fields: Tensor, scales: Tensor, lows: Tensor | None = None) -> Tensor:
    """(n, 256) fields times ``scales``, less ``lows``; both are (n, groups)."""
    out = fields.float().unflatten(1, (scales.shape[1], -1)).mul_(scales[..., None])
    return (out if lows is None else out.sub_(lows[..., None])).flatten(1)


def _q2_k(data: Tensor) -> Tensor:
    scales = _half(data, 80) * (data[:, :16] & 15).float()
    lows = _half(data, 82) * (data[:, :16] >> 4).float()
    return _scaled(_fields(data[:, 16:80], 32, 2), scales, lows)


def _q3_k(data: Tensor) -> Tensor:
    steps = _fields(data[:, 96:104], 8, 4) | (_fields(data[:, 104:108], 4, 2) << 4)
    fields = _fields(data[:, 32:96], 32, 2) | (_fields(data[:, :32], 32, 1) << 2)
    return _scaled(fields.float().sub_(4), _half(data, 108) * steps.float().sub_(32))


def _scales_and_lows(data: Tensor) -> tuple[Tensor, Tensor]:
    """Eight scales and eight lowest values of 6 bits, from the 16 bytes that ``Q4_K`` and ``Q5_K`` begin with."""
    first, second, third = data[:, 4:8], data[:, 8:12], data[:, 12:16]
    scales = torch.cat([first & 63, (third & 15) | ((first >> 2) & 48)], 1)
    lows = torch.cat([second & 63, (third >> 4) | ((second >> 2) & 48)], 1)
    return _half(data, 0) * scales.float(), _half(data, 2) * lows.float()


def _q4_k(data: Tensor) -> Tensor:
    return _scaled(_fields(data[:, 16:], 32, 4), *_scales_and_lows(data))


def _q5_k(data: Tensor) -> Tensor:
    fields = _fields(data[:, 48:], 32, 4) | (_fields(data[:, 16:48], 32, 1) << 4)
    return _scaled(fields, *_scales_and_lows(data))


def _q6_k(data: Tensor) -> Tensor:
    fields = _fields(data[:, :128], 64, 4) | (_fields(data[:, 128:192], 32, 2) << 4)
    return _scaled(fields.float().sub_(32), _half(data, 208) * data[:, 192:208].view(torch.int8).float())


def _uneven(fields: Tensor) -> Tensor:
    return torch.tensor(_UNEVEN, dtype=torch.float32, device=fields.device)[fields.long()]


def _iq4_nl(data: Tensor) -> Tensor:
    return _uneven(_fields(data[:, 2:], 16, 4)).mul_(_half(data, 0))


def _iq4_xs(data: Tensor) -> Tensor:
    steps = _fields(data[:, 4:8], 1, 4) | (_fields(data[:, 2:4], 1, 2) << 4)
    return _scaled(_uneven(_fields(data[:, 8:], 16, 4)), _half(data, 0) * steps.float().sub_(32))


def _rows(data: Tensor) -> Tensor:
    return data[:, 2:].view(torch.int8).float().mul_(data[:, :2].view(torch.bfloat16).float())


CODECS: Mapping[str, Codec] = {
    "F16": Codec(1, 2, lambda data: data.view(torch.float16).float()),
    "BF16": Codec(1, 2, lambda data: data.view(torch.bfloat16).float()),
    "Q8_0": Codec(32, 34, _q8_0),
    "Q6_K": Codec(256, 210, _q6_k),
    "Q5_K": Codec(256, 176, _q5_k),
    "Q5_1": Codec(32, 24, _q5_1),
    "Q5_0": Codec(32, 22, _q5_0),
    "Q4_K": Codec(256, 144, _q4_k),
    "Q4_1": Codec(32, 20, _q4_1),
    "Q4_0": Codec(32, 18, _q4_0),
    "IQ4_NL": Codec(32, 18, _iq4_nl),
    "IQ4_XS": Codec(256, 136, _iq4_xs),
    "Q3_K": Codec(256, 110, _q3_k),
    "Q2_K": Codec(256, 84, _q2_k),
}
