"""The libraries' configurations of networks, from what a single file's tensors tell."""

from __future__ import annotations

from typing import Any

from sfumato.weights.keymaps import clip, ldm, mmdit, t5

#: Of all of CLIP's text encoders, and of UNets that do not have 8 heads everywhere.
HEAD_WIDTH = 64


def unet_config(shape: ldm.UNetShape, heads: int | None = 8) -> dict[str, Any]:
    """The diffusers configuration of a UNet.

    Args:
        heads: as many at every width, as LDM's v1 has; None for heads that are 64 wide, as later ones have.
    """
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
        "attention_head_dim": heads or tuple(max(1, width // HEAD_WIDTH) for width in shape.channels),
        "use_linear_projection": shape.linear_projection,
        "norm_num_groups": groups_of(shape.channels),
    }


def transformer_config(shape: mmdit.Shape) -> dict[str, Any]:
    """The diffusers configuration of Stable Diffusion 3's transformer."""
    return {
        "sample_size": 128,
        "patch_size": shape.patch,
        "in_channels": shape.channels,
        "out_channels": shape.channels,
        "num_layers": shape.layers,
        "attention_head_dim": shape.head,
        "num_attention_heads": shape.width // shape.head,
        "joint_attention_dim": shape.context,
        "caption_projection_dim": shape.width,
        "pooled_projection_dim": shape.pooled,
        "pos_embed_max_size": shape.positions,
        "dual_attention_layers": shape.twice,
        "qk_norm": "rms_norm" if shape.normed else None,
    }


def vae_config(shape: ldm.VaeShape, scaling_factor: float = 0.18215) -> dict[str, Any]:
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
        "scaling_factor": scaling_factor,
        "use_quant_conv": shape.quantized,
        "use_post_quant_conv": shape.quantized,
    }


def text_config(shape: clip.TextShape, *, open_clip: bool = False) -> dict[str, Any]:
    """The transformers configuration of a CLIP text model: OpenAI's, or one that OpenCLIP trained."""
    return {
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.width,
        "projection_dim": shape.projection or shape.width,
        "intermediate_size": shape.inner,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": max(1, shape.width // HEAD_WIDTH),
        "max_position_embeddings": shape.positions,
        "hidden_act": "gelu" if open_clip else "quick_gelu",
        "bos_token_id": shape.vocabulary - 2,
        "eos_token_id": shape.vocabulary - 1,
        "pad_token_id": shape.vocabulary - 1,
    }


def t5_config(shape: t5.T5Shape) -> dict[str, Any]:
    """The transformers configuration of T5's encoder, version 1.1."""
    return {
        "vocab_size": shape.vocabulary,
        "d_model": shape.width,
        "d_kv": shape.head,
        "d_ff": shape.inner,
        "num_layers": shape.layers,
        "num_heads": shape.heads,
        "relative_attention_num_buckets": shape.buckets,
        "feed_forward_proj": "gated-gelu",
    }


def groups_of(widths: tuple[int, ...]) -> int:
    """How many groups a norm has: 32 as in LDM, or for narrower models the most that divide every width."""
    groups = 32
    while any(width % groups for width in widths):
        groups //= 2
    return groups
