"""Tiny models of random weights, and LDM files of any size, for tests and benchmarks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel

from sfumato.families.configs import groups_of
from sfumato.weights.keymaps import ldm, ldm_names


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Widths and depths of a model; the defaults are tiny."""

    widths: tuple[int, ...] = (32, 64)
    layers: int = 1
    context: int = 64
    depth: int = 1
    vae: tuple[int, ...] = (32, 64)
    text_layers: int = 2
    vocabulary: int = 49408


def make_networks(seed: int = 0, **changes: Any) -> tuple[UNet2DConditionModel, AutoencoderKL, CLIPTextModel]:
    """Stable Diffusion 1's three networks with random weights; the UNet's last level has no attention, as in v1."""
    torch.manual_seed(seed)
    shape = Shape(**changes)
    down = ("CrossAttnDownBlock2D",) * (len(shape.widths) - 1) + ("DownBlock2D",)
    unet = UNet2DConditionModel(
        block_out_channels=shape.widths,
        layers_per_block=shape.layers,
        cross_attention_dim=shape.context,
        attention_head_dim=8,
        down_block_types=down,
        up_block_types=tuple(n.replace("Down", "Up") for n in reversed(down)),
        transformer_layers_per_block=shape.depth,
        sample_size=64,
        norm_num_groups=groups_of(shape.widths),
    )
    coder = AutoencoderKL(
        block_out_channels=shape.vae,
        layers_per_block=shape.layers,
        latent_channels=4,
        norm_num_groups=groups_of(shape.vae),
        down_block_types=("DownEncoderBlock2D",) * len(shape.vae),
        up_block_types=("UpDecoderBlock2D",) * len(shape.vae),
    )
    return unet.eval(), coder.eval(), _make_text(shape).eval()


def _make_text(shape: Shape) -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=shape.vocabulary,
            hidden_size=shape.context,
            intermediate_size=4 * shape.context,
            num_hidden_layers=shape.text_layers,
            num_attention_heads=max(1, shape.context // 64),
            projection_dim=shape.context,
            bos_token_id=shape.vocabulary - 2,
            eos_token_id=shape.vocabulary - 1,
            pad_token_id=shape.vocabulary - 1,
        )
    )


def write_ldm(
    path: Path,
    unet: UNet2DConditionModel,
    coder: AutoencoderKL,
    text: CLIPTextModel,
    dtype: torch.dtype = torch.float32,
) -> Path:
    """The three networks as one ``.safetensors`` file in the LDM layout."""
    out = {}
    for model, names in (
        (unet, ldm_names.unet(unet.state_dict(), ldm.configured_shape(unet.config))),
        (coder, ldm_names.vae(coder.state_dict(), len(coder.config.block_out_channels))),
        (text, ldm_names.text(text.state_dict())),
    ):
        for name, tensor in model.state_dict().items():
            value = tensor.to(dtype) if tensor.is_floating_point() else tensor
            is_vae_attention = ".mid.attn_1." in names[name] and value.ndim == 2
            out[names[name]] = (value[:, :, None, None] if is_vae_attention else value).contiguous()
    save_file(out, path)
    return path


def write_folder(
    path: Path, unet: UNet2DConditionModel, coder: AutoencoderKL, text: CLIPTextModel, prediction: str = "epsilon"
) -> Path:
    """The three networks as a diffusers folder; without tokenizer files, so CLIP's own vocabulary is used."""
    unet.save_pretrained(path / "unet")
    coder.save_pretrained(path / "vae")
    text.save_pretrained(path / "text_encoder")
    DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type=prediction, clip_sample=False
    ).save_pretrained(path / "scheduler")
    (path / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    return path
