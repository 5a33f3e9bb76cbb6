"""Restart sampling (Xu et al. 2023) with the web UI's choice of intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from sfumato.sampling.denoiser import Denoise
from sfumato.sampling.solvers.base import Noise, Solver, State
from sfumato.sampling.solvers.heun import heun_step

#: The web UI goes back from about 0.1 to about 2, once from 20 steps and twice from 36.
LOW, HIGH = 0.1, 2.0
ONCE, TWICE = 20, 36
STEPS_BACK = 9


@dataclass(frozen=True)
class Restart(Solver):
    """Heun's method that, on the way down, adds noise again and repeats an interval.

    From 20 steps on, the given levels are replaced by a Karras ramp between the same ends, with the repeated intervals
    in it; the number of steps stays. Noise is added at the beginning of the first step of a repeat. Step i is always
    the same for the same levels, so a run can resume anywhere.
    """

    name = "restart"
    order = 2

    s_noise: float = 1.0

    @property
    def stochastic(self) -> bool:
        return True

    def step(
        self, denoise: Denoise, x: Tensor, sigmas: Sequence[float], i: int, state: State, noise: Noise
    ) -> tuple[Tensor, State]:
        path = intervals(sigmas)
        sigma, sigma_next = path[i]
        if i > 0 and path[i - 1][1] < sigma:
            x = x + noise(0) * (self.s_noise * math.sqrt(sigma**2 - path[i - 1][1] ** 2))
        return heun_step(denoise, x, sigma, sigma_next), state


def intervals(sigmas: Sequence[float]) -> list[tuple[float, float]]:
    """From and to which level each step goes; as many steps as the levels have.

    After ``modules/sd_samplers_extra.py`` of AUTOMATIC1111. Where no interval fits (levels that do not span 0.1 to 2
    and end at 0), the plain steps.
    """
    steps = len(sigmas) - 1
    plain = list(pairwise(sigmas))
    if steps < ONCE or sigmas[-1] > 0:
        return plain
    back, times = (STEPS_BACK, 1) if steps < TWICE else (steps // 4, 2)
    ramp = [*_ramp(steps - back * times, sigmas[0], sigmas[-2]), 0.0]
    low, high = _closest(ramp, LOW), _closest(ramp, HIGH)
    if not high < low < len(ramp) - 1:
        return plain
    repeat = _ramp(back + 1, ramp[high], ramp[low])
    levels = list(pairwise(ramp))
    return levels[:low] + list(pairwise(repeat)) * times + levels[low:]


def _ramp(count: int, high: float, low: float) -> list[float]:
    """Karras et al. 2022, equation 5."""
    first, last = high ** (1 / 7), low ** (1 / 7)
    return [(first + (last - first) * k / (count - 1)) ** 7 for k in range(count)]


def _closest(levels: Sequence[float], wanted: float) -> int:
    return min(range(len(levels)), key=lambda k: abs(levels[k] - wanted))
