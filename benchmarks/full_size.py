"""Stable Diffusion's families at their published sizes with random numbers, for the benchmarks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, SD3Transformer2DModel, UNet2DConditionModel
from transformers import T5Config, T5EncoderModel

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import family_models as models
from family_models import Model


@dataclass(frozen=True)
class Kind:
    """A family's variant.

    Attributes:
        make: its networks, in torch's default type and on its default device.
        beside: what its UNet takes beside latent and words: see :attr:`sfumato.families.base.Spec.beside`.
    """

    make: Callable[[], Model]
    prediction: str = "epsilon"
    beside: str = ""


def make_vae(latent_channels: int = 4, **more: Any) -> AutoencoderKL:
    """The autoencoder, which is of one size in all families."""
    return AutoencoderKL(
        block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=latent_channels,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        **{"sample_size": 512} | more,
    ).eval()  # fmt: skip


def make_sd1(channels: int = 4) -> Model:
    """Stable Diffusion 1.5."""
    unet = models.make_unet(
        (320, 640, 1280, 1280), 768, layers=2, channels=channels, attention_head_dim=8, use_linear_projection=False
    )
    return Model("sd1", unet, make_vae(), models.make_text(768, 12, act="quick_gelu"))


def make_sd2(channels: int = 4) -> Model:
    """Stable Diffusion 2.1."""
    unet = models.make_unet((320, 640, 1280, 1280), 1024, layers=2, channels=channels)
    return Model("sd2", unet, make_vae(), models.make_text(1024, 23))


def _unet_xl(widths: tuple[int, ...], context: int, depth: Any, attention: Any, numbers: int, channels: int) -> Any:
    return models.make_unet(
        widths, context, depth, attention, 2, channels, addition_embed_type="text_time",
        addition_time_embed_dim=256, projection_class_embeddings_input_dim=1280 + numbers * 256,
    )  # fmt: skip


def make_sdxl(channels: int = 4) -> Model:
    """Stable Diffusion XL's base."""
    unet: UNet2DConditionModel = _unet_xl((320, 640, 1280), 2048, (1, 2, 10), (False, True, True), 6, channels)
    texts = models.make_text(768, 12, act="quick_gelu"), models.make_text(1280, 32, 1280)
    return Model("sdxl", unet, make_vae(sample_size=1024, scaling_factor=0.13025), *texts)


def make_refiner() -> Model:
    """Stable Diffusion XL's refiner."""
    unet = _unet_xl((384, 768, 1536, 1536), 1280, 4, (False, True, True, False), 5, 4)
    vae = make_vae(sample_size=1024, scaling_factor=0.13025)
    return Model("sdxl-refiner", unet, vae, None, models.make_text(1280, 32, 1280))


def make_sd3(positions: int, twice: int = 0) -> Model:
    """Stable Diffusion 3 medium, or 3.5 medium with ``twice`` blocks of second attention; without T5."""
    transformer = SD3Transformer2DModel(
        sample_size=128, patch_size=2, in_channels=16, out_channels=16, num_layers=24, attention_head_dim=64,
        num_attention_heads=24, joint_attention_dim=4096, caption_projection_dim=1536, pooled_projection_dim=2048,
        pos_embed_max_size=positions, dual_attention_layers=tuple(range(twice)), qk_norm="rms_norm" if twice else None,
    )  # fmt: skip
    vae = make_vae(
        16, sample_size=1024, scaling_factor=1.5305, shift_factor=0.0609, use_quant_conv=False,
        use_post_quant_conv=False,
    )  # fmt: skip
    first = models.make_text(768, 12, 768, act="quick_gelu")
    first.text_projection.weight.data = torch.eye(768)  # single files have none, and mean this
    return Model("sd3", transformer.eval(), vae, first, models.make_text(1280, 32, 1280))


def make_t5() -> T5EncoderModel:
    """Stable Diffusion 3's third text encoder, T5 v1.1 XXL's."""
    config = T5Config(
        vocab_size=32128, d_model=4096, d_kv=64, d_ff=10240, num_layers=24, num_heads=64,
        feed_forward_proj="gated-gelu", is_encoder_decoder=False, use_cache=False,
    )  # fmt: skip
    return T5EncoderModel(config).eval()


#: Every family and variant that can be loaded.
KINDS: Mapping[str, Kind] = {
    "sd1": Kind(make_sd1),
    "sd1-inpaint": Kind(lambda: make_sd1(9), beside="inpaint"),
    "sd1-pix2pix": Kind(lambda: make_sd1(8), beside="edit"),
    "sd2": Kind(make_sd2),
    "sd2-v": Kind(make_sd2, prediction="v_prediction"),
    "sd2-inpaint": Kind(lambda: make_sd2(9), beside="inpaint"),
    "sdxl": Kind(make_sdxl),
    "sdxl-refiner": Kind(make_refiner),
    "sdxl-inpaint": Kind(lambda: make_sdxl(9), beside="inpaint"),
    "sdxl-pix2pix": Kind(lambda: make_sdxl(8), beside="edit"),
    "sd3-medium": Kind(lambda: make_sd3(192)),
    "sd3.5-medium": Kind(lambda: make_sd3(384, 13)),
}
