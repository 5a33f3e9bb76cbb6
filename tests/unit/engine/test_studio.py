"""A studio on a tiny model: seeds, batches, prompts, limits, sizes, and networks that fail."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))
from checkpoints import make_networks, write_ldm

from sfumato import Studio, Txt2ImgRequest
from sfumato.engine import passes
from sfumato.engine.resolve import resolve
from sfumato.errors import NumericError, RequestError
from sfumato.families.base import Spec

REQUEST = Txt2ImgRequest(prompt="a cat", width=32, height=32, steps=3, seed=5, sampler="Euler a")


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    path = write_ldm(tmp_path_factory.mktemp("m") / "tiny.safetensors", *make_networks(seed=1))
    return Studio(path, device="cpu", precision="full")


def _pixels(image):
    return np.asarray(image).astype(int)


def test_the_same_request_gives_the_same_bits(studio):
    first, second = (studio.generate(REQUEST).images[0] for _ in range(2))

    assert (_pixels(first) == _pixels(second)).all()


@pytest.mark.parametrize("sampler", ["Euler a", "DPM++ 2M SDE", "LCM", "DDPM"])
def test_picture_k_of_a_batch_is_the_single_picture_of_seed_plus_k(studio, sampler):
    request = replace(REQUEST, sampler=sampler)
    batch = studio.generate(replace(request, batch_size=3))

    for k, image in enumerate(batch.images):
        alone = studio.generate(replace(request, seed=5 + k)).images[0]
        assert batch.infos[k].seed == 5 + k
        assert np.abs(_pixels(image) - _pixels(alone)).max() <= 1


@pytest.mark.parametrize(
    "prompt",
    ["", "(a:1.4) [b] BREAK c", "a AND b :0.3", "[a:b:2] [c|d]", "word " * 120, "a :0.5"],
)
def test_every_kind_of_prompt_draws(studio, prompt):
    assert studio.generate(replace(REQUEST, prompt=prompt, negative_prompt="[x:y:0.5]", clip_skip=2)).images


def test_a_schedule_changes_the_picture_from_its_step_on(studio):
    plain, late, never = (
        _pixels(studio.generate(replace(REQUEST, prompt=p)).images[0]) for p in ("a", "[a:b:2]", "[a:b:3]")
    )

    assert (plain == never).all()
    assert (plain != late).any()


def test_guidance_of_one_ignores_the_negative_prompt(studio):
    request = replace(REQUEST, cfg_scale=1)
    one, other = (_pixels(studio.generate(replace(request, negative_prompt=n)).images[0]) for n in ("x", "y"))

    assert (one == other).all()


@pytest.mark.parametrize(("given", "used"), [(None, 2.5), (0.0, 0.0), (4.0, 4.0)])
def test_a_model_recommends_its_guidance_and_the_request_decides(given, used):
    assert resolve(replace(REQUEST, cfg_scale=given), Spec(name="x", cfg_scale=2.5)).cfg_scale == used


def test_all_of_how_it_was_made_is_told(studio):
    info = studio.generate(REQUEST).infos[0]

    assert (info.model, info.sampler, info.seed, info.width) == ("tiny", "Euler a", 5, 32)
    assert len(info.model_hash) == 10
    assert info.seconds.total >= info.seconds.sample > 0
    assert info.peak_memory_bytes > 1e8


def test_a_step_can_be_the_last(studio):
    seen = []

    def stop(event):
        seen.append(event.step)
        if event.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        studio.generate(replace(REQUEST, steps=50), on_step=stop)

    assert seen == [1, 2]


def test_a_network_that_fails_names_stage_and_step(tmp_path):
    unet, coder, text = make_networks(seed=1)
    with torch.no_grad():
        unet.conv_out.bias[0] = float("nan")
    broken = Studio(write_ldm(tmp_path / "m.safetensors", unet, coder, text), device="cpu", precision="full")

    with pytest.raises(NumericError, match="sampling, step 1"):
        broken.generate(REQUEST)


def test_a_picture_far_above_the_models_size_takes_two_passes(studio, monkeypatch):
    spec = replace(studio.load().networks.spec, native_size=(16, 16))
    monkeypatch.setattr(studio.load().networks, "spec", spec)
    wished, total = 32, []

    assert passes.automatic(REQUEST, *spec.native_size, spec) is None
    assert passes.automatic(REQUEST, wished, wished, spec)[0] == spec.native_size
    info = studio.generate(replace(REQUEST, width=wished, height=wished), on_step=lambda e: total.append(e.steps))

    assert info.images[0].size == (wished, wished)
    assert info.infos[0].extra["Hires resize"] == "32x32"
    assert total == [4] * 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 30}, "not a multiple of 8.*try 32"),
        ({"width": 100_000}, "from 8 to 16384"),
        ({"width": 8192, "height": 8192}, "megapixels"),
        ({"steps": 0}, "steps is 0"),
        ({"steps": 100_000}, "steps is 100000"),
        ({"sampler": "Eular"}, "'Euler'"),
        ({"seed": -3}, "seed is -3"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"clip_skip": 0}, "clip_skip"),
        ({"cfg_scale": float("nan")}, "cfg_scale"),
    ],
)
def test_what_cant_be_drawn_is_refused(change, message):
    with pytest.raises(RequestError, match=message):
        resolve(replace(REQUEST, **change), Spec(name="sd1"))


def test_words_alone_are_refused_by_a_model_that_changes_a_picture():
    with pytest.raises(RequestError, match="change a picture by words, so words alone can't be drawn with it; give"):
        resolve(REQUEST, Spec(name="sd1", beside="edit"))


def test_an_open_request_takes_the_models_size_and_a_fresh_seed():
    request = Txt2ImgRequest(prompt="", batch_size=2)
    one, other = (resolve(request, Spec(name="sd1", native_size=(64, 96))) for _ in range(2))

    assert (one.width, one.height) == (64, 96)
    assert one.seeds[1] == one.seeds[0] + 1
    assert one.seeds != other.seeds


def test_seed_zero_is_a_seed():
    assert resolve(replace(REQUEST, seed=0), Spec(name="sd1")).seeds == (0,)
