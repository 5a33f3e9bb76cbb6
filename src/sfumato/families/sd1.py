"""Stable Diffusion 1: an LDM file of any widths, or a diffusers folder.

Networks are built on the ``meta`` device, where they take no memory, and filled with the file's own mapped tensors.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor

from sfumato.errors import CheckpointError
from sfumato.families import folder, tokens
from sfumato.families.base import Networks, Spec
from sfumato.families.build import beside_of, build, check_fit, fill, fill_text
from sfumato.families.text import ClipReader
from sfumato.weights.header import Header
from sfumato.weights.keymaps import ldm
from sfumato.weights.source import open_any

#: Present in every LDM file of the family, whatever its widths.
MARKS = (
    ldm.UNET + "input_blocks.0.0.weight",
    ldm.UNET + "middle_block.1.transformer_blocks.0.attn2.to_k.weight",
    ldm.UNET + "out.2.weight",
    ldm.VAE + "encoder.conv_in.weight",
    ldm.VAE + "decoder.conv_in.weight",
    ldm.TEXT + "text_model.embeddings.token_embedding.weight",
)
#: What a file may carry beside the networks: noise tables, training leftovers, position numbers.
_IGNORED = (
    "model_ema.", "loss.", "log", "betas", "alphas_", "sqrt_", "posterior_", "lvlb_", "scale_factor",
    "cond_stage_model.logit_scale", "cond_stage_model.text_projection",
)  # fmt: skip
_HEAD_WIDTH = 64
#: The ``modelspec`` metadata's words for what a network predicts, where a file says so.
_PREDICTIONS = {"epsilon": "epsilon", "v": "v_prediction"}


def missing(header: Header) -> list[str]:
    """Which of the family's marks the file lacks; none if it is of this family."""
    return [name for name in MARKS if _text_alias(name, header.tensors) is None]


def load(path: Path, dtype: torch.dtype, vae_dtype: torch.dtype, device: torch.device) -> Networks:
    """Load a ``.safetensors`` file in the LDM layout, or a diffusers folder.

    Args:
        dtype: for text encoder and UNet. vae_dtype: for the autoencoder.

    Raises:
        CheckpointError: damaged, incomplete, or of another family.
    """
    if path.is_dir():
        return folder.load(path, dtype, vae_dtype, device)
    return _load_file(path, dtype, vae_dtype, device)


def _text_alias(name: str, known: Iterable[str]) -> str | None:
    """The name as the file has it: the oldest files leave out ``text_model.``."""
    if name in known:
        return name
    old = name.replace("transformer.text_model.", "transformer.")
    return old if old in known else None


def _load_file(path: Path, dtype: torch.dtype, vae_dtype: torch.dtype, device: torch.device) -> Networks:
    source = open_any(path)
    header = source.header
    if lacking := missing(header):
        raise CheckpointError(f"{path}: of no family that is known; nearest: {describe(lacking)}")
    unet_shape, vae_shape, text = _hyperparameters(header, path)
    unet_names = ldm.unet_names(header.tensors, unet_shape)
    vae_names = ldm.vae_names(header.tensors, vae_shape)
    text_names = {n: n.removeprefix(ldm.TEXT) for n in header.tensors if n.startswith(ldm.TEXT)}
    used = {*unet_names, *vae_names, *text_names}
    if unknown := [n for n in header.tensors if n not in used and not n.startswith(_IGNORED)]:
        some = ", ".join(sorted(unknown)[:3])
        raise CheckpointError(f"{path}: {len(unknown)} tensors are not part of sd1, such as {some}")

    def tensors(names: Mapping[str, str]) -> dict[str, Tensor]:
        return {new: source.get(old) for old, new in names.items()}

    unet = build(lambda: UNet2DConditionModel.from_config(unet_config(unet_shape)), path)
    vae = build(lambda: AutoencoderKL.from_config(vae_config(vae_shape)), path)
    unet = fill(unet, tensors(unet_names), dtype, device, path)
    vae = fill(vae, tensors(vae_names), vae_dtype, device, path)
    text_encoder = fill_text(text, tensors(text_names), dtype, device, path)
    spec = _file_spec(header, unet_shape, vae_shape)
    return check_fit(Networks(spec, (ClipReader(tokens.clip(), text_encoder),), unet, vae, device), path)


def describe(lacking: list[str]) -> str:
    """The family as the nearest one, and what a file lacks of it: part of a message."""
    return f"sd1, of whose {len(MARKS)} marks {len(lacking)} are missing: {', '.join(lacking[:4])}"


def _hyperparameters(header: Header, path: Path) -> tuple[ldm.UNetShape, ldm.VaeShape, dict[str, Any]]:
    try:
        return ldm.unet_shape(header.tensors), ldm.vae_shape(header.tensors), text_config(header)
    except KeyError as error:
        raise CheckpointError(f"{path}: looks like sd1, but tensor {error} is missing") from error
    except (IndexError, ValueError) as error:
        raise CheckpointError(f"{path}: looks like sd1, but a tensor's shape is not one of sd1's ({error})") from error


def _file_spec(header: Header, unet: ldm.UNetShape, shape: ldm.VaeShape) -> Spec:
    factor = 2 ** (len(shape.channels) - 1)
    side = 64 * factor
    return Spec(
        name="sd1",
        prediction=_PREDICTIONS.get(header.metadata.get("modelspec.prediction_type", ""), "epsilon"),
        beside=beside_of(unet.in_channels, shape.latent_channels),
        latent_channels=shape.latent_channels,
        latent_factor=factor,
        native_size=(side, side),
    )


def unet_config(shape: ldm.UNetShape) -> dict[str, Any]:
    """The diffusers configuration of a UNet: LDM's v1 has 8 heads at every width."""
    down = ["CrossAttnDownBlock2D" if attends else "DownBlock2D" for attends in shape.attention]
    return {
        "sample_size": 64,
        "in_channels": shape.in_channels,
        "out_channels": shape.out_channels,
        "block_out_channels": shape.channels,
        "layers_per_block": shape.layers,
        "down_block_types": tuple(down),
        "up_block_types": tuple(name.replace("Down", "Up") for name in reversed(down)),
        "transformer_layers_per_block": shape.depth,
        "cross_attention_dim": shape.context,
        "attention_head_dim": 8,
        "use_linear_projection": shape.linear_projection,
        "norm_num_groups": groups_of(shape.channels),
    }


def vae_config(shape: ldm.VaeShape) -> dict[str, Any]:
    """The diffusers configuration of LDM's autoencoder."""
    count = len(shape.channels)
    return {
        "block_out_channels": shape.channels,
        "layers_per_block": shape.layers,
        "latent_channels": shape.latent_channels,
        "down_block_types": ("DownEncoderBlock2D",) * count,
        "up_block_types": ("UpDecoderBlock2D",) * count,
        "norm_num_groups": groups_of(shape.channels),
        "sample_size": 512,
        "scaling_factor": 0.18215,
    }


def text_config(header: Header) -> dict[str, Any]:
    """The CLIP text model's configuration; a head is 64 wide, as in all of OpenAI's."""
    prefix = next(n for n in header.tensors if n.endswith("embeddings.token_embedding.weight"))
    prefix = prefix.removesuffix("embeddings.token_embedding.weight")
    vocabulary, width = header.tensors[prefix + "embeddings.token_embedding.weight"].shape
    layers = {n.removeprefix(prefix + "encoder.layers.").split(".")[0] for n in header.tensors if prefix + "enc" in n}
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "projection_dim": width,
        "intermediate_size": header.tensors[prefix + "encoder.layers.0.mlp.fc1.weight"].shape[0],
        "num_hidden_layers": len(layers),
        "num_attention_heads": max(1, width // _HEAD_WIDTH),
        "max_position_embeddings": header.tensors[prefix + "embeddings.position_embedding.weight"].shape[0],
        "hidden_act": "quick_gelu",
        "bos_token_id": vocabulary - 2,
        "eos_token_id": vocabulary - 1,
        "pad_token_id": vocabulary - 1,
    }


def groups_of(widths: tuple[int, ...]) -> int:
    """How many groups a norm has: 32 as in LDM, or for narrower models the most that divide every width."""
    groups = 32
    while any(width % groups for width in widths):
        groups //= 2
    return groups
