"""What all solvers have in common: order of convergence, resuming, statistics, ends, and making them by name."""

from __future__ import annotations

import dataclasses
import io
import itertools
import math

import pytest
import torch
from torch import Tensor

from sfumato.errors import RequestError
from sfumato.sampling import names
from sfumato.sampling.integrate import integrate
from sfumato.sampling.schedules import SCHEDULES, karras
from sfumato.sampling.solvers import SOLVERS, make
from sfumato.sampling.solvers.restart import intervals

#: Solvers of the ODE (made deterministic by eta 0 where they have one), the order that their runs show, and how many
#: steps they remember.
ORDERS = {
    "euler": (1, 0),
    "euler_a": (1, 0),
    "ddim": (1, 0),
    "ddpm": (1, 0),
    "tcd": (1, 0),
    "heun": (2, 0),
    "dpm2": (2, 0),
    "dpm2_a": (2, 0),
    "dpmpp_2s_a": (2, 0),
    "dpmpp_sde": (2, 0),
    "restart": (2, 0),
    "dpmpp_2m": (2, 1),
    "dpmpp_2m_sde": (2, 1),
    "dpmpp_2m_sde_heun": (2, 1),
    "deis": (2, 1),
    "unipc": (2, 1),
    "plms": (2, 3),
    "dpmpp_3m_sde": (2, 2),
    "lms": (4, 3),
}


def calm(name):
    """The solver without its noise."""
    fields = {field.name for field in dataclasses.fields(SOLVERS[name])}
    return SOLVERS[name](**({"eta": 0.0} if "eta" in fields else {}))


def no_noise(draw: int) -> Tensor:
    raise AssertionError("a deterministic solver asked for noise")


def ramp(steps: int, high: float = 10.0, low: float = 0.1) -> list[float]:
    return torch.linspace(math.log(high), math.log(low), steps + 1, dtype=torch.float64).exp().tolist()


def error(solver, model, levels: list[float], memory: int) -> float:
    """Of a whole run, whose first ``memory`` steps are put right, so that a multistep solver has an exact history."""
    x = torch.linspace(-3, 3, 7, dtype=torch.float64).reshape(1, 1, 1, 7) * levels[0]
    exact, state = x, solver.start(x, levels)
    for i in range(len(levels) - 1):
        x, state = solver.step(model, x, levels, i, state, no_noise)
        exact = model.solution(exact, levels[i], levels[i + 1])
        if i < memory:
            x = exact
    return float((x - exact).abs().max())


@pytest.mark.parametrize("name", ORDERS)
def test_error_falls_with_the_order_of_the_solver(name, one_gaussian):
    order, memory = ORDERS[name]
    # Restarts begin at 20 steps. UniPC's last step is of order 1, and its error shows only when the rest is small.
    counts = {"restart": (8, 16), "unipc": (160, 320, 640)}.get(name, (40, 80, 160))

    errors = [error(calm(name), one_gaussian, ramp(count), memory) for count in counts]
    slopes = [math.log2(coarse / fine) for coarse, fine in itertools.pairwise(errors)]

    assert SOLVERS[name].order == order
    assert min(slopes) > order - 0.3
    assert max(slopes) < order + 0.9


def test_plms_has_order_four_over_even_steps(one_gaussian):
    errors = [
        error(calm("plms"), one_gaussian, torch.linspace(3, 1, count + 1, dtype=torch.float64).tolist(), 3)
        for count in (20, 40)
    ]

    assert math.log2(errors[0] / errors[1]) > 3.75


@pytest.mark.parametrize(("name", "order", "slope"), [("unipc", 2, 3), ("unipc", 3, 3), ("deis", 3, 3), ("deis", 1, 1)])
def test_other_orders_converge_as_fast(name, order, slope, one_gaussian):
    solver = SOLVERS[name](solver_order=order)
    # UniPC lowers its order in the last steps; they are left out by stopping before them.
    errors = []
    for count in (40, 80):
        levels = ramp(count)
        x = exact = torch.linspace(-3, 3, 7, dtype=torch.float64).reshape(1, 1, 1, 7) * levels[0]
        state = solver.start(x, levels)
        for i in range(count - 3):
            x, state = solver.step(one_gaussian, x, levels, i, state, no_noise)
            exact = one_gaussian.solution(exact, levels[i], levels[i + 1])
            if i < order - 1:
                x = exact
        errors.append(float((x - exact).abs().max()))

    assert math.log2(errors[0] / errors[1]) > slope - 0.35


def run(name, model, levels, noise, dtype=torch.float32, **resume):
    x = noise.at(10_000)(0).to(dtype) * levels[0]
    return list(integrate(make(name), model, resume.pop("x", x), levels, noise, **resume))


@pytest.mark.parametrize("steps", [7, 20, 36])
@pytest.mark.parametrize("name", SOLVERS)
def test_resuming_from_any_step_gives_the_same_bits(name, steps, two_gaussians, frozen, schedule):
    levels = karras(schedule, steps).tolist()
    noise = frozen((2, 4, 3, 3), torch.float32)
    whole = run(name, two_gaussians, levels, noise)

    for step in whole[:-1]:
        kept = io.BytesIO()
        torch.save((step.x, step.state), kept)
        kept.seek(0)
        x, state = torch.load(kept, weights_only=True)
        resumed = run(name, two_gaussians, levels, noise, x=x, start=step.index + 1, state=state)
        assert len(resumed) == steps - step.index - 1
        assert torch.equal(resumed[-1].x, whole[-1].x)


@pytest.mark.parametrize("name", SOLVERS)
def test_state_is_a_tuple_of_tensors_of_the_latent(name, two_gaussians, frozen, schedule):
    for step in run(name, two_gaussians, karras(schedule, 7).tolist(), frozen((2, 4, 3, 3), torch.float32)):
        assert isinstance(step.state, tuple)
        assert all(isinstance(each, Tensor) and each.shape == step.x.shape for each in step.state)
        assert step.x.dtype == step.x0.dtype == torch.float32


@pytest.mark.parametrize("name", SOLVERS)
def test_pictures_of_a_batch_do_not_touch(name, two_gaussians, frozen, schedule):
    levels, noise = karras(schedule, 20).tolist(), frozen((3, 4, 3, 3), torch.float32)

    class Second:
        def at(self, step):
            return lambda draw: noise.at(step)(draw)[1:2]

    together = run(name, two_gaussians, levels, noise)
    alone = run(name, two_gaussians, levels, Second())

    torch.testing.assert_close(alone[-1].x, together[-1].x[1:2], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in SOLVERS if name != "lcm"])
def test_samples_have_the_mean_and_spread_of_the_data(name, one_gaussian, frozen, schedule):
    levels = karras(schedule, 200).tolist()
    shape = (1, 1, 120, 120)
    x = one_gaussian.mean + frozen(shape).at(10_000)(0) * math.hypot(levels[0], one_gaussian.deviation)

    *_, last = integrate(make(name, schedule=schedule), one_gaussian, x, levels, frozen(shape))

    assert float(last.x.mean()) == pytest.approx(one_gaussian.mean, abs=0.03)
    assert float(last.x.std()) == pytest.approx(one_gaussian.deviation, rel=0.06)


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_few_steps_end_at_the_last_clean_latent(name, steps, two_gaussians, frozen, schedule):
    levels = SCHEDULES["sgm_uniform"](schedule, steps).tolist()

    last = run(name, two_gaussians, levels, frozen((1, 4, 3, 3), torch.float64), torch.float64)[-1]

    assert last.sigma == 0
    if name not in ("plms", "lms"):  # these go on along old slopes
        torch.testing.assert_close(last.x, last.x0, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", SOLVERS)
def test_noise_is_used_if_and_only_if_the_solver_is_stochastic(name, two_gaussians, schedule):
    used = []

    class Counting:
        def at(self, step):
            return lambda draw: used.append((step, draw)) or torch.ones(1, 4, 3, 3)

    x = torch.ones(1, 4, 3, 3) * schedule.sigma_max
    list(integrate(make(name), two_gaussians, x, karras(schedule, 20), Counting()))

    assert bool(used) == make(name).stochastic
    assert not calm(name).stochastic or name in ("lcm", "restart")
    assert len(set(used)) == len(used)


def test_every_sampler_has_a_solver_and_every_solver_a_name():
    assert {one.key for one in names.SAMPLERS} == set(SOLVERS)
    assert all(SOLVERS[key].name == key for key in SOLVERS)


def test_eta_goes_to_the_solvers_that_have_one():
    assert make("euler_a", 0.25) == SOLVERS["euler_a"](eta=0.25)
    assert make("ddim", 0.0) == make("ddim")
    assert make("heun", 1.0) == make("heun")


@pytest.mark.parametrize("eta", [-0.1, 1.5, math.nan])
def test_eta_out_of_range_is_refused(eta):
    with pytest.raises(RequestError, match="eta is"):
        make("euler_a", eta)


def test_an_unknown_solver_is_refused_with_the_nearest():
    with pytest.raises(RequestError, match="nearest: 'euler'"):
        make("eulr")


@pytest.mark.parametrize(("steps", "raises"), [(19, 0), (20, 1), (35, 1), (36, 2), (60, 2)])
def test_restart_keeps_the_number_of_steps_and_goes_back(steps, raises, schedule):
    path = intervals(karras(schedule, steps).tolist())

    assert len(path) == steps
    assert sum(end < start for (_, end), (start, _) in itertools.pairwise(path)) == raises
    assert all(start > end for start, end in path)
    assert path[0][0] == pytest.approx(schedule.sigma_max)
    assert path[-1][1] == 0


def test_restart_goes_back_to_about_two_from_about_a_tenth(schedule):
    path = intervals(karras(schedule, 40).tolist())
    jumps = [(end, start) for (_, end), (start, _) in itertools.pairwise(path) if end < start]

    assert jumps[0] == jumps[1]
    assert 0.05 < jumps[0][0] < 0.2
    assert 1.4 < jumps[0][1] < 2.8


def test_restart_stays_plain_where_no_interval_fits():
    levels = [*torch.linspace(1.0, 0.4, 24).tolist(), 0.0]

    assert intervals(levels) == list(itertools.pairwise(levels))
