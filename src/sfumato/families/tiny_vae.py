"""TAESD and its kin: a tiny autoencoder in the place of a model's own, for speed and memory.

Its latents are the ones that the network draws, without the large autoencoder's scale (Bohan 2023).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sfumato.errors import CheckpointError
from sfumato.families.base import Spec
from sfumato.families.build import build, fill
from sfumato.runtime.libraries import AutoencoderTiny, DecoderOutput
from sfumato.weights.blocks import Stored
from sfumato.weights.detect import detect
from sfumato.weights.source import open_any

_LAYER = re.compile(r"(\d+)\..+")
_BLOCK = re.compile(r"(\d+)\.conv\.0\.weight")


class TinyDecoder(nn.Module):
    """Decodes with the tiny autoencoder, and encodes with it if it can, else with the model's own.

    Latents come and go in the own autoencoder's scale.
    """

    def __init__(self, tiny: Any, own: Any, spec: Spec, *, encodes: bool) -> None:
        super().__init__()
        self.tiny, self.own = tiny, None if encodes else own
        self._scale, self._shift = spec.scaling_factor, spec.shift_factor

    @property
    def config(self) -> Any:
        """The tiny autoencoder's."""
        return self.tiny.config

    @property
    def dtype(self) -> torch.dtype:
        """Of what it takes."""
        return self.tiny.dtype

    def decode(self, z: Tensor) -> DecoderOutput:
        """(B, C, h, w) latents to (B, 3, H, W) pixels from -1 to 1."""
        return self.tiny.decode((z - self._shift) * self._scale)

    def encode(self, pixels: Tensor) -> Any:
        """(B, 3, H, W) pixels from -1 to 1 to latents."""
        if self.own is not None:
            return self.own.encode(pixels.to(self.own.dtype))
        coded = self.tiny.encode(pixels)
        coded.latents = coded.latents / self._scale + self._shift
        return coded


def is_tiny(path: Path) -> bool:
    """Whether a file is a tiny autoencoder's, by its header.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    return detect(open_any(path).header).kind == "tiny vae"


def load(path: Path, own: Any, spec: Spec, dtype: torch.dtype, device: torch.device) -> TinyDecoder:
    """A tiny autoencoder's file: both halves or a decoder alone, under diffusers' names or the original ones.

    Raises:
        CheckpointError: it is none, or its latents are of another depth.
    """
    source = open_any(path)
    names = layer_names(source)
    encodes = any(name.startswith("encoder.") for name in names.values())
    infos = source.header.tensors
    shapes = {new: infos[old].shape for old, new in names.items()}
    first = shapes.get("decoder.layers.0.weight", (0, 0))
    if len(first) != 4 or first[1] != spec.latent_channels:
        raise CheckpointError(
            f"{path}: its latents have {first[1] if len(first) > 1 else 0} channels, and the model's "
            f"{spec.latent_channels}"
        )
    config = config_of(shapes, encodes=encodes)
    factor = 2 ** (len(config["num_decoder_blocks"]) - 1)
    if factor != spec.latent_factor:
        raise CheckpointError(f"{path}: has {factor} pixels along a latent cell, and the model {spec.latent_factor}")
    tiny = build(lambda: AutoencoderTiny(**config), path)
    if not encodes:
        tiny.encoder = nn.Identity()
    tensors: dict[str, Stored] = {new: source.stored(old) for old, new in names.items()}
    return TinyDecoder(fill(tiny, tensors, dtype, device, path), own, spec, encodes=encodes)


def layer_names(names: Iterable[str]) -> dict[str, str]:
    """The file's names to diffusers'. The original counts the clamp before its decoder's first layer, diffusers not."""
    out = {}
    for name in names:
        half, _, rest = name.rpartition("coder.")
        half = {"en": "encoder", "taesd_en": "encoder"}.get(half.rpartition(".")[2], "decoder")
        if rest.startswith("layers."):
            out[name] = f"{half}.{rest}"
        elif match := _LAYER.fullmatch(rest):
            number = int(match[1]) - (half == "decoder")
            out[name] = f"{half}.layers.{number}.{rest.partition('.')[2]}"
    return out


def config_of(shapes: Mapping[str, tuple[int, ...]], *, encodes: bool) -> dict[str, Any]:
    """AutoencoderTiny's configuration from its tensors' shapes: how many blocks lie between resizing layers."""
    decoder = _runs(shapes, "decoder.layers.")
    encoder = _runs(shapes, "encoder.layers.") if encodes else [1, *reversed(decoder[:-1])]
    width = shapes["decoder.layers.0.weight"][0]
    return {
        "latent_channels": shapes["decoder.layers.0.weight"][1],
        "decoder_block_out_channels": (width,) * len(decoder),
        "encoder_block_out_channels": (width,) * len(encoder),
        "num_decoder_blocks": tuple(decoder),
        "num_encoder_blocks": tuple(encoder),
    }


def _runs(shapes: Mapping[str, tuple[int, ...]], start: str) -> list[int]:
    """How many blocks follow each other, from one resizing layer to the next; 0 where two of those follow."""
    numbers = {int(name.removeprefix(start).split(".")[0]) for name in shapes if name.startswith(start)}
    blocks = {int(m[1]) for name in shapes if name.startswith(start) and (m := _BLOCK.fullmatch(name[len(start) :]))}
    runs: list[int] = []
    for number in sorted(numbers):
        if number in blocks:
            runs[-1] += 1
        else:
            runs.append(0)
    return runs[:-1]
