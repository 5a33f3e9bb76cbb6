from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from diffusers import EulerDiscreteScheduler

from sfumato.errors import RequestError
from sfumato.sampling import names
from sfumato.sampling.noise_schedule import NoiseSchedule
from sfumato.sampling.schedules import ALIGNED, SCHEDULES, sigmas_for


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 11, 20, 30, 50, 999, 1000])
@pytest.mark.parametrize("name", SCHEDULES)
def test_levels_fall_from_the_model_s_noise_to_zero(name, steps, schedule):
    levels = SCHEDULES[name](schedule, steps)

    assert levels.shape == (steps + 1,)
    assert levels.dtype == torch.float64
    assert bool((levels.diff() < 0).all())
    assert float(levels[-1]) == 0
    assert float(levels[-2]) > 0
    assert float(levels[0]) <= schedule.sigma_max * 1.001
    if name != "ddim":  # whose first time depends on the number of steps
        assert float(levels[0]) == pytest.approx(schedule.sigma_max, rel=1e-3)


def test_every_name_has_a_schedule():
    assert {one.key for one in names.SCHEDULERS} == set(SCHEDULES)


def test_sgm_uniform_leaves_the_least_level_out(schedule):
    expected = [schedule.sigma_of(t) for t in (999, 749.25, 499.5, 249.75)]

    assert SCHEDULES["sgm_uniform"](schedule, 4).tolist() == pytest.approx([*expected, 0])


def test_simple_takes_trained_levels_from_the_noisy_end(schedule):
    expected = [float(schedule.sigmas[t]) for t in (999, 666, 333)]

    assert SCHEDULES["simple"](schedule, 3).tolist() == [*expected, 0]


@pytest.mark.parametrize(("steps", "times"), [(4, [751, 501, 251, 1]), (30, [958, 925, 892])])
def test_ddim_counts_times_as_diffusers_does(steps, times, schedule):
    levels = SCHEDULES["ddim"](schedule, steps).tolist()

    assert levels[: len(times)] == [float(schedule.sigmas[t]) for t in times]
    assert levels[-2] == float(schedule.sigmas[1])


def test_align_your_steps_has_the_published_table_at_its_own_length(schedule):
    assert SCHEDULES["align_your_steps"](schedule, 11).tolist() == pytest.approx([*ALIGNED, 0])


def test_align_your_steps_interpolates_as_the_web_ui_does(schedule):
    places = np.linspace(0, 1, 25)
    expected = np.exp(np.interp(places, np.linspace(0, 1, len(ALIGNED)), np.log(ALIGNED[::-1])))[::-1]

    assert SCHEDULES["align_your_steps"](schedule, 25).tolist() == pytest.approx([*expected, 0], rel=1e-9)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize(("name", "flag"), [("beta", "use_beta_sigmas"), ("karras", "use_karras_sigmas")])
def test_levels_are_those_of_diffusers(name, flag):
    theirs = EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", **{flag: True})
    theirs.set_timesteps(20)

    ours = SCHEDULES[name](NoiseSchedule(theirs.alphas_cumprod), 20)

    torch.testing.assert_close(ours, theirs.sigmas.double(), rtol=1e-5, atol=0)


def test_kl_optimal_is_even_in_angle(schedule):
    angles = SCHEDULES["kl_optimal"](schedule, 12)[:-1].atan()

    torch.testing.assert_close(angles.diff(), torch.full((11,), float(angles[1] - angles[0]), dtype=torch.float64))
    assert math.tan(float(angles[-1])) == pytest.approx(schedule.sigma_min)


@pytest.mark.parametrize("name", ["simple", "ddim"])
def test_more_steps_than_trained_times_are_refused(name):
    few = NoiseSchedule.from_betas(count=100)

    with pytest.raises(RequestError, match="at most 100 steps"):
        SCHEDULES[name](few, 101)


@pytest.mark.parametrize("sampler", ["dpm2", "dpm2_a", "dpmpp_3m_sde"])
def test_some_samplers_leave_the_least_level_out(sampler, schedule):
    levels = sigmas_for(sampler, "karras", schedule, 10)
    longer = SCHEDULES["karras"](schedule, 11)

    assert levels.tolist() == [*longer[:10].tolist(), 0]


def test_other_samplers_take_the_schedule_as_it_is(schedule):
    assert torch.equal(sigmas_for("euler", "karras", schedule, 10), SCHEDULES["karras"](schedule, 10))
