"""CLIP's text encoders in single files: OpenAI's under transformers' names, OpenCLIP's under its own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from sfumato.weights.header import TensorInfo
from sfumato.weights.keymaps.piece import Piece

Tensors = Mapping[str, TensorInfo]

_OPEN_NAMES = {
    "token_embedding.weight": "embeddings.token_embedding.weight",
    "positional_embedding": "embeddings.position_embedding.weight",
    "ln_final.weight": "final_layer_norm.weight",
    "ln_final.bias": "final_layer_norm.bias",
}
_OPEN_LAYER = {"ln_1": "layer_norm1", "ln_2": "layer_norm2", "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2",
               "attn.out_proj": "self_attn.out_proj"}  # fmt: skip
_BLOCK = re.compile(r"transformer\.resblocks\.(\d+)\.(.+)")
#: Beside the text encoder proper: buffers, and what only images need.
_NEEDLESS = re.compile(r".*(position_ids|logit_scale|attn_mask)")


@dataclass(frozen=True)
class TextShape:
    """What the text encoder's tensors tell; ``projection`` is 0 if it has none."""

    vocabulary: int
    width: int
    inner: int
    layers: int
    positions: int
    projection: int


def is_open(tensors: Tensors, prefix: str) -> bool:
    """Whether the text encoder below the prefix has OpenCLIP's names."""
    return f"{prefix}transformer.resblocks.0.ln_1.weight" in tensors


def names(tensors: Tensors, prefix: str) -> dict[str, Piece]:
    """transformers' name, without ``text_model.``, to its place in the file, for all tensors below the prefix."""
    out: dict[str, Piece] = {}
    open_clip = is_open(tensors, prefix)
    for old in tensors:
        if old.startswith(prefix) and not _NEEDLESS.fullmatch(name := old.removeprefix(prefix)):
            out |= _open_places(name, old) if open_clip else _places(name, old)
    return out


def _places(name: str, old: str) -> dict[str, Piece]:
    name = name.removeprefix("text_model.")
    if name == "text_projection":  # as OpenCLIP has it, in files that were half converted
        return {"text_projection.weight": Piece(old, turned=True)}
    return {name: Piece(old)}


def _open_places(name: str, old: str) -> dict[str, Piece]:
    if name in _OPEN_NAMES:
        return {_OPEN_NAMES[name]: Piece(old)}
    if name == "text_projection":
        return {"text_projection.weight": Piece(old, turned=True)}
    if not (match := _BLOCK.fullmatch(name)):
        return {name: Piece(old)}
    layer, rest = f"encoder.layers.{match[1]}.", match[2]
    if rest.startswith("attn.in_proj_"):
        kind = rest.removeprefix("attn.in_proj_")
        return {f"{layer}self_attn.{one}_proj.{kind}": Piece(old, third) for third, one in enumerate("qkv")}
    inner, _, leaf = rest.rpartition(".")
    return {f"{layer}{_OPEN_LAYER.get(inner, inner)}.{leaf}": Piece(old)}


def shape(tensors: Tensors, places: Mapping[str, Piece]) -> TextShape:
    """Read the hyperparameters of a text encoder from its tensors.

    Raises:
        KeyError: a tensor is missing. ValueError: one has a shape that no text encoder has.
    """

    def size(name: str) -> tuple[int, ...]:
        if name not in places:
            raise KeyError(name)
        return tensors[places[name].name].shape

    vocabulary, width = size("embeddings.token_embedding.weight")
    projection = places.get("text_projection.weight")
    turned = projection is not None and projection.turned
    return TextShape(
        vocabulary=vocabulary,
        width=width,
        inner=size("encoder.layers.0.mlp.fc1.weight")[0],
        layers=len({name.split(".")[2] for name in places if name.startswith("encoder.layers.")}),
        positions=size("embeddings.position_embedding.weight")[0],
        projection=tensors[projection.name].shape[1 if turned else 0] if projection else 0,
    )
