"""Pictures of the later families, from words to pixels, against diffusers' pipelines of the same weights and noise."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))
from family_models import make_refiner, make_sd2, make_sdxl, pipeline, write_file

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
