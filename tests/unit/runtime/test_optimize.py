from __future__ import annotations

import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel

from sfumato.runtime.attention import FastAttention
from sfumato.runtime.device import DeviceFacts
from sfumato.runtime.optimize import prepare


def facts(kind):
    return DeviceFacts(kind, kind, 2**33, 2**32, bf16=True, fp16=False)


def small_unet():
    torch.manual_seed(0)
    return UNet2DConditionModel(
        block_out_channels=(32, 64), layers_per_block=1, cross_attention_dim=24, attention_head_dim=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        norm_num_groups=8, sample_size=16,
    ).eval()  # fmt: skip


def small_vae():
    torch.manual_seed(0)
    return AutoencoderKL(
        block_out_channels=(16, 32), latent_channels=4, norm_num_groups=8, down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
    ).eval()  # fmt: skip


def run(unet, vae, dtype):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, 4, 16, 16, generator=generator).to(dtype)
    words = torch.randn(2, 77, 24, generator=generator).to(dtype)
    with torch.inference_mode():
        return unet(x, torch.tensor([500, 500]), words).sample.float(), vae.decode(x[:1]).sample.float()


@pytest.mark.parametrize("kind", ["cpu", "cuda", "mps"])
def test_float32_results_stay(kind):
    unet, vae = small_unet(), small_vae()
    expected = run(unet, vae, torch.float32)

    prepare(unet, vae, facts(kind), torch.float32)

    torch.testing.assert_close(run(unet, vae, torch.float32), expected, rtol=0, atol=1e-4)


def test_bfloat16_results_are_as_near_to_float32_as_they_were():
    expected = run(small_unet(), small_vae(), torch.float32)
    plain = run(small_unet().bfloat16(), small_vae().bfloat16(), torch.bfloat16)
    unet, vae = small_unet().bfloat16(), small_vae().bfloat16()

    prepare(unet, vae, facts("cpu"), torch.bfloat16)

    for ours, theirs, truth in zip(run(unet, vae, torch.bfloat16), plain, expected, strict=True):
        assert (ours - truth).norm() < 1.3 * (theirs - truth).norm()


def test_a_cpu_gets_our_attention_and_a_gpu_keeps_its_own():
    for kind, ours in (("cpu", True), ("cuda", False)):
        unet, vae = small_unet(), small_vae()
        prepare(unet, vae, facts(kind), torch.float32)
        for network in (unet, vae):
            assert all(isinstance(p, FastAttention) is ours for p in network.attn_processors.values())


@pytest.mark.parametrize(("kind", "expected"), [("cpu", True), ("cuda", True), ("mps", False)])
def test_convolutions_are_channels_last_but_on_mps(kind, expected):
    unet = small_unet()

    prepare(unet, small_vae(), facts(kind), torch.float32)

    assert unet.conv_in.weight.is_contiguous(memory_format=torch.channels_last) is expected


def test_an_autoencoder_without_attention_is_fine():
    vae = AutoencoderTiny(
        encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8), num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
    ).eval()  # fmt: skip
    latent = torch.randn(1, 4, 8, 8)
    with torch.inference_mode():
        expected = vae.decode(latent).sample
        prepare(small_unet(), vae, facts("cpu"), torch.float32)
        torch.testing.assert_close(vae.decode(latent).sample, expected, rtol=0, atol=1e-4)


def test_preparing_twice_is_preparing_once():
    unet, vae = small_unet(), small_vae()
    prepare(unet, vae, facts("cpu"), torch.float32)
    expected = run(unet, vae, torch.float32)

    prepare(unet, vae, facts("cpu"), torch.float32)

    torch.testing.assert_close(run(unet, vae, torch.float32), expected, rtol=0, atol=1e-6)
