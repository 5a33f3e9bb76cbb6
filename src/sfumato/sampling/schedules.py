"""Which noise levels a picture is drawn at: one function for each schedule of the web UI.

Each takes the model's noise schedule and the number of steps, and gives ``steps + 1`` levels (float64, on the CPU)
that fall strictly and end at 0. Formulas are those of AUTOMATIC1111 1.10 (``modules/sd_schedulers.py``) over
k-diffusion, except where a comment says otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from sfumato.errors import RequestError
from sfumato.sampling.names import SAMPLERS
from sfumato.sampling.noise_schedule import NoiseSchedule
from sfumato.sampling.special import beta_quantile

Schedule = Callable[[NoiseSchedule, int], Tensor]

#: Karras et al. 2022, table 1.
KARRAS_RHO = 7.0
#: Lee et al. 2024, "Beta Sampling is All You Need".
BETA_SHAPE = (0.6, 0.6)
#: Sabour et al. 2024, "Align Your Steps": ten steps for Stable Diffusion 1.5; others by log-linear interpolation.
ALIGNED = (14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029)


def uniform(schedule: NoiseSchedule, steps: int) -> Tensor:
    """Times evenly spaced from the last to 0 (k-diffusion ``DiscreteSchedule.get_sigmas``)."""
    return _close(schedule.sigma_of(t) for t in _even(len(schedule) - 1.0, 0.0, steps))


def karras(schedule: NoiseSchedule, steps: int) -> Tensor:
    """Evenly spaced in sigma^(1/7) (Karras et al. 2022, equation 5)."""
    high, low = schedule.sigma_max ** (1 / KARRAS_RHO), schedule.sigma_min ** (1 / KARRAS_RHO)
    return _close(root**KARRAS_RHO for root in _even(high, low, steps))


def exponential(schedule: NoiseSchedule, steps: int) -> Tensor:
    """Evenly spaced in log sigma."""
    return _close(map(math.exp, _even(math.log(schedule.sigma_max), math.log(schedule.sigma_min), steps)))


def polyexponential(schedule: NoiseSchedule, steps: int) -> Tensor:
    """A power of an even ramp in log sigma; at the web UI's power, 1, the same as Exponential."""
    return exponential(schedule, steps)


def sgm_uniform(schedule: NoiseSchedule, steps: int) -> Tensor:
    """Times evenly spaced, the one after the last step being 0 ("trailing" in Lin et al. 2023)."""
    return _close(schedule.sigma_of(t) for t in _even(len(schedule) - 1.0, 0.0, steps + 1)[:-1])


def simple(schedule: NoiseSchedule, steps: int) -> Tensor:
    """Trained times only, evenly counted from the noisy end."""
    _check_steps(schedule, steps, "Simple")
    stride = len(schedule) / steps
    return _close(float(schedule.sigmas[-1 - int(k * stride)]) for k in range(steps))


def normal(schedule: NoiseSchedule, steps: int) -> Tensor:
    """Times evenly spaced between those of the greatest and the least noise; for a discrete model that is Uniform."""
    return uniform(schedule, steps)


def ddim(schedule: NoiseSchedule, steps: int) -> Tensor:
    """Trained times 1, 1 + k, 1 + 2k, … with k = count // steps, as LDM and diffusers' "leading" spacing count them.

    LDM and the web UI take one time too many where steps does not divide count (30 steps become 31); this takes
    ``steps`` of them from the quiet end, as diffusers does.
    """
    _check_steps(schedule, steps, "DDIM")
    stride = len(schedule) // steps
    first = min(1, len(schedule) - 1 - stride * (steps - 1))
    return _close(float(schedule.sigmas[first + k * stride]) for k in reversed(range(steps)))


def beta(schedule: NoiseSchedule, steps: int) -> Tensor:
    """Quantiles of Beta(0.6, 0.6) between the least and the greatest sigma: many steps at both ends.

    In sigma, as the web UI and diffusers (``use_beta_sigmas``) compute it; ComfyUI takes the quantiles in time.
    """
    low, high = schedule.sigma_min, schedule.sigma_max
    return _close(low + (high - low) * beta_quantile(p, *BETA_SHAPE) for p in _even(1.0, 0.0, steps))


def kl_optimal(schedule: NoiseSchedule, steps: int) -> Tensor:
    """Evenly spaced in the angle whose tangent is sigma (Sabour et al. 2024, section 3).

    ComfyUI's form, which reaches the least sigma one step before 0; the web UI's stops at the least sigma.
    """
    return _close(map(math.tan, _even(math.atan(schedule.sigma_max), math.atan(schedule.sigma_min), steps)))


def align_your_steps(schedule: NoiseSchedule, steps: int) -> Tensor:
    """The table of Sabour et al. 2024 for Stable Diffusion 1.5, interpolated linearly in log sigma."""
    levels = []
    for place in _even(0.0, len(ALIGNED) - 1.0, steps):
        low = min(int(place), len(ALIGNED) - 2)
        ratio = ALIGNED[low + 1] / ALIGNED[low]
        levels.append(ALIGNED[low] * ratio ** (place - low))
    return _close(levels)


SCHEDULES: Mapping[str, Schedule] = {
    "automatic": uniform,  # what the web UI uses for samplers that have no schedule of their own
    "uniform": uniform,
    "karras": karras,
    "exponential": exponential,
    "polyexponential": polyexponential,
    "sgm_uniform": sgm_uniform,
    "simple": simple,
    "normal": normal,
    "ddim": ddim,
    "beta": beta,
    "kl_optimal": kl_optimal,
    "align_your_steps": align_your_steps,
}


def sigmas_for(sampler: str, scheduler: str, schedule: NoiseSchedule, steps: int) -> Tensor:
    """The levels for a resolved pair of names: the schedule, shaped as this sampler needs it.

    Some samplers (DPM2, DPM2 a, DPM++ 3M SDE) do badly on the last tiny step; like the web UI this makes one level
    more and leaves out the last but one ("discard next-to-last sigma").

    Args:
        sampler, scheduler: keys, as :func:`sfumato.sampling.names.resolve` gives them.

    Raises:
        RequestError: more steps than the schedule can give for this model.
    """
    if not next(one.discard_penultimate for one in SAMPLERS if one.key == sampler):
        return SCHEDULES[scheduler](schedule, steps)
    levels = SCHEDULES[scheduler](schedule, steps + 1)
    return torch.cat([levels[:-2], levels[-1:]])


def _even(first: float, last: float, count: int) -> Sequence[float]:
    """``count`` numbers evenly spaced from first to last; only ``first`` for a count of one."""
    return torch.linspace(first, last, count, dtype=torch.float64).tolist()


def _close(levels: Iterable[float]) -> Tensor:
    """The levels and the final 0."""
    return torch.tensor([*levels, 0.0], dtype=torch.float64)


def _check_steps(schedule: NoiseSchedule, steps: int, label: str) -> None:
    if steps > len(schedule):
        raise RequestError(
            f"schedule {label!r} has at most {len(schedule)} steps on this model, and {steps} are asked for; "
            "take fewer steps, or schedule 'Karras'."
        )
