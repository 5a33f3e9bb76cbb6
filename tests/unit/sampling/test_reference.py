"""Errors and ends of plans; that they match diffusers is in test_solvers_diffusers.py."""

from __future__ import annotations

import pytest

from sfumato.errors import RequestError
from sfumato.sampling.reference import KINDS, plan
from sfumato.sampling.solvers import SOLVERS


def test_ddim_steps_down_to_the_least_level_and_is_scaled_back(schedule):
    ddim = plan("ddim", schedule, 4)

    assert ddim.timesteps == (751.0, 501.0, 251.0, 1.0)
    assert float(ddim.sigmas[-1]) == schedule.sigma_min
    assert ddim.start_scale == pytest.approx((1 + float(schedule.sigmas[751]) ** 2) ** 0.5)
    assert ddim.end_scale == pytest.approx((1 + schedule.sigma_min**2) ** -0.5)


def test_final_level_can_be_chosen(schedule):
    assert float(plan("ddim", schedule, 4, final="zero").sigmas[-1]) == 0
    assert plan("ddim", schedule, 4, final="zero").end_scale == 1


def test_every_plan_is_for_a_solver():
    assert set(KINDS) <= set(SOLVERS)


@pytest.mark.parametrize(
    ("sampler", "steps", "words"), [("heun", 4, "no diffusers plan"), ("ddim", 0, "steps is 0"), ("ddim", 1001, "1001")]
)
def test_what_has_no_plan_is_refused(sampler, steps, words, schedule):
    with pytest.raises(RequestError, match=words):
        plan(sampler, schedule, steps)


def test_an_offset_beyond_the_last_time_is_refused(schedule):
    with pytest.raises(RequestError, match="beyond the last"):
        plan("ddim", schedule, 1000)
