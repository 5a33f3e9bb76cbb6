"""Stable Diffusion 3's transformer in single files: hyperparameters from tensor shapes, and diffusers' names."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from sfumato.weights.keymaps.ldm import UNET, Tensors
from sfumato.weights.keymaps.piece import Piece

#: Width of a head where no norm of it tells.
HEAD = 64
_ENDS = {
    "x_embedder.proj": "pos_embed.proj",
    "t_embedder.mlp.0": "time_text_embed.timestep_embedder.linear_1",
    "t_embedder.mlp.2": "time_text_embed.timestep_embedder.linear_2",
    "y_embedder.mlp.0": "time_text_embed.text_embedder.linear_1",
    "y_embedder.mlp.2": "time_text_embed.text_embedder.linear_2",
    "context_embedder": "context_embedder",
    "final_layer.linear": "proj_out",
    "final_layer.adaLN_modulation.1": "norm_out.linear",
}
_INNER = {
    "x_block.attn.ln_q": "attn.norm_q",
    "x_block.attn.ln_k": "attn.norm_k",
    "x_block.attn.proj": "attn.to_out.0",
    "x_block.attn2.ln_q": "attn2.norm_q",
    "x_block.attn2.ln_k": "attn2.norm_k",
    "x_block.attn2.proj": "attn2.to_out.0",
    "x_block.adaLN_modulation.1": "norm1.linear",
    "x_block.mlp.fc1": "ff.net.0.proj",
    "x_block.mlp.fc2": "ff.net.2",
    "context_block.attn.ln_q": "attn.norm_added_q",
    "context_block.attn.ln_k": "attn.norm_added_k",
    "context_block.attn.proj": "attn.to_add_out",
    "context_block.adaLN_modulation.1": "norm1_context.linear",
    "context_block.mlp.fc1": "ff_context.net.0.proj",
    "context_block.mlp.fc2": "ff_context.net.2",
}
#: What is one tensor in the file and three in diffusers.
_THREE = {
    "x_block.attn.qkv": "attn.to_{}",
    "x_block.attn2.qkv": "attn2.to_{}",
    "context_block.attn.qkv": "attn.add_{}_proj",
}
_BLOCK = re.compile(r"joint_blocks\.(\d+)\.(.+)\.(weight|bias)")


@dataclass(frozen=True)
class Shape:
    """What the transformer's tensors tell.

    Attributes:
        context: width of a word's states; ``pooled``: of the text as a whole.
        positions: along a side, for which the file has embeddings.
        twice: blocks that attend to the picture a second time. ``normed``: queries and keys are.
    """

    layers: int
    width: int
    head: int
    patch: int
    channels: int
    context: int
    pooled: int
    positions: int
    twice: tuple[int, ...]
    normed: bool


def shape(tensors: Tensors) -> Shape:
    """Read the hyperparameters.

    Raises:
        KeyError: a tensor is missing. IndexError, ValueError: one has a shape that no such transformer has.
    """
    door = tensors[UNET + "x_embedder.proj.weight"].shape
    width, channels, patch, _ = door
    norm = tensors.get(UNET + "joint_blocks.0.x_block.attn.ln_q.weight")
    blocks = {int(match[1]): set() for name in tensors if (match := _BLOCK.fullmatch(name.removeprefix(UNET)))}
    twice = (k for k in blocks if f"{UNET}joint_blocks.{k}.x_block.attn2.qkv.weight" in tensors)
    return Shape(
        layers=len(blocks),
        width=width,
        head=norm.shape[0] if norm else HEAD,
        patch=patch,
        channels=channels,
        context=tensors[UNET + "context_embedder.weight"].shape[1],
        pooled=tensors[UNET + "y_embedder.mlp.0.weight"].shape[1],
        positions=math.isqrt(tensors[UNET + "pos_embed"].shape[1]),
        twice=tuple(sorted(twice)),
        normed=norm is not None,
    )


def names(tensors: Tensors, layers: int) -> dict[str, Piece]:
    """diffusers' name to its place in the file, for every tensor of the transformer that has one."""
    out: dict[str, Piece] = {}
    for old in tensors:
        if not old.startswith(UNET):
            continue
        name = old.removeprefix(UNET)
        if name == "pos_embed":
            out["pos_embed.pos_embed"] = Piece(old)
        elif match := _BLOCK.fullmatch(name):
            out |= _in_block(int(match[1]), match[2], match[3], old, layers)
        else:
            inner, _, leaf = name.rpartition(".")
            if inner in _ENDS:
                out[f"{_ENDS[inner]}.{leaf}"] = Piece(old, swapped=inner.endswith("adaLN_modulation.1"))
    return out


def _in_block(block: int, inner: str, leaf: str, old: str, layers: int) -> dict[str, Piece]:
    place = f"transformer_blocks.{block}."
    if inner in _THREE:
        return {f"{place}{_THREE[inner].format(one)}.{leaf}": Piece(old, third) for third, one in enumerate("qkv")}
    if inner not in _INNER:
        return {}
    last_of_words = block == layers - 1 and inner == "context_block.adaLN_modulation.1"
    return {f"{place}{_INNER[inner]}.{leaf}": Piece(old, swapped=last_of_words)}
