"""Solvers give the latents of diffusers' schedulers on the plans of ``sampling.reference``, with a perfect network."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import diffusers
import pytest
import torch
from torch import Tensor

from sfumato.sampling.denoiser import wrap
from sfumato.sampling.integrate import integrate
from sfumato.sampling.noise_schedule import NoiseSchedule
from sfumato.sampling.reference import plan
from sfumato.sampling.solvers import SOLVERS, make

# diffusers 0.42 meets numpy 2.4 with two warnings of its own.
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:__array_wrap__ must accept:DeprecationWarning"),
]

SHAPE = (2, 4, 3, 3)
#: scheduler_config.json of Stable Diffusion 1.5.
STABLE_DIFFUSION = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "clip_sample": False,
}
CLASSES = {
    "ddim": "DDIMScheduler",
    "ddpm": "DDPMScheduler",
    "plms": "PNDMScheduler",
    "euler": "EulerDiscreteScheduler",
    "euler_a": "EulerAncestralDiscreteScheduler",
    "dpmpp_2m": "DPMSolverMultistepScheduler",
    "unipc": "UniPCMultistepScheduler",
    "deis": "DEISMultistepScheduler",
    "lcm": "LCMScheduler",
    "tcd": "TCDScheduler",
}


def scheduler_of(name: str, prediction: str, **changes: Any) -> Any:
    """As ``SchedulerClass.from_config(pipeline.scheduler.config)`` makes it, but counting in float64."""
    config = {**STABLE_DIFFUSION, "prediction_type": prediction, **changes}
    scheduler = getattr(diffusers, CLASSES[name]).from_config(config)
    scheduler.alphas_cumprod = scheduler.alphas_cumprod.double()
    if hasattr(scheduler, "final_alpha_cumprod"):
        scheduler.final_alpha_cumprod = scheduler.final_alpha_cumprod.double()
    return scheduler


def run_diffusers(scheduler: Any, network: Callable[[Tensor, Tensor], Tensor], steps: int, **extra: Any) -> Tensor:
    """The loop of ``StableDiffusionPipeline``."""
    scheduler.set_timesteps(steps)
    x = unit_noise() * scheduler.init_noise_sigma
    for t in scheduler.timesteps:
        answer = network(scheduler.scale_model_input(x, t), t.double().expand(len(x)))
        x = scheduler.step(answer, t, x, return_dict=False, **extra)[0]
    return x


def run_ours(
    solver: Any, network: Callable[[Tensor, Tensor], Tensor], prediction: str, schedule: Any, ours: Any
) -> Tensor:
    x = unit_noise() * ours.start_scale
    denoise = wrap(network, prediction, schedule)
    *_, last = integrate(solver, denoise, x, ours.sigmas, Draws())
    return last.x * ours.end_scale


def unit_noise() -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


class Draws:
    """Noise for integrate in the order in which the patched ``randn_tensor`` gives it."""

    def at(self, step: int) -> Callable[[int], Tensor]:
        return lambda draw: torch.randn(SHAPE, generator=torch.Generator().manual_seed(100 + step), dtype=torch.float64)


@pytest.fixture(autouse=True)
def same_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """diffusers' schedulers draw what ``Draws`` gives: once in each step."""
    count = iter(range(10_000))

    def draw(*_: Any, **__: Any) -> Tensor:
        return Draws().at(next(count))(0)

    for name in ("ddim", "ddpm", "euler_discrete", "euler_ancestral_discrete", "lcm", "tcd", "dpmsolver_multistep"):
        monkeypatch.setattr(f"diffusers.schedulers.scheduling_{name}.randn_tensor", draw)


def compare(name: str, steps: int, prediction: str, two_gaussians: Any, *, spacing: Any = None, **fields: Any) -> float:
    """The greatest difference of the two latents, as a part of the expected one's spread."""
    changes = {} if spacing is None else {"timestep_spacing": spacing}
    scheduler = scheduler_of(name, prediction, **changes)
    schedule = NoiseSchedule(scheduler.alphas_cumprod)
    network = two_gaussians.network(prediction, schedule)
    extra = {"eta": fields["eta"]} if "eta" in fields else {}
    if name == "tcd":
        fields = {**fields, "schedule": schedule}

    expected = run_diffusers(scheduler, network, steps, **extra)
    actual = run_ours(
        SOLVERS[name](**fields), network, prediction, schedule, plan(name, schedule, steps, spacing=spacing)
    )

    return float((actual - expected).abs().max() / expected.abs().max())


#: PNDMScheduler extrapolates v itself over times where it means different things, and leaves the corrector of the first
#: step out when there is no second. LDM's PLMS does neither, and so ours.
CASES = [
    (name, steps, prediction)
    for name in ("ddim", "ddpm", "plms", "euler", "dpmpp_2m", "unipc", "deis")
    for steps in (1, 4, 10, 20, 25, 50)
    for prediction in ("epsilon", "v_prediction")
    if name != "plms" or (prediction == "epsilon" and steps > 1)
]


@pytest.mark.parametrize(("name", "steps", "prediction"), CASES)
def test_latents_are_those_of_the_scheduler(name, steps, prediction, two_gaussians):
    assert compare(name, steps, prediction, two_gaussians) < 1e-4


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("name", ["ddim", "euler", "dpmpp_2m", "unipc", "deis", "ddpm"])
def test_latents_are_those_of_the_scheduler_with_its_other_spacings(name, spacing, two_gaussians):
    assert compare(name, 20, "epsilon", two_gaussians, spacing=spacing) < 1e-4


@pytest.mark.parametrize("name", ["lcm", "tcd"])
@pytest.mark.parametrize("steps", [1, 2, 4, 8])
def test_distilled_samplers_are_those_of_the_scheduler(name, steps, two_gaussians):
    assert compare(name, steps, "epsilon", two_gaussians) < 1e-4


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_tcd_follows_its_gamma(eta, two_gaussians):
    assert compare("tcd", 4, "epsilon", two_gaussians, eta=eta) < 1e-4


@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_ddim_follows_its_eta(eta, two_gaussians):
    assert compare("ddim", 20, "epsilon", two_gaussians, eta=eta) < 1e-4


def test_euler_a_is_that_of_the_scheduler(two_gaussians):
    assert compare("euler_a", 20, "epsilon", two_gaussians) < 1e-4


@pytest.mark.parametrize("order", [1, 3])
@pytest.mark.parametrize("name", ["unipc", "deis"])
def test_other_orders_are_those_of_the_scheduler(name, order, two_gaussians):
    scheduler = scheduler_of(name, "epsilon", solver_order=order)
    schedule = NoiseSchedule(scheduler.alphas_cumprod)
    network = two_gaussians.network("epsilon", schedule)

    expected = run_diffusers(scheduler, network, 10)
    solver = SOLVERS[name](solver_order=order)
    actual = run_ours(solver, network, "epsilon", schedule, plan(name, schedule, 10))

    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["dpmpp_2m", "unipc"])
def test_karras_levels_of_the_scheduler(name, two_gaussians):
    scheduler = scheduler_of(name, "epsilon", use_karras_sigmas=True)
    schedule = NoiseSchedule(scheduler.alphas_cumprod)
    scheduler.set_timesteps(12)
    sigmas = scheduler.sigmas.double()
    x = unit_noise()

    for i, t in enumerate(scheduler.timesteps):
        sigma = float(sigmas[i])
        scale = (1 + sigma**2) ** 0.5
        answer = (x * scale - two_gaussians(x * scale, sigma)) / sigma
        x = scheduler.step(answer, t, x, return_dict=False)[0]
    start = unit_noise() * float((1 + sigmas[0] ** 2) ** 0.5)
    *_, last = integrate(make(name, schedule=schedule), two_gaussians, start, sigmas, Draws())

    torch.testing.assert_close(last.x, x, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("steps", [1, 7, 20, 50])
@pytest.mark.parametrize(
    ("name", "spacing"),
    [
        *itertools.product(("ddim", "euler", "dpmpp_2m", "unipc", "plms", "deis"), (None, "leading", "trailing")),
        ("lcm", None),
        ("tcd", None),
    ],
)
def test_plans_have_the_times_of_the_scheduler(name, spacing, steps):
    changes = {} if spacing is None else {"timestep_spacing": spacing}
    scheduler = scheduler_of(name, "epsilon", **changes)
    scheduler.set_timesteps(steps)
    expected = [float(t) for t in scheduler.timesteps]
    if name == "plms" and steps > 1:
        del expected[2]  # the corrected second step is asked twice

    actual = plan(name, NoiseSchedule(scheduler.alphas_cumprod), steps, spacing=spacing)

    assert list(actual.timesteps) == pytest.approx(expected, abs=1e-3)
    if hasattr(scheduler, "sigmas"):
        torch.testing.assert_close(actual.sigmas, scheduler.sigmas.double(), rtol=1e-5, atol=1e-7)


@pytest.fixture(scope="module")
def unet() -> Iterator[diffusers.UNet2DConditionModel]:
    """A small UNet with random weights, on one thread: it is too small for more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(3)
    small = diffusers.UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32),
        norm_num_groups=8,
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=4,
    )
    yield small.eval()
    torch.set_num_threads(threads)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize(
    ("name", "spacing"),
    [("ddim", None), ("euler", None), ("euler", "leading"), ("dpmpp_2m", None), ("unipc", None), ("unipc", "leading")],
)
def test_a_real_unet_in_float32_gives_the_pipeline_s_latent(name, spacing, prediction, unet):
    changes = {} if spacing is None else {"timestep_spacing": spacing}
    scheduler = scheduler_of(name, prediction, **changes)
    schedule = NoiseSchedule.from_betas()
    words = torch.randn(1, 7, 16, generator=torch.Generator().manual_seed(1))
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(2))
    ours = plan(name, schedule, 12, spacing=spacing)

    with torch.inference_mode():
        scheduler.set_timesteps(12)
        expected = noise * scheduler.init_noise_sigma
        for t in scheduler.timesteps:
            answer = unet(scheduler.scale_model_input(expected, t), t, words).sample
            expected = scheduler.step(answer, t, expected, return_dict=False)[0]
        denoise = wrap(lambda x, t: unet(x, t, words).sample, prediction, schedule)
        *_, last = integrate(make(name), denoise, noise * ours.start_scale, ours.sigmas, Draws())

    assert float((last.x * ours.end_scale - expected).abs().max()) < 1e-3
