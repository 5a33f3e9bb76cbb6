"""The model that comes with the install: what its card says is true, and other programs read it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline

from sfumato import Studio, Txt2ImgRequest
from sfumato.families.models_folder import BUILT_IN

ROOT = Path(__file__).parents[2]
FOLDER = BUILT_IN / "stable-universe"
COLOURS = {"blue": (40, 90, 210), "green": (50, 160, 70), "yellow": (250, 215, 60), "black": (15, 15, 18)}


@pytest.fixture(scope="module")
def studio() -> Studio:
    """The built-in model, as a user gets it."""
    return Studio(device="cpu")


def _claimed() -> list[str]:
    card = (ROOT / "docs/model-card.md").read_text()
    return re.findall(r"```\n(.*?)\n```", card, re.DOTALL)[-1].splitlines()


def test_the_card_claims_the_subjects_that_the_recipe_teaches_first():
    lines = (ROOT / "recipes/stable-universe/subjects.txt").read_text().splitlines()
    taught = [line.split("|")[0].strip() for line in lines if line and not line.startswith("#")]

    assert len(set(_claimed())) >= 400
    assert _claimed() == taught[: len(_claimed())]


def test_its_files_stay_small():
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < 70e6


@pytest.mark.parametrize("colour", COLOURS)
def test_the_background_has_the_colour_of_the_words(studio: Studio, colour: str):
    request = Txt2ImgRequest(
        prompt=f"a red heart on a {colour} background", width=256, height=256, steps=8, seed=1, cfg_scale=3
    )

    pixels = np.asarray(studio.generate(request).images[0]).astype(int)

    border = np.concatenate([pixels[:3].reshape(-1, 3), pixels[-3:].reshape(-1, 3)])
    distance = {name: np.abs(np.median(border, 0) - value).sum() for name, value in COLOURS.items()}
    assert min(distance, key=distance.__getitem__) == colour


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_plain_diffusers_loads_it_and_draws():
    pipeline = StableDiffusionPipeline.from_pretrained(FOLDER, local_files_only=True, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)

    picture = pipeline("a cat", num_inference_steps=2, height=128, width=128, output_type="np").images[0]

    assert picture.shape == (128, 128, 3)
    assert np.isfinite(picture).all()
    assert picture.std() > 0.01
