"""The way back: diffusers' names to LDM's, for writing Stable Diffusion 1 as one file."""

from __future__ import annotations

import re
from collections.abc import Iterable

from sfumato.weights.keymaps import ldm

_RESNET = {new: old for old, new in ldm.RESNET.items()}
_VAE_RULES = (
    (re.compile(r"\bmid_block\.resnets\.(\d)"), lambda m: f"mid.block_{int(m[1]) + 1}"),
    (re.compile(r"\bmid_block\.attentions\.0\.group_norm\b"), lambda m: "mid.attn_1.norm"),
    (re.compile(r"\bmid_block\.attentions\.0\.to_out\.0\b"), lambda m: "mid.attn_1.proj_out"),
    (re.compile(r"\bmid_block\.attentions\.0\.to_([qkv])\b"), lambda m: f"mid.attn_1.{m[1]}"),
    (re.compile(r"\bdown_blocks\.(\d+)\.resnets\.(\d+)"), lambda m: f"down.{m[1]}.block.{m[2]}"),
    (re.compile(r"\bdown_blocks\.(\d+)\.downsamplers\.0\b"), lambda m: f"down.{m[1]}.downsample"),
    (re.compile(r"\bconv_shortcut\b"), lambda m: "nin_shortcut"),
    (re.compile(r"\bconv_norm_out\b"), lambda m: "norm_out"),
)


def unet(names: Iterable[str], shape: ldm.UNetShape) -> dict[str, str]:
    """diffusers name to LDM name for every tensor of a UNet.

    Raises:
        KeyError: a tensor that an LDM v1 UNet does not have.
    """
    places = {new: old for old, new in ldm.unet_places(shape).items()}
    out = {}
    for name in names:
        parts = name.split(".")
        length = next(n for n in range(len(parts) - 1, -1, -1) if n == 0 or ".".join(parts[:n]) in places)
        place, rest = ".".join(parts[:length]), ".".join(parts[length:])
        if ".resnets." in place:
            inner, _, leaf = rest.rpartition(".")
            rest = f"{_RESNET[inner]}.{leaf}"
        out[name] = f"{ldm.UNET}{places[place]}.{rest}"
    return out


def modules(paths: Iterable[str], shape: ldm.UNetShape) -> dict[str, str]:
    """diffusers name to LDM name, without its prefix, for those modules of a UNet that have one."""
    places = {new: old for old, new in ldm.unet_places(shape).items()}
    out = {}
    for path in paths:
        parts = path.split(".")
        length = next((n for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in places), 0)
        place, inner = ".".join(parts[:length]), ".".join(parts[length:])
        rest = _RESNET.get(inner) if ".resnets." in place else inner
        if length and rest is not None:
            out[path] = f"{places[place]}.{rest}".rstrip(".")
    return out


def vae(names: Iterable[str], levels: int) -> dict[str, str]:
    """diffusers name to LDM name for every tensor of an autoencoder with so many levels."""
    top = levels - 1
    out = {}
    for name in names:
        old = name
        for pattern, replacement in _VAE_RULES:
            old = pattern.sub(replacement, old)
        old = re.sub(r"\bup_blocks\.(\d+)\.resnets\.(\d+)", lambda m: f"up.{top - int(m[1])}.block.{m[2]}", old)
        old = re.sub(r"\bup_blocks\.(\d+)\.upsamplers\.0\b", lambda m: f"up.{top - int(m[1])}.upsample", old)
        out[name] = ldm.VAE + old
    return out


def text(names: Iterable[str]) -> dict[str, str]:
    """CLIP text model's name to LDM name; ``text_model.`` is there whatever transformers' version leaves out."""
    return {name: f"{ldm.TEXT}text_model.{name.removeprefix('text_model.')}" for name in names}
