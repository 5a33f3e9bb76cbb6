"""Tiny models of random weights, and LDM files of any size, for tests and benchmarks."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel

from sfumato.families.sd1 import groups_of
from sfumato.weights.keymaps import ldm, ldm_names


def make_networks(
    widths: tuple[int, ...] = (32, 64), layers: int = 1, context: int = 64, depth: int = 1, vae: tuple[int, ...] = (32, 64),
    text_layers: int = 2, vocabulary: int = 49408, seed: int = 0,
) -> tuple[UNet2DConditionModel, AutoencoderKL, CLIPTextModel]:  # fmt: skip
    """Stable Diffusion 1's three networks at any width; the last level of the UNet has no attention, as in v1."""
    torch.manual_seed(seed)
    down = ("CrossAttnDownBlock2D",) * (len(widths) - 1) + ("DownBlock2D",)
    unet = UNet2DConditionModel(
        block_out_channels=widths, layers_per_block=layers, cross_attention_dim=context, attention_head_dim=8,
        down_block_types=down, up_block_types=tuple(n.replace("Down", "Up") for n in reversed(down)),
        transformer_layers_per_block=depth, sample_size=64, norm_num_groups=groups_of(widths),
    )  # fmt: skip
    coder = AutoencoderKL(
        block_out_channels=vae, layers_per_block=layers, latent_channels=4,
        norm_num_groups=groups_of(vae), down_block_types=("DownEncoderBlock2D",) * len(vae), up_block_types=("UpDecoderBlock2D",) * len(vae),
    )  # fmt: skip
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=vocabulary, hidden_size=context, intermediate_size=4 * context, num_hidden_layers=text_layers,
            num_attention_heads=max(1, context // 64), projection_dim=context, bos_token_id=vocabulary - 2,
            eos_token_id=vocabulary - 1, pad_token_id=vocabulary - 1,
        )  # fmt: skip
    )
    return unet.eval(), coder.eval(), text.eval()


def write_ldm(
    path: Path, unet: UNet2DConditionModel, coder: AutoencoderKL, text: CLIPTextModel, dtype: torch.dtype = torch.float32,
    metadata: dict[str, str] | None = None,
) -> Path:  # fmt: skip
    """The three networks as one ``.safetensors`` file in the LDM layout."""
    config = unet.config
    shape = ldm.UNetShape(
        channels=tuple(config.block_out_channels),
        attention=tuple("CrossAttn" in name for name in config.down_block_types),
        layers=config.layers_per_block,
        depth=config.transformer_layers_per_block,
        in_channels=config.in_channels,
        out_channels=config.out_channels,
        context=config.cross_attention_dim,
        linear_projection=config.use_linear_projection,
    )
    out = {}
    for model, names in (
        (unet, ldm_names.unet(unet.state_dict(), shape)),
        (coder, ldm_names.vae(coder.state_dict(), len(coder.config.block_out_channels))),
        (text, ldm_names.text(text.state_dict())),
    ):
        for name, tensor in model.state_dict().items():
            value = tensor.to(dtype) if tensor.is_floating_point() else tensor
            is_vae_attention = ".mid.attn_1." in names[name] and value.ndim == 2
            out[names[name]] = (value[:, :, None, None] if is_vae_attention else value).contiguous()
    save_file(out, path, metadata)
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
