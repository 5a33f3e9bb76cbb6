"""Stable Diffusion XL, base and refiner: an LDM file, or a diffusers folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from sfumato.families import folder, prediction, tokens
from sfumato.families.base import Networks, Spec
from sfumato.families.build import beside_of, check_fit
from sfumato.families.configs import unet_config
from sfumato.families.ldm_file import LdmFile, Text
from sfumato.families.sized import WordsAndSize, added_config, reader
from sfumato.weights.joined import Checkpoint
from sfumato.weights.keymaps import ldm

#: Where the text encoders lie: Stability's names, and those of stable-diffusion.cpp.
FIRST = ("conditioner.embedders.0.transformer.", "cond_stage_model.transformer.")
SECOND = ("conditioner.embedders.1.model.", "conditioner.embedders.1.transformer.", "cond_stage_model.1.transformer.")
ONLY = ("conditioner.embedders.0.model.",)
_TABLES = ("text_model.embeddings.token_embedding.weight", "token_embedding.weight")
_UNET = (
    ldm.UNET + "input_blocks.0.0.weight",
    ldm.UNET + "label_emb.0.0.weight",
    ldm.UNET + "middle_block.1.transformer_blocks.0.attn2.to_k.weight",
    ldm.UNET + "out.2.weight",
    ldm.VAE + "encoder.conv_in.weight",
    ldm.VAE + "decoder.conv_in.weight",
)
#: Present in every LDM file of the family, whatever its widths.
MARKS = (
    *_UNET,
    tuple(prefix + _TABLES[0] for prefix in FIRST),
    tuple(prefix + table for prefix in SECOND for table in reversed(_TABLES)),
)
REFINER_MARKS = (*_UNET, ONLY[0] + _TABLES[1], ONLY[0] + "text_projection")
_IGNORED = tuple(f"conditioner.embedders.{k}.{name}" for k in (0, 1) for name in ("logit_scale", "text_projection"))
#: The published models' (Podell et al. 2023).
SCALE = 0.13025
_CELLS = 128


def load(
    path: Checkpoint, dtype: torch.dtype, vae_dtype: torch.dtype, device: torch.device, *, streamed: Sequence[str] = ()
) -> Networks:
    """Load the base: a file in the LDM layout, or a diffusers folder of either.

    Args:
        dtype: for text encoders and UNet. vae_dtype: for the autoencoder.
        streamed: networks (of :data:`sfumato.runtime.plan.NETWORKS`) whose large weights stay in the file.

    Raises:
        CheckpointError: damaged, incomplete, or of another family.
    """
    if isinstance(path, Path) and path.is_dir():
        return folder.load(path, dtype, vae_dtype, device, streamed=streamed)
    file = LdmFile(path, "sdxl", MARKS, streamed=streamed)
    texts = {"text_encoder": file.text(*FIRST), "text_encoder_2": file.text(*SECOND, open_clip=True)}
    return _load(file, texts, WordsAndSize(zero_empty=True), dtype, vae_dtype, device)


def load_refiner(
    path: Checkpoint, dtype: torch.dtype, vae_dtype: torch.dtype, device: torch.device, *, streamed: Sequence[str] = ()
) -> Networks:
    """Load the refiner, as :func:`load`."""
    if isinstance(path, Path) and path.is_dir():
        return folder.load(path, dtype, vae_dtype, device, streamed=streamed)
    file = LdmFile(path, "sdxl-refiner", REFINER_MARKS, streamed=streamed)
    conditioner = WordsAndSize(zero_empty=False, scored=True)
    return _load(file, {"text_encoder_2": file.text(*ONLY, open_clip=True)}, conditioner, dtype, vae_dtype, device)


def _load(
    file: LdmFile,
    texts: dict[str, Text],
    conditioner: WordsAndSize,
    dtype: torch.dtype,
    vae_dtype: torch.dtype,
    device: torch.device,
) -> Networks:
    unet, vae = file.unet(), file.vae()
    file.check_all_used(unet, vae, _IGNORED)
    factor = 2 ** (len(vae.channels) - 1)
    spec = Spec(
        name=file.family,
        prediction=prediction.stated(file.path, file.header) or "epsilon",
        beside=beside_of(unet.in_channels, vae.latent_channels),
        zero_snr=file.zero_snr,
        latent_channels=vae.latent_channels,
        latent_factor=factor,
        scaling_factor=SCALE,
        native_size=file.native_size(factor, _CELLS),
    )
    config = unet_config(unet, heads=None)
    config |= added_config(unet.vector, texts["text_encoder_2"].shape.projection, scored=conditioner.scored)
    readers = []
    for name, text in texts.items():
        second = name == "text_encoder_2"
        network = file.make_text(text, dtype, device, projected=second)
        readers.append(reader(name, network, tokens.clip("!") if second else tokens.clip()))
    networks = Networks(
        spec,
        tuple(readers),
        file.make_unet(unet, config, dtype, device),
        file.make_vae(vae, SCALE, vae_dtype, device),
        device,
        conditioner,
    )
    return check_fit(networks, file.path)
