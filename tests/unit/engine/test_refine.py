"""A second model for the last steps, against diffusers' way of two pipelines on the same weights and noise."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))
from family_models import make_refiner, make_sd3, make_sdxl, pipeline, write_file

from sfumato import Hires, Studio, Txt2ImgRequest
from sfumato.errors import CheckpointError, RequestError
from sfumato.gallery import infotext
from sfumato.runtime.rng import BatchNoise

WIDTH, HEIGHT, STEPS, SCALE = 96, 64, 10, 5.0
PROMPT = "a lighthouse at dusk, oil painting"
REQUEST = Txt2ImgRequest(
    prompt=PROMPT, negative_prompt="blurry", seed=5, steps=STEPS, width=WIDTH, height=HEIGHT, cfg_scale=SCALE,
    sampler="DDIM", refiner="fine", refiner_switch_at=0.4,
)  # fmt: skip
ROUNDED = 0.3


@pytest.fixture(scope="module")
def studio(tmp_path_factory) -> Studio:
    """A base; its refiner and a model of another family lie beside it."""
    folder = tmp_path_factory.mktemp("models")
    write_file(folder / "base.safetensors", make_sdxl(seed=3))
    write_file(folder / "fine.safetensors", make_refiner(seed=4))
    write_file(folder / "other.safetensors", make_sd3(seed=5))
    return Studio("base", device="cpu", precision="full", models_folders=[folder])


def _pixels(result):
    return np.asarray(result.images[0], dtype=float)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_the_picture_is_that_of_diffusers_two_pipelines(studio, tmp_path):
    noise = BatchNoise((5,), (4, HEIGHT // 2, WIDTH // 2), torch.device("cpu")).initial()
    words = {"negative_prompt": "blurry", "num_inference_steps": STEPS, "guidance_scale": SCALE}
    begun = pipeline(make_sdxl(seed=3), tmp_path / "a")(
        PROMPT, latents=noise, height=HEIGHT, width=WIDTH, denoising_end=0.4, output_type="latent", **words
    ).images
    base_vae = make_sdxl(seed=3).vae
    refiner = make_refiner(seed=4)
    refiner = replace(refiner, vae=base_vae)
    theirs = pipeline(refiner, tmp_path / "b", image=True)(
        PROMPT, image=begun, denoising_start=0.4, original_size=(HEIGHT, WIDTH), output_type="np", **words
    ).images[0]

    ours = _pixels(studio.generate(REQUEST))

    assert np.abs(ours - theirs * 255).mean() < ROUNDED
    assert np.abs(ours - _pixels(studio.generate(replace(REQUEST, refiner=None)))).mean() > 1


def test_it_goes_on_after_the_switch_with_the_same_bits(studio):
    points = []
    whole = studio.generate(REQUEST, on_step=lambda event: points.append(event.resume))

    for point in (points[4], points[8]):
        assert np.array_equal(_pixels(whole), _pixels(studio.generate(REQUEST, resume=point)))


def test_the_metadata_name_it_and_give_the_request_back(studio):
    info = studio.generate(REQUEST).infos[0]

    assert info.extra["Refiner"].startswith("fine [")
    found = infotext.to_request(infotext.parse(infotext.write(info)))
    assert (found.refiner, found.refiner_switch_at) == ("fine", 0.4)


def test_of_two_passes_it_ends_the_second(studio):
    request = replace(REQUEST, hires=Hires(scale=2, steps=4, denoising_strength=0.5))
    first = replace(request, refiner_switch_at=1.0)

    refined, plain = studio.generate(request), studio.generate(first)

    assert refined.images[0].size == (2 * WIDTH, 2 * HEIGHT)
    assert np.abs(_pixels(refined) - _pixels(plain)).mean() > 1


def test_at_zero_it_draws_every_step(studio):
    alone = Studio("fine", device="cpu", precision="full", models_folders=studio._folders)
    request = replace(REQUEST, refiner_switch_at=0)

    ours, theirs = studio.generate(request), alone.generate(replace(request, refiner=None))

    assert np.abs(_pixels(ours) - _pixels(theirs)).mean() > 1  # decoded by another autoencoder
    assert ours.infos[0].model == "base"


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"refiner": "other"}, RequestError, "the refiner 'other' can't go on"),
        ({"refiner": "fien"}, CheckpointError, "nearest: 'fine'"),
        ({"refiner_switch_at": 1.5}, RequestError, "refiner_switch_at is 1.5; give a value from 0 to 1"),
    ],
)
def test_what_can_not_refine_is_said(studio, change, error, words):
    with pytest.raises(error, match=words):
        studio.generate(replace(REQUEST, **change))


def test_the_plan_counts_both(studio):
    assert studio.plan(64, 64, refiner="fine").peak > studio.plan(64, 64).peak + 1e6
