"""Samplers and schedules by name, in every spelling that people paste. Imports no torch.

Spellings are those of AUTOMATIC1111 (labels and ``k_`` aliases), ComfyUI, stable-diffusion.cpp, InvokeAI and the class
names of diffusers. Case, spaces, hyphens and underscores do not count, and ``++`` is ``pp``.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from sfumato.errors import RequestError, nearest


@dataclass(frozen=True)
class Sampler:
    """One sampler. ``automatic`` is the schedule that it gets when none is named (the web UI's choice)."""

    key: str
    label: str
    aliases: tuple[str, ...]
    automatic: str = "uniform"
    discard_penultimate: bool = False


@dataclass(frozen=True)
class Scheduler:
    """One schedule of noise levels."""

    key: str
    label: str
    aliases: tuple[str, ...] = ()


Entry = TypeVar("Entry", Sampler, Scheduler)


@dataclass(frozen=True)
class Resolved:
    """A sampler and a schedule, nothing left open: keys for the engine, labels for people and files."""

    sampler: str
    scheduler: str
    sampler_label: str
    scheduler_label: str


DEFAULT_SAMPLER = "DPM++ 2M"

SAMPLERS: tuple[Sampler, ...] = (
    Sampler("dpmpp_2m", "DPM++ 2M", ("k_dpmpp_2m", "dpm++2m", "dpm++2mv2", "DPMSolverMultistepScheduler"), "karras"),
    Sampler("dpmpp_sde", "DPM++ SDE", ("k_dpmpp_sde", "dpmpp_sde_gpu", "dpm++sde", "DPMSolverSDEScheduler"), "karras"),
    Sampler("dpmpp_2m_sde", "DPM++ 2M SDE", ("k_dpmpp_2m_sde", "dpmpp_2m_sde_gpu", "dpm++2m_sde"), "exponential"),
    Sampler(
        "dpmpp_2m_sde_heun",
        "DPM++ 2M SDE Heun",
        ("k_dpmpp_2m_sde_heun", "dpmpp_2m_sde_heun_gpu"),
        "exponential",
    ),
    Sampler(
        "dpmpp_2s_a",
        "DPM++ 2S a",
        ("k_dpmpp_2s_a", "dpmpp_2s_ancestral", "dpm++2s_a", "dpmpp_2s", "DPMSolverSinglestepScheduler"),
        "karras",
    ),
    Sampler("dpmpp_3m_sde", "DPM++ 3M SDE", ("k_dpmpp_3m_sde", "dpmpp_3m_sde_gpu", "dpmpp_3m"), "exponential", True),
    Sampler(
        "euler_a", "Euler a", ("k_euler_a", "k_euler_ancestral", "euler_ancestral", "EulerAncestralDiscreteScheduler")
    ),
    Sampler("euler", "Euler", ("k_euler", "EulerDiscreteScheduler")),
    Sampler("lms", "LMS", ("k_lms", "LMSDiscreteScheduler")),
    Sampler("heun", "Heun", ("k_heun", "HeunDiscreteScheduler")),
    Sampler("dpm2", "DPM2", ("k_dpm_2", "dpm_2", "kdpm_2", "KDPM2DiscreteScheduler"), "karras", True),
    Sampler(
        "dpm2_a",
        "DPM2 a",
        ("k_dpm_2_a", "dpm_2_ancestral", "k_dpm_2_ancestral", "kdpm_2_a", "KDPM2AncestralDiscreteScheduler"),
        "karras",
        True,
    ),
    Sampler("restart", "Restart", ("restart_sampler",), "karras"),
    Sampler("ddim", "DDIM", ("DDIMScheduler",), "ddim"),
    Sampler("ddpm", "DDPM", ("DDPMScheduler",), "ddim"),
    Sampler("plms", "PLMS", ("pndm", "PNDMScheduler"), "ddim"),
    Sampler("unipc", "UniPC", ("uni_pc", "uni_pc_bh2", "UniPCMultistepScheduler"), "ddim"),
    Sampler("deis", "DEIS", ("DEISMultistepScheduler",), "ddim"),
    Sampler("lcm", "LCM", ("k_lcm", "LCMScheduler"), "sgm_uniform"),
    Sampler("tcd", "TCD", ("TCDScheduler",), "sgm_uniform"),
)

SCHEDULERS: tuple[Scheduler, ...] = (
    Scheduler("automatic", "Automatic", ("auto", "default")),
    Scheduler("uniform", "Uniform", ("discrete",)),
    Scheduler("karras", "Karras", ("k", "ka")),
    Scheduler("exponential", "Exponential", ("exp",)),
    Scheduler("polyexponential", "Polyexponential"),
    Scheduler("sgm_uniform", "SGM Uniform", ("SGMUniform", "trailing")),
    Scheduler("simple", "Simple"),
    Scheduler("normal", "Normal"),
    Scheduler("ddim", "DDIM", ("ddim_uniform", "leading")),
    Scheduler("beta", "Beta"),
    Scheduler("kl_optimal", "KL Optimal"),
    Scheduler("align_your_steps", "Align Your Steps", ("ays",)),
)


def resolve(sampler: str | None = None, scheduler: str | None = None, automatic: str | None = None) -> Resolved:
    """The sampler and schedule that two names mean; ``None`` is "DPM++ 2M" and "Automatic".

    A sampler may carry its schedule ("DPM++ 2M Karras", "euler_k"). Automatic becomes the sampler's own schedule, or
    the one whose key ``automatic`` is, for models that need it.

    Raises:
        RequestError: a name that is not known, with the nearest ones; or two schedules that contradict each other.

    >>> resolve("dpm++ 2m karras").scheduler_label
    'Karras'
    """
    wanted, fused = _sampler(DEFAULT_SAMPLER if sampler is None else sampler)
    chosen = _scheduler("automatic" if scheduler is None else scheduler)
    if fused is not None:
        if chosen.key not in ("automatic", fused.key):
            raise RequestError(
                f"sampler {sampler!r} has schedule {fused.label!r} in its name, but the scheduler is {scheduler!r}; "
                f"use sampler {wanted.label!r} with the scheduler that you want."
            )
        chosen = fused
    if chosen.key == "automatic":
        chosen = next(one for one in SCHEDULERS if one.key == (automatic or wanted.automatic))
    return Resolved(wanted.key, chosen.key, wanted.label, chosen.label)


def _sampler(name: str) -> tuple[Sampler, Scheduler | None]:
    """A sampler, and the schedule that its name ends in, if any."""
    known, plain = _samplers(), _plain(name)
    if plain in known:
        return known[plain], None
    endings = _schedulers()
    for ending in sorted(endings, key=len, reverse=True):
        rest = plain.removesuffix(ending)
        if rest != plain and rest in known:
            return known[rest], endings[ending]
    raise RequestError(_unknown("sampler", name, SAMPLERS))


def _scheduler(name: str) -> Scheduler:
    try:
        return _schedulers()[_plain(name)]
    except KeyError:
        raise RequestError(_unknown("scheduler", name, SCHEDULERS)) from None


def _plain(name: str) -> str:
    """A spelling with all that does not count taken out.

    >>> _plain("DPM++ 2M"), _plain("k_dpmpp-2m")
    ('dpmpp2m', 'kdpmpp2m')
    """
    return re.sub(r"[\s_\-]+", "", name.lower().replace("++", "pp"))


@functools.cache
def _samplers() -> Mapping[str, Sampler]:
    return _spellings(SAMPLERS)


@functools.cache
def _schedulers() -> Mapping[str, Scheduler]:
    return _spellings(SCHEDULERS)


def _spellings(entries: Sequence[Entry]) -> Mapping[str, Entry]:
    return {_plain(text): one for one in entries for text in (one.key, one.label, *one.aliases)}


def _unknown(kind: str, name: str, entries: Sequence[Sampler] | Sequence[Scheduler]) -> str:
    labels = [one.label for one in entries]
    spellings = [text for one in entries for text in one.aliases]
    hint = nearest(name, labels) or nearest(name, spellings) or "known: " + ", ".join(labels)
    return f"unknown {kind} {name!r}; {hint}. `sfumato samplers` lists all."
