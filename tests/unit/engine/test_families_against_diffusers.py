"""Pictures of the later families, from words to pixels, against diffusers' pipelines of the same weights and noise."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))
from family_models import make_refiner, make_sd2, make_sd3, make_sdxl, pipeline, write_file

from sfumato import Studio, Txt2ImgRequest
from sfumato.runtime.rng import BatchNoise

WIDTH, HEIGHT, STEPS, SCALE = 96, 64, 6, 5.0
PROMPT = "a lighthouse at dusk, oil painting"
#: Pixels are rounded to whole levels, which is a quarter of a level in the mean.
ROUNDED = 0.3


def _theirs(model, folder, prediction, negative):
    image = model.family == "sdxl-refiner"
    noise = BatchNoise((5,), (4, HEIGHT // 2, WIDTH // 2), torch.device("cpu")).initial()
    size = {"image": torch.zeros(1, 3, HEIGHT, WIDTH), "strength": 1.0} if image else {"height": HEIGHT, "width": WIDTH}
    return pipeline(model, folder, prediction, image)(
        PROMPT, negative_prompt=negative or None, latents=noise, num_inference_steps=STEPS, guidance_scale=SCALE,
        output_type="np", **size,
    ).images[0]  # fmt: skip


@pytest.mark.parametrize(
    ("make", "said", "negative"),
    [
        (make_sd2, "epsilon", "blurry"),
        (make_sd2, "v_prediction", ""),
        (make_sdxl, "epsilon", "blurry"),
        (make_sdxl, "v_prediction", ""),
        (make_refiner, "epsilon", "blurry"),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_a_picture_is_that_of_diffusers(tmp_path, make, said, negative):
    model = make(seed=3)
    metadata = {"modelspec.prediction_type": said.removesuffix("_prediction")}
    studio = Studio(write_file(tmp_path / "m.safetensors", model, metadata), device="cpu", precision="full")
    request = Txt2ImgRequest(
        prompt=PROMPT, negative_prompt=negative, seed=5, steps=STEPS, width=WIDTH, height=HEIGHT, cfg_scale=SCALE,
        sampler="DDIM",
    )  # fmt: skip

    ours = np.asarray(studio.generate(request).images[0], dtype=float)
    theirs = _theirs(model, tmp_path / "t", said, negative) * 255

    assert np.abs(ours - theirs).mean() < ROUNDED
    assert ours.std() > 20


@pytest.mark.parametrize("kind", [{}, {"twice": (0,), "normed": True}, {"t5": True}])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_a_flow_models_picture_is_that_of_diffusers(tmp_path, kind):
    model = make_sd3(seed=3, **kind)
    studio = Studio(write_file(tmp_path / "m.safetensors", model), device="cpu", precision="full")
    request = Txt2ImgRequest(
        prompt=PROMPT, negative_prompt="blurry", seed=5, steps=STEPS, width=WIDTH, height=HEIGHT, cfg_scale=SCALE,
        sampler="Euler",
    )  # fmt: skip
    noise = BatchNoise((5,), (16, HEIGHT // 2, WIDTH // 2), torch.device("cpu")).initial()

    ours = np.asarray(studio.generate(request).images[0], dtype=float)
    theirs = pipeline(model, tmp_path / "t")(
        PROMPT, negative_prompt="blurry", latents=noise, sigmas=np.linspace(1, 1e-3, STEPS).tolist(), height=HEIGHT,
        width=WIDTH, num_inference_steps=STEPS, guidance_scale=SCALE, output_type="np",
    ).images[0] * 255  # fmt: skip

    assert np.abs(ours - theirs).mean() < 2 * ROUNDED  # their first time has no picture at all, ours a ten-thousandth
    assert ours.std() > 20
