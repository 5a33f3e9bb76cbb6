"""Pictures that go on beyond their edges."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

sys.path.insert(0, str(Path(__file__).parents[2]))
from checkpoints import make_networks, write_ldm

from sfumato import InitImage, Mask, Studio, Txt2ImgRequest
from sfumato.errors import RequestError
from sfumato.imaging.outpaint import OVERLAP, extended
from sfumato.jobs import wire

PICTURE = Image.linear_gradient("L").resize((33, 40)).convert("RGB")
REQUEST = Txt2ImgRequest(
    prompt="a cat", steps=4, seed=5, init=InitImage(picture=PICTURE, denoising_strength=1.0, extend=(10, 0, 5, 8))
)


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    path = tmp_path_factory.mktemp("outpaint") / "tiny.safetensors"
    return Studio(write_ldm(path, *make_networks(seed=1)), device="cpu", precision="full")


def _with(**changes):
    return replace(REQUEST, init=replace(REQUEST.init, **changes))


def _pixels(image):
    return np.asarray(image).astype(int)


def test_the_edge_goes_on_and_the_mask_fades_into_the_picture():
    init = extended(REQUEST).init
    picture, mask = _pixels(init.picture), _pixels(init.mask.picture)

    assert picture.shape == (48, 48, 3)
    assert mask.shape == (48, 48)
    assert (picture[:40, 10:43] == _pixels(PICTURE)).all()
    assert (picture[:40, :10] == _pixels(PICTURE)[:, :1]).all()
    assert (picture[40:, 10:43] == _pixels(PICTURE)[-1:]).all()
    assert (mask[:, :10] == 255).all()
    assert (mask[:, 43:] == 255).all()
    assert (mask[40:] == 255).all()
    assert (np.diff(mask[0, 9:20]) <= 0).all()
    assert 0 < mask[0, 10] < 255
    assert (mask[0, 18:35] == 0).all()
    assert min(PICTURE.size) // 4 < OVERLAP


def test_what_a_mask_marks_is_drawn_beside_the_new_part():
    marked = Image.new("L", PICTURE.size)
    marked.paste(255, (20, 18, 25, 22))
    mask = Mask(picture=ImageOps.invert(marked), invert=True, fill="latent noise", blur=2, only_masked=True, padding=9)
    both, alone = extended(_with(mask=mask)).init, extended(REQUEST).init
    expected = _pixels(alone.mask.picture)
    expected[18:22, 30:35] = 255

    assert (_pixels(both.mask.picture) == expected).all()
    assert both.mask == replace(mask, picture=both.mask.picture, invert=False)
    assert (_pixels(both.picture) == _pixels(alone.picture)).all()


def test_a_masks_kept_part_keeps_its_bytes_in_the_larger_picture(studio):
    marked = Image.new("L", PICTURE.size)
    marked.paste(255, (20, 18, 25, 22))
    request = _with(mask=Mask(picture=marked, blur=0, fill="fill"))
    done = studio.generate(request)
    whole = extended(request).init
    image, mask = _pixels(done.images[0]), _pixels(whole.mask.picture)

    assert (image[mask == 0] == _pixels(whole.picture)[mask == 0]).all()
    assert (image[19:21, 31:34] != _pixels(whole.picture)[19:21, 31:34]).any()
    assert done.infos[0].extra["Extended by"] == "10,0,5,8"


def test_a_request_is_extended_once_and_goes_on_with_the_same_bits(studio, tmp_path):
    events = []
    whole = studio.generate(REQUEST, events.append)
    again = wire.load(wire.dump(extended(REQUEST), tmp_path), tmp_path)
    resumed = studio.generate(again, resume=events[1].resume).images[0]
    image, mask = _pixels(whole.images[0]), _pixels(extended(REQUEST).init.mask.picture)

    assert whole.images[0].size == (48, 48)
    assert (image == _pixels(resumed)).all()
    assert (image[mask == 0] == _pixels(extended(REQUEST).init.picture)[mask == 0]).all()
    said = {"Denoising strength": 1.0, "Extended by": "10,0,5,8", "Mask blur": 0, "Masked content": "fill"}
    assert whole.infos[0].extra == said


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"extend": (0, 0, 0, 0)}, "one of them above 0"),
        ({"extend": (-1, 0, 4, 0)}, "one of them above 0"),
        ({"extend": (0, 0, 0, 16384)}, "too large"),
    ],
)
def test_what_cant_be_extended_is_refused(changes, word):
    with pytest.raises(RequestError, match=word):
        extended(_with(**changes))
