"""The training target and its weights are those of diffusers, and end where sampling begins."""

import pytest
import torch
from diffusers import DDPMScheduler
from diffusers.training_utils import compute_snr

from sfumato.sampling.denoiser import wrap
from sfumato.sampling.noise_schedule import NoiseSchedule
from sfumato.training.objective import corrupt, loss, snr_weight

T = torch.tensor([0, 120, 500, 999])
SCHEDULE = NoiseSchedule.from_betas()


def _drawn():
    torch.manual_seed(0)
    return torch.randn(4, 4, 8, 8), torch.randn(4, 4, 8, 8)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_input_and_answer_are_those_of_diffusers(prediction):
    x0, noise = _drawn()
    theirs = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    answers = {"epsilon": noise, "v_prediction": theirs.get_velocity(x0, noise, T), "sample": x0}
    noisy = corrupt(x0, noise, T, prediction, SCHEDULE)

    torch.testing.assert_close(noisy.x, theirs.add_noise(x0, noise, T), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(noisy.answer, answers[prediction], rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_weights_are_min_snr(prediction):
    theirs = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    snr = compute_snr(theirs, T)
    weight = snr.clamp(max=5) / (snr if prediction == "epsilon" else snr + 1)

    sigma = SCHEDULE.sigmas.float()[T]
    torch.testing.assert_close(snr_weight(sigma, prediction, 5.0), weight, rtol=1e-3, atol=1e-6)
    assert (snr_weight(sigma, prediction, None) == 1).all()


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_a_network_that_answers_rightly_has_no_loss_and_samples_the_picture(prediction):
    x0, noise = _drawn()
    noisy = corrupt(x0, noise, T, prediction, SCHEDULE)
    assert loss(noisy.answer, noisy, torch.ones(4)).max() == 0

    for k in range(1, 4):
        sigma = float(SCHEDULE.sigmas[T[k]])
        denoise = wrap(lambda x, t, k=k: noisy.answer[k : k + 1], prediction, SCHEDULE)
        found = denoise(x0[k : k + 1] + sigma * noise[k : k + 1], sigma)
        torch.testing.assert_close(found, x0[k : k + 1], rtol=0, atol=2e-3)


def test_masked_pixels_do_not_count_and_the_rest_counts_more():
    x0, noise = _drawn()
    noisy = corrupt(x0, noise, T, "epsilon", SCHEDULE)
    mask = torch.zeros(4, 1, 8, 8)
    mask[..., :4] = 1
    wrong = noisy.answer.clone()
    wrong[..., 4:] += 10
    assert loss(wrong, noisy, torch.ones(4), mask).max() == 0

    wrong[..., :4] += 1
    torch.testing.assert_close(loss(wrong, noisy, torch.full((4,), 0.5), mask), torch.full((4,), 0.5))
