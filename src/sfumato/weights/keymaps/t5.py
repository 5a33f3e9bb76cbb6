"""T5's encoder in single files: transformers' names, or those of GGUF files that llama.cpp's converter wrote."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sfumato.weights.header import TensorInfo
from sfumato.weights.keymaps.piece import Piece

Tensors = Mapping[str, TensorInfo]

_TABLE = "shared.weight"
#: The same table once more, in some files.
_AGAIN = "encoder.embed_tokens.weight"
_ENDS = {"token_embd.weight": _TABLE, "enc.output_norm.weight": "encoder.final_layer_norm.weight"}
_INNER = {
    "attn_q": "0.SelfAttention.q",
    "attn_k": "0.SelfAttention.k",
    "attn_v": "0.SelfAttention.v",
    "attn_o": "0.SelfAttention.o",
    "attn_rel_b": "0.SelfAttention.relative_attention_bias",
    "attn_norm": "0.layer_norm",
    "ffn_gate": "1.DenseReluDense.wi_0",
    "ffn_up": "1.DenseReluDense.wi_1",
    "ffn_down": "1.DenseReluDense.wo",
    "ffn_norm": "1.layer_norm",
}
_GGUF = re.compile(r"enc\.blk\.(\d+)\.(\w+)\.weight")


@dataclass(frozen=True)
class T5Shape:
    """What the encoder's tensors tell; ``head`` is a head's width, ``buckets`` how many kinds of distances it knows."""

    vocabulary: int
    width: int
    inner: int
    layers: int
    heads: int
    head: int
    buckets: int


def names(tensors: Iterable[str], prefix: str = "") -> dict[str, Piece]:
    """transformers' name to its place in the file, for all tensors below the prefix."""
    out: dict[str, Piece] = {}
    for old in tensors:
        if not old.startswith(prefix):
            continue
        name = old.removeprefix(prefix)
        if (match := _GGUF.fullmatch(name)) and match[2] in _INNER:
            name = f"encoder.block.{match[1]}.layer.{_INNER[match[2]]}.weight"
        out[_ENDS.get(name, name)] = Piece(old)
    again = out.pop(_AGAIN, None)
    if again is not None:
        out.setdefault(_TABLE, again)
    return out


def shape(tensors: Tensors, places: Mapping[str, Piece]) -> T5Shape:
    """Read the hyperparameters.

    Raises:
        KeyError: a tensor is missing. ValueError: one has a shape that no T5 has.
    """

    def size(name: str) -> tuple[int, ...]:
        if name not in places:
            raise KeyError(name)
        return tensors[places[name].name].shape

    first = "encoder.block.0.layer."
    vocabulary, width = size(_TABLE)
    buckets, heads = size(first + "0.SelfAttention.relative_attention_bias.weight")
    inner, _ = size(first + "1.DenseReluDense.wi_0.weight")
    across, _ = size(first + "0.SelfAttention.q.weight")
    if not heads or across % heads:
        raise ValueError(f"{across} numbers for {heads} heads")
    layers = {name.split(".")[2] for name in places if name.startswith("encoder.block.")}
    return T5Shape(vocabulary, width, inner, len(layers), heads, across // heads, buckets)
