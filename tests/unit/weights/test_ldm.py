"""LDM's names and diffusers' names are one to one, at any depth, and equal published examples of both."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))
from checkpoints import make_networks

from sfumato.weights.header import TensorInfo
from sfumato.weights.keymaps import ldm, ldm_names

SHAPE = ldm.UNetShape(
    channels=(320, 640, 1280, 1280),
    attention=(True, True, True, False),
    layers=2,
    depth=1,
    in_channels=4,
    out_channels=4,
    context=768,
    linear_projection=False,
)
#: Names in the Stable Diffusion 1.5 checkpoint, and in the diffusers folder of the same model.
UNET = {
    "time_embed.0.weight": "time_embedding.linear_1.weight",
    "input_blocks.0.0.bias": "conv_in.bias",
    "input_blocks.1.0.in_layers.0.weight": "down_blocks.0.resnets.0.norm1.weight",
    "input_blocks.2.1.transformer_blocks.0.attn2.to_out.0.bias": (
        "down_blocks.0.attentions.1.transformer_blocks.0.attn2.to_out.0.bias"
    ),
    "input_blocks.3.0.op.weight": "down_blocks.0.downsamplers.0.conv.weight",
    "input_blocks.4.0.skip_connection.weight": "down_blocks.1.resnets.0.conv_shortcut.weight",
    "input_blocks.11.0.out_layers.3.weight": "down_blocks.3.resnets.1.conv2.weight",
    "middle_block.0.emb_layers.1.weight": "mid_block.resnets.0.time_emb_proj.weight",
    "middle_block.1.proj_in.weight": "mid_block.attentions.0.proj_in.weight",
    "middle_block.2.in_layers.2.weight": "mid_block.resnets.1.conv1.weight",
    "output_blocks.2.1.conv.weight": "up_blocks.0.upsamplers.0.conv.weight",
    "output_blocks.5.2.conv.weight": "up_blocks.1.upsamplers.0.conv.weight",
    "output_blocks.8.2.conv.bias": "up_blocks.2.upsamplers.0.conv.bias",
    "output_blocks.11.1.norm.weight": "up_blocks.3.attentions.2.norm.weight",
    "out.0.weight": "conv_norm_out.weight",
    "out.2.weight": "conv_out.weight",
}
VAE = {
    "encoder.conv_in.weight": "encoder.conv_in.weight",
    "encoder.down.1.block.0.nin_shortcut.weight": "encoder.down_blocks.1.resnets.0.conv_shortcut.weight",
    "encoder.down.2.downsample.conv.bias": "encoder.down_blocks.2.downsamplers.0.conv.bias",
    "encoder.mid.block_2.norm1.weight": "encoder.mid_block.resnets.1.norm1.weight",
    "encoder.mid.attn_1.q.weight": "encoder.mid_block.attentions.0.to_q.weight",
    "decoder.mid.attn_1.norm.weight": "decoder.mid_block.attentions.0.group_norm.weight",
    "decoder.mid.attn_1.proj_out.bias": "decoder.mid_block.attentions.0.to_out.0.bias",
    "decoder.up.3.block.2.conv1.weight": "decoder.up_blocks.0.resnets.2.conv1.weight",
    "decoder.up.0.block.0.nin_shortcut.weight": "decoder.up_blocks.3.resnets.0.conv_shortcut.weight",
    "decoder.up.1.upsample.conv.weight": "decoder.up_blocks.2.upsamplers.0.conv.weight",
    "decoder.norm_out.bias": "decoder.conv_norm_out.bias",
    "quant_conv.weight": "quant_conv.weight",
}
SCALAR = TensorInfo("F32", (1,))


def test_names_of_stable_diffusion_1_5():
    unet = ldm.unet_names({ldm.UNET + name: SCALAR for name in UNET}, SHAPE)
    vae = ldm.vae_names({ldm.VAE + name: SCALAR for name in VAE}, ldm.VaeShape((128, 256, 512, 512), 2, 4))

    assert unet == {ldm.UNET + old: new for old, new in UNET.items()}
    assert vae == {ldm.VAE + old: new for old, new in VAE.items()}


@pytest.mark.parametrize(
    ("widths", "layers", "depth", "vae"),
    [((16, 32), 1, 1, (16, 32)), ((16, 16, 32), 3, 2, (16,)), ((16, 32, 32, 32), 2, 1, (16, 16, 32, 32))],
)
def test_there_and_back_at_any_depth(widths, layers, depth, vae):
    unet, coder, _ = make_networks(
        widths=widths, layers=layers, depth=depth, vae=vae, context=32, vocabulary=64, text_layers=1
    )
    shape = ldm.UNetShape(
        widths, tuple([True] * (len(widths) - 1) + [False]), layers, depth, 4, 4, 32, linear_projection=False
    )
    unet_old = ldm_names.unet(unet.state_dict(), shape)
    vae_old = ldm_names.vae(coder.state_dict(), len(vae))
    infos = {unet_old[name]: TensorInfo("F32", tuple(t.shape)) for name, t in unet.state_dict().items()}
    vae_infos = {vae_old[name]: TensorInfo("F32", tuple(t.shape)) for name, t in coder.state_dict().items()}

    assert ldm.unet_shape(infos) == shape
    assert ldm.unet_names(infos, shape) == {old: new for new, old in unet_old.items()}
    assert ldm.vae_shape(vae_infos) == ldm.VaeShape(vae, layers, 4)
    assert ldm.vae_names(vae_infos, ldm.vae_shape(vae_infos)) == {old: new for new, old in vae_old.items()}


def test_what_is_no_part_of_the_unet_has_no_name():
    strange = {ldm.UNET + "input_blocks.1.0.in_layers.9.weight": SCALAR, "model_ema.decay": SCALAR}
    strange[ldm.UNET + "control.0.weight"] = SCALAR

    assert ldm.unet_names(strange, SHAPE) == {}


def test_text_names_are_the_same_with_and_without_the_wrappers_prefix():
    assert ldm_names.text(["text_model.final_layer_norm.bias", "final_layer_norm.bias"]) == {
        "text_model.final_layer_norm.bias": ldm.TEXT + "text_model.final_layer_norm.bias",
        "final_layer_norm.bias": ldm.TEXT + "text_model.final_layer_norm.bias",
    }
