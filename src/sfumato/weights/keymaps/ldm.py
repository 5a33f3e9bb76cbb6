"""UNets and autoencoders in the original LDM layout: hyperparameters from tensor shapes, and diffusers' names.

LDM numbers its UNet's blocks in one row, diffusers by level; both are walked here side by side.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sfumato.weights.header import TensorInfo

UNET = "model.diffusion_model."
VAE = "first_stage_model."
TEXT = "cond_stage_model.transformer."

Tensors = Mapping[str, TensorInfo]

RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
_UNET_ENDS = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "label_emb.0.0": "add_embedding.linear_1",
    "label_emb.0.2": "add_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
    "middle_block.0": "mid_block.resnets.0",
    "middle_block.1": "mid_block.attentions.0",
    "middle_block.2": "mid_block.resnets.1",
}


@dataclass(frozen=True)
class UNetShape:
    """What the UNet's tensors tell: output channels and attention by level, blocks a level, sizes at the doors.

    Attributes:
        depth: transformer blocks in a row; if not everywhere as many, by level, the last being the middle's too.
        vector: numbers that are added to the time beside the words; 0 if none are.
    """

    channels: tuple[int, ...]
    attention: tuple[bool, ...]
    layers: int
    depth: int | tuple[int, ...]
    in_channels: int
    out_channels: int
    context: int
    linear_projection: bool
    vector: int = 0


def unet_shape(tensors: Tensors) -> UNetShape:
    """Read the hyperparameters from the shapes of the input blocks.

    Raises:
        KeyError: a tensor is missing. IndexError, ValueError: one has a shape that no UNet of LDM's has.
    """
    channels: list[int] = []
    depths: list[int] = []
    counts = [0]
    blocks = _numbers(tensors, UNET + "input_blocks.")
    for block in blocks[1:]:
        name = f"{UNET}input_blocks.{block}."
        if name + "0.op.weight" in tensors:
            counts.append(0)
            continue
        counts[-1] += 1
        if counts[-1] == 1:
            channels.append(tensors[name + "0.in_layers.2.weight"].shape[0])
            depths.append(len(_numbers(tensors, name + "1.transformer_blocks.")))
    middle = UNET + "middle_block.1."
    vector = tensors.get(UNET + "label_emb.0.0.weight")
    return UNetShape(
        channels=tuple(channels),
        attention=tuple(depth > 0 for depth in depths),
        layers=counts[0],
        depth=_depth(depths, len(_numbers(tensors, middle + "transformer_blocks."))),
        in_channels=tensors[UNET + "input_blocks.0.0.weight"].shape[1],
        out_channels=tensors[UNET + "out.2.weight"].shape[0],
        context=tensors[middle + "transformer_blocks.0.attn2.to_k.weight"].shape[1],
        linear_projection=len(tensors[middle + "proj_in.weight"].shape) == 2,
        vector=vector.shape[1] if vector else 0,
    )


def _depth(levels: list[int], middle: int) -> int | tuple[int, ...]:
    """One number if all that attend are as deep; else one a level, the last being the middle's too."""
    if {depth for depth in levels if depth} <= {middle}:
        return middle
    if levels[-1] not in (0, middle):
        raise ValueError(f"{levels[-1]} transformer blocks in the last level and {middle} in the middle")
    return (*(depth or 1 for depth in levels[:-1]), middle)


def configured_shape(config: Mapping[str, Any]) -> UNetShape:
    """The hyperparameters as a diffusers configuration has them."""
    return UNetShape(
        channels=tuple(config["block_out_channels"]),
        attention=tuple("CrossAttn" in name for name in config["down_block_types"]),
        layers=config["layers_per_block"],
        depth=_plain_depth(config.get("transformer_layers_per_block", 1)),
        in_channels=config["in_channels"],
        out_channels=config["out_channels"],
        context=config["cross_attention_dim"],
        linear_projection=config.get("use_linear_projection", False),
        vector=config.get("projection_class_embeddings_input_dim") or 0,
    )


def _plain_depth(depth: int | list[int] | tuple[int, ...]) -> int | tuple[int, ...]:
    return depth if isinstance(depth, int) else tuple(depth)


def unet_names(tensors: Tensors, shape: UNetShape) -> dict[str, str]:
    """LDM name to diffusers name for every tensor of the UNet that has one."""
    places = unet_places(shape)
    out = {}
    for name in tensors:
        if name.startswith(UNET) and (new := _rename_unet(name.removeprefix(UNET), places)):
            out[name] = new
    return out


def unet_places(shape: UNetShape) -> dict[str, str]:
    """Where LDM's modules stand in diffusers' UNet: prefix to prefix, for so many levels and layers."""
    return dict(_UNET_ENDS) | _input_places(shape) | _output_places(shape)


def _input_places(shape: UNetShape) -> dict[str, str]:
    places, block = {}, 1
    for level, attends in enumerate(shape.attention):
        for layer in range(shape.layers):
            places[f"input_blocks.{block}.0"] = f"down_blocks.{level}.resnets.{layer}"
            if attends:
                places[f"input_blocks.{block}.1"] = f"down_blocks.{level}.attentions.{layer}"
            block += 1
        if level < len(shape.channels) - 1:
            places[f"input_blocks.{block}.0.op"] = f"down_blocks.{level}.downsamplers.0.conv"
            block += 1
    return places


def _output_places(shape: UNetShape) -> dict[str, str]:
    places, block = {}, 0
    levels = len(shape.channels)
    for up, attends in enumerate(reversed(shape.attention)):
        for layer in range(shape.layers + 1):
            places[f"output_blocks.{block}.0"] = f"up_blocks.{up}.resnets.{layer}"
            if attends:
                places[f"output_blocks.{block}.1"] = f"up_blocks.{up}.attentions.{layer}"
            if layer == shape.layers and up < levels - 1:
                places[f"output_blocks.{block}.{1 + attends}.conv"] = f"up_blocks.{up}.upsamplers.0.conv"
            block += 1
    return places


def _rename_unet(name: str, places: Mapping[str, str]) -> str | None:
    parts = name.split(".")
    for length in range(len(parts) - 1, 0, -1):
        place = places.get(".".join(parts[:length]))
        if place is None:
            continue
        rest = ".".join(parts[length:])
        if ".resnets." in place:
            inner, _, leaf = rest.rpartition(".")
            return f"{place}.{RESNET[inner]}.{leaf}" if inner in RESNET else None
        return f"{place}.{rest}"
    return None


@dataclass(frozen=True)
class VaeShape:
    """What the autoencoder's tensors tell; ``quantized``: it has the layers around the latent."""

    channels: tuple[int, ...]
    layers: int
    latent_channels: int
    quantized: bool = True


def vae_shape(tensors: Tensors) -> VaeShape:
    """Read the hyperparameters from the encoder's shapes."""
    levels = _numbers(tensors, VAE + "encoder.down.")
    first = f"{VAE}encoder.down.0.block."
    return VaeShape(
        channels=tuple(tensors[f"{VAE}encoder.down.{k}.block.0.conv1.weight"].shape[0] for k in levels),
        layers=len(_numbers(tensors, first)),
        latent_channels=tensors[VAE + "decoder.conv_in.weight"].shape[1],
        quantized=VAE + "post_quant_conv.weight" in tensors,
    )


_VAE_RULES = (
    (re.compile(r"\bmid\.block_(\d)"), lambda m: f"mid_block.resnets.{int(m[1]) - 1}"),
    (re.compile(r"\bmid\.attn_1\.norm\b"), lambda m: "mid_block.attentions.0.group_norm"),
    (re.compile(r"\bmid\.attn_1\.proj_out\b"), lambda m: "mid_block.attentions.0.to_out.0"),
    (re.compile(r"\bmid\.attn_1\.([qkv])\b"), lambda m: f"mid_block.attentions.0.to_{m[1]}"),
    (re.compile(r"\bdown\.(\d+)\.block\.(\d+)"), lambda m: f"down_blocks.{m[1]}.resnets.{m[2]}"),
    (re.compile(r"\bdown\.(\d+)\.downsample\b"), lambda m: f"down_blocks.{m[1]}.downsamplers.0"),
    (re.compile(r"\bnin_shortcut\b"), lambda m: "conv_shortcut"),
    (re.compile(r"\bnorm_out\b"), lambda m: "conv_norm_out"),
)


def vae_names(tensors: Tensors, shape: VaeShape) -> dict[str, str]:
    """LDM name to diffusers name for every tensor of the autoencoder. The decoder's levels run the other way."""
    top = len(shape.channels) - 1
    out = {}
    for name in tensors:
        if not name.startswith(VAE):
            continue
        new = name.removeprefix(VAE)
        for pattern, replacement in _VAE_RULES:
            new = pattern.sub(replacement, new)
        new = re.sub(r"\bup\.(\d+)\.block\.(\d+)", lambda m: f"up_blocks.{top - int(m[1])}.resnets.{m[2]}", new)
        new = re.sub(r"\bup\.(\d+)\.upsample\b", lambda m: f"up_blocks.{top - int(m[1])}.upsamplers.0", new)
        out[name] = new
    return out


def _numbers(tensors: Tensors, prefix: str) -> list[int]:
    """The numbers that follow the prefix, in order."""
    found = {name[len(prefix) :].split(".")[0] for name in tensors if name.startswith(prefix)}
    return sorted(int(n) for n in found if n.isdigit())
