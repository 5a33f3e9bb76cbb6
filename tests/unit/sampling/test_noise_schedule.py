from __future__ import annotations

import pytest
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler

from sfumato.errors import CheckpointError
from sfumato.sampling.denoiser import wrap
from sfumato.sampling.noise_schedule import FlowSchedule, NoiseSchedule


def test_stable_diffusion_has_its_well_known_levels(schedule):
    assert len(schedule) == 1000
    assert schedule.sigma_min == pytest.approx((0.00085 / 0.99915) ** 0.5, rel=1e-9)
    assert schedule.sigma_max == pytest.approx(14.614647, rel=1e-5)


@pytest.mark.parametrize("kind", ["scaled_linear", "linear", "squaredcos_cap_v2"])
def test_alphas_are_those_of_diffusers(kind):
    theirs = DDIMScheduler(beta_start=0.0001, beta_end=0.02, beta_schedule=kind, num_train_timesteps=500)

    ours = NoiseSchedule.from_betas(0.0001, 0.02, kind, 500)

    torch.testing.assert_close(ours.alphas_cumprod, theirs.alphas_cumprod.double(), rtol=1e-3, atol=1e-6)


def test_an_unknown_kind_is_refused_with_the_nearest():
    with pytest.raises(CheckpointError, match="nearest: 'scaled_linear'"):
        NoiseSchedule.from_betas(kind="scaled-linear")


@pytest.mark.parametrize("alphas", [[0.5, 0.6], [1.0, 0.5], [0.5, 0.5], [0.9], [0.9, float("nan")]])
def test_damaged_alphas_are_refused(alphas):
    with pytest.raises(CheckpointError, match="damaged"):
        NoiseSchedule(torch.tensor(alphas, dtype=torch.float64))


def test_zero_terminal_snr_gets_a_finite_level():
    assert NoiseSchedule(torch.tensor([0.9, 0.5, 0.0])).sigma_max == pytest.approx(4096, rel=1e-6)


@pytest.mark.parametrize("t", [0, 1, 17, 500, 998, 999])
def test_trained_times_have_their_own_levels(t, schedule):
    assert schedule.sigma_of(t) == pytest.approx(float(schedule.sigmas[t]), rel=1e-12)
    assert schedule.t_of(float(schedule.sigmas[t])) == pytest.approx(t, abs=1e-9)


@pytest.mark.parametrize("t", [0.25, 3.7, 421.125, 998.999])
def test_time_and_level_are_inverse_between_trained_times(t, schedule):
    assert schedule.t_of(schedule.sigma_of(t)) == pytest.approx(t, abs=1e-9)


@pytest.mark.parametrize(("sigma", "t"), [(0.0, 0), (0.001, 0), (20.0, 999), (1e9, 999)])
def test_levels_outside_the_table_get_the_nearest_time(sigma, t, schedule):
    assert schedule.t_of(sigma) == t


@pytest.mark.parametrize("shift", [1.0, 3.0, 12.0])
def test_a_flow_models_levels_are_those_of_diffusers(shift):
    theirs = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=shift).sigmas.flip(0).double()

    ours = FlowSchedule.shifted(shift)

    shares = ours.sigmas / (1 + ours.sigmas)
    torch.testing.assert_close(shares[:-1], theirs[:-1], rtol=0, atol=1e-6)
    assert 1 - 0.25 / 1000 <= float(shares[-1]) < 1
    for sigma, share in zip(ours.sigmas.tolist(), shares.tolist(), strict=True):
        assert ours.network_time(sigma) == pytest.approx(1000 * share)
    assert ours.network_time(0.0) == 0


def test_a_flow_denoiser_finds_the_picture_of_a_network_that_knows_it():
    """Of noise - x0, at (1 - s) x0 + s noise and time 1000 s."""
    torch.manual_seed(0)
    x0, noise = torch.randn(2, 1, 4, 8, 8)
    schedule = FlowSchedule.shifted(3.0)

    def network(x, t):
        s = t.view(-1, 1, 1, 1) / 1000
        torch.testing.assert_close(x, (1 - s) * x0 + s * noise, rtol=0, atol=1e-5)
        return noise - x0

    for sigma in (0.1, 1.0, 20.0):
        torch.testing.assert_close(wrap(network, "flow", schedule)(x0 + sigma * noise, sigma), x0, rtol=0, atol=1e-4)


def test_zero_terminal_snr_is_that_of_diffusers():
    theirs = EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", rescale_betas_zero_snr=True
    )

    ours = NoiseSchedule.from_betas(zero_snr=True)

    torch.testing.assert_close(ours.alphas_cumprod, theirs.alphas_cumprod.double(), rtol=1e-3, atol=1e-6)
    assert ours.sigma_max == pytest.approx(4096, rel=1e-6)
