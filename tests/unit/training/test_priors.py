"""Pictures that the base model draws so as not to forget: which, how many, once, and learned along."""

import json
from pathlib import Path

import pytest
from PIL import Image

from sfumato.families.folder import RECOMMENDED
from sfumato.training import priors
from sfumato.training.run import with_recommended
from sfumato.training.settings import DataSettings, MethodSettings, TrainSettings


def _prompts(base, **options):
    return priors.prompts(DataSettings(data_dir=Path(), **options), base)


def test_the_user_decides_before_the_model(tmp_path, ldm_file):
    (tmp_path / RECOMMENDED).write_text(json.dumps({"class_prompts": ["a cat", "a dog"]}))

    assert _prompts(tmp_path) == ["a cat", "a dog"]
    assert _prompts(tmp_path, class_pictures=3) == ["a cat", "a dog", "a cat"]
    assert _prompts(tmp_path, class_pictures=0) == []
    assert _prompts(tmp_path, reg_dir=tmp_path) == []
    assert _prompts(tmp_path, class_prompt="a tree", class_pictures=2) == ["a tree"] * 2
    assert _prompts(ldm_file) == []
    assert len(_prompts(ldm_file, class_prompt="a tree")) == priors.FOR_A_PROMPT


@pytest.mark.parametrize("resumed", [False, True])
def test_they_are_drawn_once_and_learned_along(trained, make_run, resumed):
    data = {"class_prompt": "a wall", "class_pictures": 2, "prior_weight": 0.5}
    run, _ = trained(data=data, max_steps=2, save_every=1)
    drawn = sorted((run.places.run / "class").glob("*.png"))
    first = [path.stat().st_mtime_ns for path in drawn]

    assert len(drawn) == 2
    with Image.open(drawn[0]) as picture:
        assert (picture.size, picture.info["prompt"]) == ((128, 128), "a wall")
    assert [item.weight for item in run.dataset.items] == [1, 1, 1, 1, 0.5, 0.5]
    assert len(run.batches.order) == 6
    if resumed:
        again = make_run(data=data, max_steps=3)
        again.start("latest", lambda step: None)
        assert [path.stat().st_mtime_ns for path in drawn] == first


def test_a_lora_is_as_the_model_recommends_where_the_user_does_not_say(tmp_path, ldm_file):
    lora = {"targets": "all", "alpha_per_rank": 4, "train_text_encoder": True, "lr_scheduler": "cosine"}
    (tmp_path / RECOMMENDED).write_text(json.dumps({"lora": lora}))

    def settled(what=None, base=tmp_path, **options):
        found = with_recommended(
            TrainSettings(data=DataSettings(data_dir=Path()), what=MethodSettings(**(what or {})), **options), base
        )
        return found.what.targets, found.what.alpha, found.what.train_text_encoder, found.lr_schedule

    assert settled() == ("all", 64, True, "cosine")
    said = {"targets": "attention", "alpha": 8.0, "train_text_encoder": False}
    assert settled(said, lr_schedule="linear") == ("attention", 8, False, "linear")
    assert settled(base=ldm_file) == ("transformer", 16, False, "constant")
    assert settled({"method": "full"})[2:] == (False, "constant")
