"""Stable Diffusion 3 and 3.5: an LDM file that has its CLIP text encoders, or a diffusers folder.

T5, the third text encoder, is read with where it is there; without it the model draws too, as the reference does.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from sfumato.families import folder, t5_tokens, tokens
from sfumato.families.base import Networks, Reader, Spec
from sfumato.families.build import beside_of, check_fit
from sfumato.families.joint import JointWords, T5Reader, reader
from sfumato.families.ldm_file import LdmFile
from sfumato.weights.joined import Checkpoint
from sfumato.weights.keymaps import ldm

FIRST = "text_encoders.clip_l.transformer."
SECOND = "text_encoders.clip_g.transformer."
THIRD = "text_encoders.t5xxl.transformer."
_TABLE = "text_model.embeddings.token_embedding.weight"
#: Present in every LDM file of the family, whatever its widths.
MARKS = (
    ldm.UNET + "joint_blocks.0.x_block.attn.qkv.weight",
    ldm.UNET + "x_embedder.proj.weight",
    ldm.UNET + "pos_embed",
    ldm.UNET + "final_layer.linear.weight",
    ldm.VAE + "encoder.conv_in.weight",
    ldm.VAE + "decoder.conv_in.weight",
    FIRST + _TABLE,
    SECOND + _TABLE,
)
_IGNORED = ("text_encoders.t5xxl.", "text_encoders.clip_l.", "text_encoders.clip_g.", "model_sampling.")
#: The published autoencoder's (Esser et al. 2024).
SCALE, OFFSET = 1.5305, 0.0609
_CELLS = 128


def load(
    path: Checkpoint, dtype: torch.dtype, vae_dtype: torch.dtype, device: torch.device, *, streamed: Sequence[str] = ()
) -> Networks:
    """Load a file in the LDM layout, or a diffusers folder.

    Args:
        dtype: for text encoders and transformer. vae_dtype: for the autoencoder.
        streamed: networks (of :data:`sfumato.runtime.plan.NETWORKS`) whose large weights stay in the file.

    Raises:
        CheckpointError: damaged, incomplete, or of another family.
    """
    if isinstance(path, Path) and path.is_dir():
        return folder.load(path, dtype, vae_dtype, device, streamed=streamed)
    file = LdmFile(path, "sd3", MARKS, streamed=streamed)
    shape, vae = file.transformer(), file.vae()
    texts = {"text_encoder": file.text(FIRST), "text_encoder_2": file.text(SECOND, open_clip=True)}
    file.check_all_used(shape, vae, _IGNORED)
    factor = 2 ** (len(vae.channels) - 1)
    spec = Spec(
        name="sd3",
        prediction="flow",
        beside=beside_of(shape.channels, vae.latent_channels),
        latent_channels=vae.latent_channels,
        latent_factor=factor,
        cell_multiple=shape.patch,
        scaling_factor=SCALE,
        shift_factor=OFFSET,
        native_size=file.native_size(factor, _CELLS),
    )
    readers: list[Reader] = []
    for name, text in texts.items():
        first = name == "text_encoder"
        network = file.make_text(text, dtype, device, projected=True, alone=first)
        readers.append(reader(name, network, tokens.clip() if first else tokens.clip("!")))
    if (third := file.t5(THIRD)) is not None:
        readers.append(T5Reader(t5_tokens.t5(), file.make_t5(third, dtype, device)))
    networks = Networks(
        spec,
        tuple(readers),
        file.make_transformer(shape, dtype, device),
        file.make_vae(vae, SCALE, vae_dtype, device),
        device,
        JointWords(shape.context),
    )
    return check_fit(networks, file.path)
