"""What is filled in on the page that edits becomes a request with a picture and a mask."""

from __future__ import annotations

import pytest
from PIL import Image

from sfumato.errors import RequestError
from sfumato.request import MASK_FILLS, RESIZE_MODES, InitImage, Mask, expected_size
from sfumato.server.ui.compare import FITS
from sfumato.server.ui.edit import FILL_WORDS, RESIZE_WORDS
from sfumato.server.ui.edit_form import EditForm

PICTURE, MASK = Image.new("RGB", (8, 8)), Image.new("L", (8, 8), 255)


def test_every_choice_has_words():
    assert set(RESIZE_WORDS) == set(FITS) == set(RESIZE_MODES)
    assert set(FILL_WORDS) == set(MASK_FILLS)


def test_without_a_mask_the_whole_picture_is_drawn():
    request = EditForm(prompt="a cat", denoising_strength=0.0, resize_mode="fill").edit(PICTURE, None)
    assert request.prompt == "a cat"
    assert request.init == InitImage(picture=PICTURE, denoising_strength=0.0, resize_mode="fill")


def test_a_mask_comes_with_its_options():
    form = EditForm(mask_blur=0, mask_fill="fill", only_masked=True, padding=16.0)  # type: ignore[arg-type]
    init = form.edit(PICTURE, MASK).init
    assert init is not None
    assert init.mask == Mask(picture=MASK, blur=0.0, fill="fill", only_masked=True, padding=16)


def test_a_frame_lets_the_picture_go_on_with_the_mask_or_without():
    form = EditForm(left=8, bottom=16)
    alone, both = form.edit(PICTURE, None).init, form.edit(PICTURE, MASK).init
    assert alone is not None
    assert both is not None
    assert alone.picture.size == both.picture.size == (16, 24)
    assert alone.extend == both.extend == (8, 0, 0, 16)
    assert alone.mask is not None
    assert (alone.mask.fill, alone.mask.blur) == ("fill", 0)
    assert both.mask == Mask(picture=both.mask.picture, blur=4.0)
    assert both.mask.picture.getextrema() == (255, 255)


def test_another_picture_begins_without_a_frame():
    form = EditForm(left=64, top=64)
    form.fit((128, 128), 1024)
    assert (form.width, form.height) == (192, 192)
    form.begin((128, 64), 1024)
    assert (form.width, form.height, form.margins) == (128, 64, (0, 0, 0, 0))


def test_what_it_takes_is_asked_without_the_picture():
    form = EditForm(width=768, height=512, batch_size=2, steps=30, denoising_strength=0.4)
    asked = form.sketch()
    assert (expected_size(asked), asked.batch_size, asked.steps) == ((768, 512), 2, 30)
    assert asked.init is not None
    assert asked.init.denoising_strength == 0.4

    form.take_nearest({"width": 512, "height": 384, "batch_size": 1, "memory": "tiled"})
    assert expected_size(form.sketch()) == (512, 384)
    assert form.sketch().batch_size == 1


@pytest.mark.parametrize(("name", "words"), [("steps", "Steps"), ("denoising_strength", "Strength")])
def test_an_empty_number_is_told_by_the_name_on_the_page(name, words):
    with pytest.raises(RequestError, match=f"{words} is empty"):
        EditForm(**{name: None}).edit(PICTURE, None)


@pytest.mark.parametrize(
    ("size", "fitted"), [((512, 512), (512, 512)), ((500, 300), (512, 320)), ((4000, 10), (1024, 64))]
)
def test_a_pictures_size_is_taken_in_steps_that_models_draw(size, fitted):
    form = EditForm()
    form.fit(size, 1024)
    assert (form.width, form.height) == fitted
