"""Solvers and schedules give the numbers of the k-diffusion package (frozen by tests/golden/make_k_diffusion.py)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sfumato.sampling.integrate import integrate
from sfumato.sampling.noise_schedule import NoiseSchedule
from sfumato.sampling.schedules import SCHEDULES
from sfumato.sampling.solvers import SOLVERS

GOLDEN = Path(__file__).parents[2] / "golden" / "k_diffusion.npz"
CHURN = {"s_churn": 3.0, "s_tmin": 0.1, "s_tmax": 10.0, "s_noise": 1.003}
CASES = {
    "euler": ("euler", {}),
    "euler_churn": ("euler", CHURN),
    "euler_a": ("euler_a", {}),
    "euler_a_half": ("euler_a", {"eta": 0.5}),
    "heun": ("heun", {}),
    "heun_churn": ("heun", CHURN),
    "dpm2": ("dpm2", {}),
    "dpm2_churn": ("dpm2", {"s_churn": 3.0}),
    "dpm2_a": ("dpm2_a", {}),
    "lms": ("lms", {}),
    "dpmpp_2m": ("dpmpp_2m", {}),
    "dpmpp_2m_sde": ("dpmpp_2m_sde", {}),
    "dpmpp_2m_sde_half": ("dpmpp_2m_sde", {"eta": 0.5}),
    "dpmpp_2m_sde_heun": ("dpmpp_2m_sde_heun", {}),
    "dpmpp_3m_sde": ("dpmpp_3m_sde", {}),
    "dpmpp_3m_sde_zero": ("dpmpp_3m_sde", {"eta": 0.0}),
    "dpmpp_sde": ("dpmpp_sde", {}),
    "dpmpp_sde_half": ("dpmpp_sde", {"eta": 0.5}),
    "dpmpp_2s_a": ("dpmpp_2s_a", {}),
    "dpmpp_2s_a_zero": ("dpmpp_2s_a", {"eta": 0.0}),
}


@dataclass(frozen=True)
class GoldenNoise:
    """noise[step, draw] of the file."""

    noise: Tensor

    def at(self, step: int) -> Callable[[int], Tensor]:
        return lambda draw: self.noise[step, draw]


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    with np.load(GOLDEN) as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}


@pytest.mark.parametrize("ramp", ["zero", "above"])
@pytest.mark.parametrize("case", CASES)
def test_the_final_latent_is_that_of_k_diffusion(case, ramp, golden, two_gaussians):
    name, fields = CASES[case]
    noise = GoldenNoise(golden[f"{ramp}/noise"])

    *_, last = integrate(
        SOLVERS[name](**fields), two_gaussians, golden[f"{ramp}/start"], golden[f"{ramp}/sigmas"], noise
    )

    expected = golden[f"{ramp}/{case}"]
    assert float((last.x - expected).norm() / expected.norm()) < 1e-6


def test_every_case_of_the_file_is_compared(golden):
    assert {key.split("/")[1] for key in golden if key.startswith("zero/")} - {"sigmas", "noise", "start"} == set(CASES)


@pytest.mark.parametrize("name", ["uniform", "karras", "exponential", "polyexponential"])
def test_schedules_are_those_of_k_diffusion(name, golden, schedule: NoiseSchedule):
    torch.testing.assert_close(SCHEDULES[name](schedule, 10), golden[f"schedule/{name}"].double(), rtol=2e-6, atol=0)


def test_times_are_those_of_k_diffusion(golden, schedule: NoiseSchedule):
    times = [schedule.t_of(float(level)) for level in golden["schedule/levels"]]

    torch.testing.assert_close(torch.tensor(times), golden["schedule/times"].float(), rtol=1e-6, atol=1e-6)
