from __future__ import annotations

import math

import pytest
import torch

from sfumato.errors import NumericError
from sfumato.sampling.integrate import integrate
from sfumato.sampling.solvers import make


def test_each_step_is_reported_with_what_a_preview_needs(two_gaussians, frozen):
    levels = [10.0, 3.0, 1.0, 0.0]
    x = torch.ones(1, 4, 2, 2) * 10

    steps = list(integrate(make("euler"), two_gaussians, x, torch.tensor(levels), frozen(x.shape)))

    assert [(step.index, step.total, step.sigma) for step in steps] == [(0, 3, 3.0), (1, 3, 1.0), (2, 3, 0.0)]
    torch.testing.assert_close(steps[0].x0, two_gaussians(x, 10.0))
    torch.testing.assert_close(steps[-1].x, steps[-1].x0)


def test_nothing_is_computed_before_it_is_asked_for(frozen):
    calls = []

    def denoise(x, sigma):
        calls.append(sigma)
        return x * 0

    x = torch.ones(1, 4, 2, 2)
    steps = integrate(make("euler"), denoise, x, [10.0, 3.0, 1.0, 0.0], frozen(x.shape))
    next(steps)

    assert calls == [10.0]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_latent_that_is_not_finite_ends_in_an_error_with_stage_and_step(bad, frozen):
    x = torch.ones(1, 4, 2, 2)

    def denoise(x, sigma):
        return x * (bad if sigma < 5 else 0.5)

    steps = integrate(make("euler"), denoise, x, [10.0, 3.0, 1.0, 0.0], frozen(x.shape))
    next(steps)
    with pytest.raises(NumericError, match=r"sampling.*step 2"):
        next(steps)


@pytest.mark.parametrize("levels", [[], [1.0], [1.0, 2.0], [1.0, 1.0], [1.0, -1.0], [1.0, math.nan], [math.nan, 0.0]])
def test_levels_that_do_not_fall_are_refused(levels, two_gaussians, frozen):
    x = torch.ones(1, 4, 2, 2)
    with pytest.raises(ValueError, match="sigmas must fall"):
        next(integrate(make("euler"), two_gaussians, x, levels, frozen(x.shape)))


@pytest.mark.parametrize("start", [-1, 3])
def test_a_start_out_of_range_is_refused(start, two_gaussians, frozen):
    x = torch.ones(1, 4, 2, 2)
    with pytest.raises(ValueError, match="start is"):
        next(integrate(make("euler"), two_gaussians, x, [3.0, 1.0, 0.0], frozen(x.shape), start=start))


def test_starting_after_the_last_step_gives_no_step(two_gaussians, frozen):
    x = torch.ones(1, 4, 2, 2)
    assert list(integrate(make("euler"), two_gaussians, x, [3.0, 1.0, 0.0], frozen(x.shape), start=2)) == []


def test_the_latent_that_comes_in_is_left_as_it_is(two_gaussians, frozen):
    x = torch.ones(1, 4, 2, 2)
    list(integrate(make("dpmpp_sde"), two_gaussians, x, [3.0, 1.0, 0.0], frozen(x.shape, torch.float32)))
    assert torch.equal(x, torch.ones(1, 4, 2, 2))
