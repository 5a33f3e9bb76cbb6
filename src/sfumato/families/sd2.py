"""Stable Diffusion 2: an LDM file whose text encoder is OpenCLIP's, of any widths.

The text encoder's last layer is not used, so it is not loaded. Empty places of a text are filled with token 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
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

TEXT = "cond_stage_model.model."
#: Present in every LDM file of the family, whatever its widths.
MARKS = (
    ldm.UNET + "input_blocks.0.0.weight",
    ldm.UNET + "middle_block.1.transformer_blocks.0.attn2.to_k.weight",
    ldm.UNET + "out.2.weight",
    ldm.VAE + "encoder.conv_in.weight",
    ldm.VAE + "decoder.conv_in.weight",
    TEXT + "token_embedding.weight",
    TEXT + "transformer.resblocks.0.attn.in_proj_weight",
)
_SCALE = 0.18215
#: Latent cells along a side: 512 pixels for models that predict noise, 768 for those that predict v.
_CELLS = {"epsilon": 64, "v_prediction": 96}


def load(
    path: Checkpoint, dtype: torch.dtype, vae_dtype: torch.dtype, device: torch.device, *, streamed: Sequence[str] = ()
) -> Networks:
    """Load a file in the LDM layout, or a diffusers folder.

    What the UNet predicts is measured if nothing says it: see :mod:`sfumato.families.prediction`.

    Args:
        dtype: for text encoder and UNet. vae_dtype: for the autoencoder.
        streamed: networks (of :data:`sfumato.runtime.plan.NETWORKS`) whose large weights stay in the file.

    Raises:
        CheckpointError: damaged, incomplete, or of another family.
    """
    if isinstance(path, Path) and path.is_dir():
        return folder.load(path, dtype, vae_dtype, device, streamed=streamed)
    file = LdmFile(path, "sd2", MARKS, streamed=streamed)
    unet, vae, text = file.unet(), file.vae(), file.text(TEXT, open_clip=True, without_last=True)
    file.check_all_used(unet, vae)
    factor = 2 ** (len(vae.channels) - 1)
    spec = Spec(
        name="sd2",
        beside=beside_of(unet.in_channels, vae.latent_channels),
        zero_snr=file.zero_snr,
        latent_channels=vae.latent_channels,
        latent_factor=factor,
        scaling_factor=_SCALE,
    )
    reader = ClipReader(tokens.clip("!"), file.make_text(text, dtype, device), skips=False)
    networks = Networks(
        spec,
        (reader,),
        file.make_unet(unet, unet_config(unet, heads=None), dtype, device),
        file.make_vae(vae, _SCALE, vae_dtype, device),
        device,
    )
    check_fit(networks, file.path)
    kind = prediction.stated(file.path, file.header) or prediction.measured(networks)
    networks.spec = replace(spec, prediction=kind, native_size=file.native_size(factor, _CELLS.get(kind, 64)))
    return networks
