from __future__ import annotations

import pytest
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg

from sfumato.sampling.guidance import combine, rescale

COND, OTHER, UNCOND = torch.tensor([[[[3.0]]]]), torch.tensor([[[[-1.0]]]]), torch.tensor([[[[1.0]]]])


def test_scale_one_is_no_guidance():
    assert torch.equal(combine([COND], [1.0], UNCOND, 1.0), COND)


def test_scale_zero_is_the_negative_prompt():
    assert torch.equal(combine([COND], [1.0], UNCOND, 0.0), UNCOND)


def test_scale_stretches_the_difference():
    assert float(combine([COND], [1.0], UNCOND, 7.5)) == 1 + 7.5 * 2


def test_prompts_joined_with_and_are_weighed_and_summed():
    assert float(combine([COND, OTHER], [0.5, 2.0], UNCOND, 3.0)) == 1 + 3 * (0.5 * 2 + 2.0 * -2)


def test_one_prompt_at_scale_one_needs_no_negative():
    assert combine([COND], [1.0], None, 1.0) is COND


@pytest.mark.parametrize(("conds", "weights", "scale"), [([COND], [1.0], 2.0), ([COND, OTHER], [1.0, 1.0], 1.0)])
def test_a_missing_negative_is_refused_where_it_counts(conds, weights, scale):
    with pytest.raises(ValueError, match="negative prompt"):
        combine(conds, weights, None, scale)


def test_counts_must_agree():
    with pytest.raises(ValueError, match="1 predictions and 2 weights"):
        combine([COND], [1.0, 1.0], UNCOND, 1.0)


def test_arguments_are_left_as_they_are():
    before = UNCOND.clone()
    combine([COND, OTHER], [1.0, 1.0], UNCOND, 3.0)
    assert torch.equal(UNCOND, before)


@pytest.mark.parametrize("phi", [0.0, 0.3, 0.7, 1.0])
def test_rescaling_is_that_of_diffusers(phi):
    generator = torch.Generator().manual_seed(3)
    guided, positive = (torch.randn(2, 4, 8, 8, generator=generator) * scale + 0.3 for scale in (5, 1.5))

    expected = rescale_noise_cfg(guided, positive, phi)

    torch.testing.assert_close(rescale(guided, positive, phi), expected, rtol=1e-5, atol=1e-5)
