from __future__ import annotations

import pytest
import torch

from sfumato.errors import CheckpointError
from sfumato.sampling.denoiser import COEFFICIENTS, coefficients, target, wrap


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("t", [0, 1, 400.5, 999])
def test_a_perfect_network_gives_the_clean_latent(prediction, t, schedule, two_gaussians):
    sigma = schedule.sigma_of(t)
    x = torch.linspace(-3, 3, 12, dtype=torch.float64).reshape(1, 3, 2, 2) * max(1, sigma)

    x0 = wrap(two_gaussians.network(prediction, schedule), prediction, schedule)(x, sigma)

    torch.testing.assert_close(x0, two_gaussians(x, sigma), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("prediction", COEFFICIENTS)
@pytest.mark.parametrize("sigma", [0.03, 1.0, 14.6])
def test_the_training_target_answers_with_the_clean_latent(prediction, sigma):
    x0, noise = torch.randn(2, 1, 4, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    c = coefficients(prediction, sigma)

    answer = c.c_skip * (x0 + sigma * noise) + c.c_out * target(prediction, x0, noise, sigma)

    torch.testing.assert_close(answer, x0, rtol=1e-10, atol=1e-10)


def test_targets_are_what_the_papers_say():
    x0, noise = torch.randn(2, 1, 4, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    sigma = 2.0
    alpha = (1 + sigma**2) ** -0.5

    torch.testing.assert_close(target("epsilon", x0, noise, sigma), noise)
    torch.testing.assert_close(target("v_prediction", x0, noise, sigma), alpha * noise - sigma * alpha * x0)
    torch.testing.assert_close(target("sample", x0, noise, sigma), x0)
    torch.testing.assert_close(target("flow", x0, noise, sigma), noise - x0)


@pytest.mark.parametrize("prediction", COEFFICIENTS)
def test_levels_may_be_a_tensor_with_one_for_each_picture(prediction):
    levels = torch.tensor([0.1, 5.0], dtype=torch.float64)

    many = coefficients(prediction, levels)

    for place, level in enumerate(levels.tolist()):
        one = coefficients(prediction, level)
        assert [float(torch.as_tensor(each).expand(2)[place]) for each in many] == pytest.approx(list(one))


def test_the_network_gets_a_scaled_latent_and_one_time_for_each_picture(schedule):
    seen = []

    def network(x, t):
        seen.append((x, t))
        return torch.zeros_like(x, dtype=torch.bfloat16)

    x = torch.full((3, 4, 2, 2), 2.0)
    x0 = wrap(network, "epsilon", schedule)(x, schedule.sigma_of(250))

    torch.testing.assert_close(seen[0][0], x / (1 + schedule.sigma_of(250) ** 2) ** 0.5)
    assert seen[0][1].tolist() == [250.0] * 3
    assert seen[0][1].dtype == torch.float32
    assert x0.dtype == torch.float32
    assert torch.equal(x0, x)


def test_an_unknown_prediction_type_is_refused_at_once(schedule):
    with pytest.raises(CheckpointError, match="nearest: 'v_prediction'"):
        wrap(lambda x, t: x, "v-prediction", schedule)
