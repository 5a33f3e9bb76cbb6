"""Previews by a tiny decoder (TAESD and its kin) from a ``vae_approx`` folder, where one fits the model."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from sfumato.errors import CheckpointError
from sfumato.families import models_folder, tiny_vae
from sfumato.families.base import Networks
from sfumato.families.decode import decode
from sfumato.families.pixels import to_image
from sfumato.runtime.libraries import AutoencoderTiny

_log = logging.getLogger(__name__)
#: The longer side of a preview in pixels: by the model's own autoencoder, and by a tiny one, which is far quicker.
SIDE, TINY_SIDE = 128, 256


def add_decoder(networks: Networks, folders: Sequence[Path], dtype: torch.dtype) -> None:
    """Have the networks preview with the tiny decoder that the models folders have for their family, if any.

    A model whose own autoencoder is tiny needs none. One that can't be used is left out, with a warning: a preview is
    no reason not to draw.
    """
    path = models_folder.find_preview(networks.spec.name, folders)
    if path is None or isinstance(networks.vae, tiny_vae.TinyDecoder | AutoencoderTiny):
        return
    try:
        networks.preview_vae = tiny_vae.load(path, networks.vae, networks.spec, dtype, networks.device)
    except CheckpointError as error:
        _log.warning("previews are made by the model's own autoencoder: %s", error)


def preview(networks: Networks, x0: Tensor) -> Image.Image:
    """The first of clean latents (B, C, h, w), shrunken before it is decoded, so that it costs a part of a step."""
    side = SIDE
    if networks.preview_vae is not None:
        networks, side = replace(networks, vae=networks.preview_vae), TINY_SIDE
    cells = max(1, side // networks.spec.latent_factor)
    scale = min(1.0, cells / max(x0.shape[-2:]))
    height, width = (max(1, round(one * scale)) for one in x0.shape[-2:])
    small = x0[:1] if scale == 1 else F.interpolate(x0[:1], (height, width), mode="area")
    return to_image(decode(networks, small)[0])
