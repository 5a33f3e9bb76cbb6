"""Latents become the pixels that diffusers' pipeline makes of them, and come back."""

import sys
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderTiny
from diffusers.image_processor import VaeImageProcessor

sys.path.insert(0, str(Path(__file__).parents[2]))
from checkpoints import make_networks

from sfumato.families.base import Networks, Spec
from sfumato.families.decode import decode, encode


def _networks(coder, **facts):
    spec = Spec(name="sd1", **facts)
    return Networks(spec=spec, readers=(), unet=None, vae=coder, device=torch.device("cpu"))


@pytest.fixture(scope="module")
def coder():
    return make_networks(widths=(16, 32), context=32, vocabulary=64, vae=(16, 32))[1]


@torch.no_grad()
def test_pixels_are_those_of_diffusers(coder):
    latent = torch.randn(2, 4, 8, 8)
    theirs = VaeImageProcessor().denormalize(coder.decode(latent / coder.config.scaling_factor).sample)

    ours = decode(_networks(coder), latent)

    assert ours.shape == (2, 3, 16, 16)
    torch.testing.assert_close(ours.clamp(0, 1), theirs, rtol=0, atol=1e-6)


@torch.no_grad()
def test_pixels_are_float32_whatever_the_autoencoder_computes_in(coder):
    half = make_networks(widths=(16, 32), context=32, vocabulary=64, vae=(16, 32))[1].bfloat16()

    assert decode(_networks(half), torch.randn(1, 4, 4, 4)).dtype == torch.float32
    assert encode(_networks(half), torch.rand(1, 3, 8, 8)).dtype == torch.float32


@torch.no_grad()
def test_scale_and_shift_apply_both_ways(coder):
    plain, moved = _networks(coder, scaling_factor=1.0), _networks(coder, scaling_factor=0.5, shift_factor=0.25)
    latent, pixels = torch.randn(1, 4, 4, 4), torch.rand(1, 3, 8, 8)

    torch.testing.assert_close(decode(moved, (latent - 0.25) * 0.5), decode(plain, latent), rtol=0, atol=1e-5)
    torch.testing.assert_close(encode(moved, pixels), (encode(plain, pixels) - 0.25) * 0.5, rtol=0, atol=1e-6)


@torch.no_grad()
def test_an_autoencoder_without_a_distribution():
    torch.manual_seed(0)
    coder = AutoencoderTiny(
        encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8), num_encoder_blocks=(0, 1),
        num_decoder_blocks=(1, 0),
    ).eval()  # fmt: skip
    networks, pixels = _networks(coder, scaling_factor=1.0), torch.rand(1, 3, 8, 8)

    latent = encode(networks, pixels)

    torch.testing.assert_close(latent, coder.encode(pixels * 2 - 1).latents, rtol=0, atol=1e-6)
    assert decode(networks, latent).shape == pixels.shape
