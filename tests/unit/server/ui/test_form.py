"""What is filled in becomes a request, and comes back from a picture."""

from __future__ import annotations

import pytest

from sfumato.request import ImageInfo, Txt2ImgRequest
from sfumato.server.ui.form import Form

INFO = ImageInfo(
    prompt="a cat", negative_prompt="dog", seed=7, width=320, height=256, steps=9, sampler="Euler a",
    scheduler="Karras", cfg_scale=3.5, clip_skip=1, eta=None, model="m", model_hash="h", device="cpu", dtype="float32",
)  # fmt: skip


def test_numbers_of_the_page_become_whole():
    form = Form(prompt="a cat", width=256.0, height=320.0, steps=5.0, seed=3.0)  # type: ignore[arg-type]
    assert form.request() == Txt2ImgRequest(prompt="a cat", width=256, height=320, steps=5, seed=3)
    assert type(form.request().steps) is int


def test_nothing_given_stays_open():
    request = Form(prompt="a cat").request()
    assert (request.seed, request.cfg_scale, request.sampler, request.scheduler) == (None, None, None, None)


def test_seed_zero_is_a_seed():
    assert Form(seed=0).request().seed == 0


def test_a_picture_fills_the_form():
    form = Form(model="m", batch_size=8)
    form.take(INFO)
    request = form.request()
    assert (request.prompt, request.negative_prompt, request.seed, request.batch_size) == ("a cat", "dog", 7, 1)
    assert (request.width, request.height, request.steps) == (320, 256, 9)
    assert (request.sampler, request.scheduler, request.cfg_scale) == ("Euler a", "Karras", 3.5)
    assert form.model == "m"


def test_a_visit_later_the_form_is_as_it_was():
    form = Form(prompt="a cat", seed=0, model="m")
    assert Form.of(form.state()) == form


@pytest.mark.parametrize(
    ("shape", "size"), [("square", (768, 768)), ("portrait", (576, 768)), ("landscape", (768, 576))]
)
def test_shapes_are_of_the_same_longer_side(shape, size):
    form = Form()
    form.reshape(shape, 768)
    assert (form.width, form.height) == size


def test_swap():
    form = Form(width=256, height=512)
    form.swap()
    assert (form.width, form.height) == (512, 256)
