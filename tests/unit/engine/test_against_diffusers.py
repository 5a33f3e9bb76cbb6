"""Our whole pipeline against ``StableDiffusionPipeline`` on the same weights, noise and text."""

import sys
from pathlib import Path

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
    UniPCMultistepScheduler,
)
from transformers import CLIPTokenizer

sys.path.insert(0, str(Path(__file__).parents[2]))
from checkpoints import make_networks, write_ldm

from sfumato import Studio
from sfumato.families import tokens
from sfumato.families.decode import decode
from sfumato.families.text import read
from sfumato.sampling import reference
from sfumato.sampling.denoiser import wrap
from sfumato.sampling.integrate import integrate
from sfumato.sampling.solvers import make

SCHEDULERS = {
    "ddim": DDIMScheduler,
    "euler": EulerDiscreteScheduler,
    "dpmpp_2m": DPMSolverMultistepScheduler,
    "unipc": UniPCMultistepScheduler,
}
STEPS, SCALE = 8, 5.0
PROMPT, NEGATIVE = "a lighthouse at dusk, oil painting", "blurry"


class NoNoise:
    """For solvers that take none."""

    def at(self, step):
        return lambda draw: torch.zeros(1)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A tiny LDM file, in our engine in float32 and as the networks that made it."""
    networks = make_networks(seed=3)
    path = write_ldm(tmp_path_factory.mktemp("m") / "m.safetensors", *networks)
    return Studio(path, device="cpu", precision="full").load(), networks


def _pipeline(networks, name, prediction):
    unet, coder, text = networks
    scheduler = SCHEDULERS[name](
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type=prediction, steps_offset=1,
        **({"set_alpha_to_one": False, "clip_sample": False} if name == "ddim" else {}),
    )  # fmt: skip
    clip = tokens.clip()._tokenizer.model
    clip.save(str(_pipeline.folder))
    tokenizer = CLIPTokenizer(
        str(_pipeline.folder / "vocab.json"), str(_pipeline.folder / "merges.txt"), model_max_length=77,
        pad_token="<|endoftext|>",
    )  # fmt: skip
    pipeline = StableDiffusionPipeline(
        coder, text, tokenizer, unet, scheduler, None, None, requires_safety_checker=False
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_latents_and_pixels_are_those_of_diffusers(tiny, tmp_path, name, prediction):
    model, networks = tiny
    _pipeline.folder = tmp_path
    noise = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(1))
    pipeline = _pipeline(networks, name, prediction)
    options = {"num_inference_steps": STEPS, "guidance_scale": SCALE, "latents": noise, "height": 32, "width": 32}
    theirs = pipeline(PROMPT, negative_prompt=NEGATIVE, output_type="latent", **options).images
    with torch.inference_mode():
        their_pixels = pipeline.vae.decode(theirs / pipeline.vae.config.scaling_factor).sample / 2 + 0.5

    words = [read(model.networks, ((text, 1.0),)).context for text in (PROMPT, NEGATIVE)]

    def network(x, t):
        cond, uncond = (model.networks.unet(x, t, w).sample for w in words)
        return uncond + SCALE * (cond - uncond)

    plan = reference.plan(name, model.schedule, STEPS)
    with torch.inference_mode():
        denoise = wrap(network, prediction, model.schedule)
        x = noise * plan.start_scale
        for step in integrate(make(name, 0.0, model.schedule), denoise, x, plan.sigmas, NoNoise()):
            x = step.x
        ours = x * plan.end_scale
        our_pixels = decode(model.networks, ours)

    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-3)
    assert (our_pixels - their_pixels).abs().mean() < 1 / 255
