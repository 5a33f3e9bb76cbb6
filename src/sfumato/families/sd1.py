"""Stable Diffusion 1: an LDM file of any widths, or a diffusers folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from sfumato.families import folder, prediction, tokens
from sfumato.families.base import Networks, Spec
from sfumato.families.build import beside_of, check_fit
from sfumato.families.configs import unet_config
from sfumato.families.ldm_file import LdmFile
from sfumato.families.text import ClipReader
from sfumato.weights.joined import Checkpoint
from sfumato.weights.keymaps import ldm

_TEXT = "embeddings.token_embedding.weight"
#: Present in every LDM file of the family, whatever its widths; the oldest leave out ``text_model.``.
MARKS = (
    ldm.UNET + "input_blocks.0.0.weight",
    ldm.UNET + "middle_block.1.transformer_blocks.0.attn2.to_k.weight",
    ldm.UNET + "out.2.weight",
    ldm.VAE + "encoder.conv_in.weight",
    ldm.VAE + "decoder.conv_in.weight",
    (f"{ldm.TEXT}text_model.{_TEXT}", ldm.TEXT + _TEXT),
)
_SCALE = 0.18215
_CELLS = 64


def load(
    path: Checkpoint, dtype: torch.dtype, vae_dtype: torch.dtype, device: torch.device, *, streamed: Sequence[str] = ()
) -> Networks:
    """Load a file in the LDM layout, or a diffusers folder.

    Args:
        dtype: for text encoder and UNet. vae_dtype: for the autoencoder.
        streamed: networks (of :data:`sfumato.runtime.plan.NETWORKS`) whose large weights stay in the file.

    Raises:
        CheckpointError: damaged, incomplete, or of another family.
    """
    if isinstance(path, Path) and path.is_dir():
        return folder.load(path, dtype, vae_dtype, device, streamed=streamed)
    file = LdmFile(path, "sd1", MARKS, streamed=streamed)
    unet, vae, text = file.unet(), file.vae(), file.text(ldm.TEXT)
    file.check_all_used(unet, vae)
    factor = 2 ** (len(vae.channels) - 1)
    spec = Spec(
        name="sd1",
        prediction=prediction.stated(file.path, file.header) or "epsilon",
        beside=beside_of(unet.in_channels, vae.latent_channels),
        zero_snr=file.zero_snr,
        latent_channels=vae.latent_channels,
        latent_factor=factor,
        scaling_factor=_SCALE,
        native_size=file.native_size(factor, _CELLS),
    )
    networks = Networks(
        spec,
        (ClipReader(tokens.clip(), file.make_text(text, dtype, device)),),
        file.make_unet(unet, unet_config(unet), dtype, device),
        file.make_vae(vae, _SCALE, vae_dtype, device),
        device,
    )
    return check_fit(networks, file.path)
