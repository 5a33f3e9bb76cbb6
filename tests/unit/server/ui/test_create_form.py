"""A variation and a second pass become a request, and come back from a picture."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sfumato.errors import RequestError
from sfumato.request import Hires, ImageInfo, Txt2ImgRequest
from sfumato.server.ui.create_form import A_LITTLE, CreateForm

INFO = ImageInfo(
    prompt="a cat", negative_prompt="dog", seed=7, width=640, height=512, steps=9, sampler="Euler a",
    scheduler="Karras", cfg_scale=3.5, clip_skip=1, eta=None, model="m", model_hash="h", device="cpu", dtype="float32",
    first_size=(320, 256),
    extra={
        "Denoising strength": 0.4, "Hires upscale": 2.0, "Hires steps": 3, "Hires upscaler": "esrgan",
        "Hires sampler": "Heun", "Variation seed": 4, "Variation seed strength": 0.3,
    },
)  # fmt: skip


def test_it_asks_for_one_pass_until_there_are_to_be_two():
    form = CreateForm(prompt="a cat", hires_scale=3.0)
    assert form.request() == Txt2ImgRequest(prompt="a cat", width=512, height=512, steps=20)
    form.hires = True
    assert form.request().hires == Hires(scale=3.0)


def test_numbers_of_the_page_become_whole():
    form = CreateForm(hires=True, hires_width=640.0, hires_steps=None, subseed=3.0)  # type: ignore[arg-type]
    request = form.request()
    assert request.hires == Hires(width=640)
    assert request.hires is not None
    assert type(request.hires.width) is type(request.subseed) is int


@pytest.mark.parametrize(("name", "words"), [("hires_scale", "Times as large"), ("hires_strength", "Drawn anew")])
def test_an_empty_number_is_told_by_the_name_on_the_page(name, words):
    with pytest.raises(RequestError, match=f"{words} is empty"):
        CreateForm(hires=True, **{name: None}).request()


def test_a_picture_of_two_passes_fills_the_form():
    form = CreateForm()
    form.take(INFO)
    request = form.request()
    assert (request.width, request.height, request.seed) == (320, 256, 7)
    assert (request.subseed, request.subseed_strength) == (4, 0.3)
    assert request.hires == Hires(scale=2.0, upscaler="esrgan", steps=3, denoising_strength=0.4, sampler="Heun")
    assert CreateForm.of(form.state()) == form


def test_a_picture_of_one_pass_turns_the_second_off():
    form = CreateForm()
    form.take(INFO)
    form.take(replace(INFO, first_size=None, extra={}))
    assert form.request().hires is None
    assert (form.width, form.subseed, form.subseed_strength) == (640, None, 0.0)


def test_a_picture_is_varied_a_little_or_as_far_as_it_was():
    form = CreateForm(seed=7, subseed=4)
    form.vary()
    assert (form.seed, form.subseed, form.subseed_strength) == (7, None, A_LITTLE)
    form = CreateForm(subseed_strength=0.6)
    form.vary()
    assert form.subseed_strength == 0.6


def test_what_fits_is_the_finished_pictures_size():
    form = CreateForm(hires=True, width=512, height=512, hires_width=1024)
    assert form.first_size(800, 800, 64) == (384, 384)
    assert CreateForm(hires=True, hires_scale=16.0).first_size(512, 512, 64) == (64, 64)


def test_a_refined_picture_names_its_second_model_and_another_turns_it_off():
    form = CreateForm()
    form.take(replace(INFO, extra={"Refiner": "fine [0123456789]", "Refiner switch at": 0.6}))
    assert (form.request().refiner, form.request().refiner_switch_at) == ("fine", 0.6)
    form.take(replace(INFO, extra={}))
    assert form.request().refiner is None
