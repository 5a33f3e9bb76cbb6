from __future__ import annotations

import subprocess
import sys

import pytest

from sfumato.errors import RequestError
from sfumato.sampling.names import SAMPLERS, SCHEDULERS, Resolved, resolve


def keys(sampler=None, scheduler=None):
    found = resolve(sampler, scheduler)
    return found.sampler, found.scheduler


def test_nothing_given_is_the_web_ui_s_first_choice():
    assert resolve() == Resolved("dpmpp_2m", "karras", "DPM++ 2M", "Karras")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # AUTOMATIC1111, labels, aliases and names of before 1.9
        ("Euler a", ("euler_a", "uniform")),
        ("DPM++ 2M", ("dpmpp_2m", "karras")),
        ("DPM++ 2M Karras", ("dpmpp_2m", "karras")),
        ("DPM++ 2M SDE Exponential", ("dpmpp_2m_sde", "exponential")),
        ("DPM++ 2M SDE Heun Karras", ("dpmpp_2m_sde_heun", "karras")),
        ("DPM++ 2M SGM Uniform", ("dpmpp_2m", "sgm_uniform")),
        ("DPM2 a Karras", ("dpm2_a", "karras")),
        ("k_dpmpp_2m_ka", ("dpmpp_2m", "karras")),
        ("k_euler_ancestral", ("euler_a", "uniform")),
        ("LMS Karras", ("lms", "karras")),
        ("DDIM", ("ddim", "ddim")),
        # ComfyUI
        ("euler_ancestral", ("euler_a", "uniform")),
        ("dpmpp_2s_ancestral", ("dpmpp_2s_a", "karras")),
        ("dpm_2_ancestral", ("dpm2_a", "karras")),
        ("dpmpp_3m_sde_gpu", ("dpmpp_3m_sde", "exponential")),
        ("uni_pc_bh2", ("unipc", "ddim")),
        # stable-diffusion.cpp
        ("dpm++2s_a", ("dpmpp_2s_a", "karras")),
        ("dpm++2mv2", ("dpmpp_2m", "karras")),
        ("ddim_trailing", ("ddim", "sgm_uniform")),
        # InvokeAI
        ("kdpm_2_a_k", ("dpm2_a", "karras")),
        ("euler_k", ("euler", "karras")),
        ("unipc_k", ("unipc", "karras")),
        ("pndm", ("plms", "ddim")),
        # diffusers
        ("DPMSolverMultistepScheduler", ("dpmpp_2m", "karras")),
        ("EulerDiscreteScheduler", ("euler", "uniform")),
        # in any case and with any gaps
        ("dpm++ 2m KARRAS", ("dpmpp_2m", "karras")),
        ("  Euler-A ", ("euler_a", "uniform")),
    ],
)
def test_spellings_of_samplers(name, expected):
    assert keys(name) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("automatic", "uniform"),
        ("discrete", "uniform"),
        ("ays", "align_your_steps"),
        ("SGMUniform", "sgm_uniform"),
        ("sgm_uniform", "sgm_uniform"),
        ("ddim_uniform", "ddim"),
        ("KL Optimal", "kl_optimal"),
        ("kl_optimal", "kl_optimal"),
    ],
)
def test_spellings_of_schedules(name, expected):
    assert keys("euler", name) == ("euler", expected)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_every_pair_in_every_spelling(sampler, scheduler):
    wanted = sampler.automatic if scheduler.key == "automatic" else scheduler.key
    for spelling in (sampler.key, sampler.label, *sampler.aliases):
        assert keys(spelling, scheduler.label) == (sampler.key, wanted)
        assert keys(f"{spelling} {scheduler.label}") == (sampler.key, wanted)


def test_labels_go_round():
    for sampler in SAMPLERS:
        found = resolve(sampler.label)
        assert resolve(found.sampler_label, found.scheduler_label) == found


def test_no_spelling_means_two_things():
    for entries in (SAMPLERS, SCHEDULERS):
        spelled = [text.lower() for one in entries for text in {one.key, one.label.lower(), *one.aliases}]
        assert len(spelled) == len(set(spelled))


@pytest.mark.parametrize(
    ("sampler", "scheduler", "words"),
    [
        ("Eular", None, "unknown sampler 'Eular'; nearest: 'Euler'"),
        ("DPM++ 2N", None, r"'DPM\+\+ 2M'"),
        ("qqqq", None, "known: DPM"),
        ("", None, "unknown sampler ''"),
        ("Euler", "Karas", "unknown scheduler 'Karas'; nearest: 'Karras'"),
        ("Euler", "", "unknown scheduler ''"),
        ("Karras", None, "unknown sampler 'Karras'"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(sampler, scheduler, words):
    with pytest.raises(RequestError, match=words) as caught:
        resolve(sampler, scheduler)
    assert "\n" not in str(caught.value)


def test_two_schedules_that_contradict_each_other_are_refused():
    with pytest.raises(RequestError, match="'Karras' in its name"):
        resolve("DPM++ 2M Karras", "Exponential")
    assert keys("DPM++ 2M Karras", "Karras") == keys("DPM++ 2M Karras", "Automatic") == ("dpmpp_2m", "karras")


def test_names_need_no_torch():
    code = "import sys, sfumato.sampling.names; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
