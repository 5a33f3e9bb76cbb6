from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, UNet2DConditionModel

from sfumato.runtime.attention import FastAttention, attention

#: (heads, rows, keys, width): self, cross, one wide head as in the VAE, ragged tiles, many keys, one key.
SHAPES = [
    (8, 256, 256, 40),
    (8, 100, 77, 40),
    (2, 64, 154, 80),
    (1, 144, 144, 512),
    (3, 1031, 1031, 24),
    (2, 9, 300, 8),
    (1, 5, 1, 16),
]


@pytest.fixture(autouse=True)
def _for_inference():
    with torch.inference_mode():
        yield


def qkv(heads, rows, keys, width, dtype=torch.float32, spread=1.0):
    generator = torch.Generator().manual_seed(rows + keys)
    return tuple(
        (torch.randn(2, length, heads, width, generator=generator) * spread).to(dtype).transpose(1, 2)
        for length in (rows, keys, keys)
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_float32_equals_torchs_own_kernel(shape):
    q, k, v = qkv(*shape)

    torch.testing.assert_close(attention(q, k, v), F.scaled_dot_product_attention(q, k, v), rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_bfloat16_is_as_near_to_the_truth_as_its_rounding_allows(shape):
    q, k, v = qkv(*shape, dtype=torch.bfloat16)
    truth = F.scaled_dot_product_attention(q.float(), k.float(), v.float())

    out = attention(q, k, v)

    assert out.dtype == torch.bfloat16
    assert out.shape == q.shape
    error = (out.float() - truth).abs()
    assert error.max() < 2**-7 * v.float().abs().max()
    assert error.square().mean().sqrt() < 2**-7 * truth.square().mean().sqrt()


def test_a_scale_is_used_instead_of_the_widths_root():
    q, k, v = qkv(2, 300, 300, 16)

    expected = F.scaled_dot_product_attention(q, k, v, scale=0.7)
    torch.testing.assert_close(attention(q, k, v, 0.7), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("keys", [77, 600])
def test_huge_scores_do_not_overflow(dtype, keys):
    q, k, v = qkv(2, 300, keys, 40, dtype, spread=60.0)

    out = attention(q, k, v)

    assert torch.isfinite(out).all()
    assert out.abs().max() <= v.abs().max() * 1.01


def test_the_inputs_are_left_alone():
    tensors = qkv(2, 600, 600, 16)
    before = [x.clone() for x in tensors]

    attention(*tensors)

    for x, old in zip(tensors, before, strict=True):
        torch.testing.assert_close(x, old, rtol=0, atol=0)


def test_gradients_flow_outside_inference():
    with torch.inference_mode(mode=False), torch.enable_grad():
        q, k, v = (x.clone().requires_grad_() for x in qkv(2, 20, 20, 8))
        attention(q, k, v).sum().backward()

        assert v.grad is not None


def small_unet():
    torch.manual_seed(0)
    return UNet2DConditionModel(
        block_out_channels=(32, 64), layers_per_block=1, cross_attention_dim=24, attention_head_dim=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        norm_num_groups=8, sample_size=20,
    ).eval()  # fmt: skip


def test_a_unet_gives_what_it_gives_with_diffusers_own_processor():
    unet = small_unet()
    x, words = torch.randn(2, 4, 20, 20), torch.randn(2, 77, 24)
    expected = unet(x, 500, words).sample

    unet.set_attn_processor(FastAttention())

    torch.testing.assert_close(unet(x, 500, words).sample, expected, rtol=0, atol=1e-4)


def test_a_mask_over_the_words_still_works():
    unet = small_unet()
    x, words = torch.randn(2, 4, 20, 20), torch.randn(2, 77, 24)
    mask = torch.ones(2, 77, dtype=torch.bool)
    mask[1, 40:] = False
    expected = unet(x, 500, words, encoder_attention_mask=mask).sample

    unet.set_attn_processor(FastAttention())

    torch.testing.assert_close(unet(x, 500, words, encoder_attention_mask=mask).sample, expected, rtol=0, atol=1e-4)


def test_an_autoencoder_gives_what_it_gives_with_diffusers_own_processor():
    torch.manual_seed(0)
    vae = AutoencoderKL(
        block_out_channels=(16, 32), latent_channels=4, norm_num_groups=8, down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
    ).eval()  # fmt: skip
    latent, pixels = torch.randn(1, 4, 20, 20), torch.rand(1, 3, 40, 40)
    expected = vae.decode(latent).sample, vae.encode(pixels).latent_dist.mean

    vae.set_attn_processor(FastAttention())

    torch.testing.assert_close(vae.decode(latent).sample, expected[0], rtol=0, atol=1e-4)
    torch.testing.assert_close(vae.encode(pixels).latent_dist.mean, expected[1], rtol=0, atol=1e-4)
