"""The exact plan of a diffusers scheduler, for whoever must match ``StableDiffusionPipeline``.

A plan has the levels for :func:`sfumato.sampling.integrate.integrate` and the two scales at its ends. With it

    x = unit_noise * plan.start_scale
    x = last step of integrate(make(sampler), denoise, x, plan.sigmas, noise)
    latent = x * plan.end_scale

gives the latent of the pipeline with the same scheduler, steps and noise. Spacings are those of table 2 in Lin et al.
2023 as diffusers 0.42 computes them. (Its DDIM, DDPM and PNDM step back by ``count // steps`` whatever the spacing;
only ``leading``, and ``trailing`` where steps divides count, lead from each time to the next, and only they can match.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from sfumato.errors import RequestError
from sfumato.sampling.noise_schedule import NoiseSchedule

Spacing = Literal["leading", "linspace", "trailing", "distilled"]
Final = Literal["zero", "sigma_min"]

#: Times that LCM and TCD models were distilled on, out of all (diffusers ``original_inference_steps``).
DISTILLED_STEPS = 50


@dataclass(frozen=True)
class Kind:
    """What is particular to a diffusers scheduler class: its defaults under Stable Diffusion 1.5's configuration."""

    spacing: Spacing
    final: Final
    #: Whether it divides the times into steps + 1 parts and leaves the last out.
    extra_point: bool = False
    #: Whether its latent is in sigma space (Euler), or scaled to unit variance (all others).
    sigma_space: bool = False


KINDS: Mapping[str, Kind] = {
    "ddim": Kind("leading", "sigma_min"),
    "ddpm": Kind("leading", "zero"),
    "plms": Kind("leading", "sigma_min"),
    "euler": Kind("linspace", "zero", sigma_space=True),
    "euler_a": Kind("linspace", "zero", sigma_space=True),
    "dpmpp_2m": Kind("linspace", "zero", extra_point=True),
    "unipc": Kind("linspace", "zero", extra_point=True),
    "deis": Kind("linspace", "sigma_min", extra_point=True),
    "lcm": Kind("distilled", "zero"),
    "tcd": Kind("distilled", "sigma_min"),
}


@dataclass(frozen=True, eq=False)
class Plan:
    """Times and levels of one run.

    Attributes:
        timesteps: what the network is told, one for each step.
        sigmas: (steps + 1,) float64, falling; the last is 0 or the least level of the model.
        start_scale: factor from unit noise to the first latent in sigma space.
        end_scale: factor from the last latent in sigma space to the pipeline's.
    """

    timesteps: tuple[float, ...]
    sigmas: Tensor
    start_scale: float
    end_scale: float


def plan(
    sampler: str,
    schedule: NoiseSchedule,
    steps: int,
    *,
    spacing: Spacing | None = None,
    steps_offset: int = 1,
    final: Final | None = None,
) -> Plan:
    """The plan of the diffusers scheduler that corresponds to a sampler.

    Args:
        sampler: a key of ``KINDS``.
        spacing: ``timestep_spacing``; ``None`` is what ``SchedulerClass.from_config`` gives for Stable Diffusion 1.5
            (``leading`` for DDIM and PNDM, ``linspace`` for Euler, DPM++ 2M, UniPC and DEIS).
        steps_offset: 1 in Stable Diffusion's configuration; counts for ``leading`` only.
        final: where the last step ends: ``zero`` (``set_alpha_to_one=True``, ``final_sigmas_type="zero"``) or
            ``sigma_min`` (``set_alpha_to_one=False``, as Stable Diffusion has it for DDIM and PNDM). ``None`` is the
            class's value for Stable Diffusion 1.5.

    Raises:
        RequestError: a sampler without a diffusers scheduler, or more steps than there are times.
    """
    if sampler not in KINDS:
        raise RequestError(f"sampler {sampler!r} has no diffusers plan; those that have one: {', '.join(KINDS)}.")
    if not 1 <= steps <= len(schedule):
        raise RequestError(f"steps is {steps}; give a value from 1 to {len(schedule)}.")
    kind = KINDS[sampler]
    spacing = kind.spacing if spacing is None else spacing
    times = spaced(spacing, steps, len(schedule), steps_offset, extra_point=kind.extra_point)
    if not kind.sigma_space:
        times = tuple(float(round(t)) for t in times)
    if max(times) > len(schedule) - 1:
        raise RequestError(
            f"{steps} steps with steps_offset {steps_offset} go beyond the last of {len(schedule)} times."
        )
    end = 0.0 if (kind.final if final is None else final) == "zero" else schedule.sigma_min
    levels = [_level(schedule, t) for t in times]
    unit = math.sqrt(1 + levels[0] ** 2)
    return Plan(
        timesteps=times,
        sigmas=torch.tensor([*levels, end], dtype=torch.float64),
        start_scale=levels[0] if kind.sigma_space and spacing != "leading" else unit,
        end_scale=1.0 if kind.sigma_space else 1 / math.sqrt(1 + end**2),
    )


def spaced(spacing: Spacing, steps: int, count: int, offset: int, *, extra_point: bool = False) -> tuple[float, ...]:
    """The times of a run, falling.

    >>> spaced("leading", 4, 1000, 1)
    (751.0, 501.0, 251.0, 1.0)
    >>> spaced("trailing", 4, 1000, 1)
    (999.0, 749.0, 499.0, 249.0)
    >>> spaced("distilled", 4, 1000, 1)
    (999.0, 759.0, 499.0, 259.0)
    """
    if spacing == "leading":
        stride = count // (steps + extra_point)
        first = 1 if extra_point else 0
        return tuple(float(k * stride + offset) for k in reversed(range(first, steps + first)))
    if spacing == "trailing":
        return tuple(round(count - k * count / steps) - 1.0 for k in range(steps))
    if spacing == "distilled":
        stride = count // DISTILLED_STEPS
        trained = [k * stride - 1.0 for k in range(DISTILLED_STEPS, 0, -1)]
        return tuple(trained[int(k * len(trained) / steps)] for k in range(steps))
    parts = steps if extra_point else max(steps - 1, 1)
    top = count - 1.0 if steps > 1 or extra_point else 0.0
    return tuple(top - k * (count - 1) / parts for k in range(steps))


def _level(schedule: NoiseSchedule, t: float) -> float:
    """The noise level of a time; between two trained ones linear in sigma, as diffusers interpolates."""
    low = min(int(t), len(schedule) - 2)
    pair = schedule.sigmas[low : low + 2].tolist()
    return pair[0] + (t - low) * (pair[1] - pair[0])
