"""Requests as text: the same values come back, pictures to the bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sfumato.errors import JobError, RequestError
from sfumato.jobs import wire
from sfumato.request import ImageInfo, Seconds, Txt2ImgRequest

_TEXT = st.text(st.characters(exclude_categories=["Cs"]))


def _picture(mode: str) -> Image.Image:
    gradient = Image.linear_gradient("L").resize((8, 8))
    return gradient.convert("RGB").convert("P") if mode == "P" else gradient.convert(mode)


@given(
    st.builds(
        Txt2ImgRequest,
        prompt=_TEXT,
        negative_prompt=_TEXT,
        seed=st.none() | st.integers(0, 2**63 - 1),
        cfg_scale=st.none() | st.floats(0, 100),
    )
)
def test_a_request_comes_back_as_it_was(request: Txt2ImgRequest) -> None:
    assert wire.load(wire.dump(request, None), None) == request


def test_what_a_picture_was_made_with_comes_back() -> None:
    text = {"prompt": "a cat", "negative_prompt": "", "sampler": "Euler", "scheduler": "Karras", "model": "m"}
    number = {"seed": 7, "width": 64, "height": 64, "steps": 2, "cfg_scale": 7.0, "clip_skip": 1, "eta": None}
    more = {"seconds": Seconds(load=1.5), "extra": {"Lora hashes": "a: b", "Hires steps": 3}}
    info = ImageInfo(**text, **number, **more, model_hash="0", device="cpu", dtype="float32")  # type: ignore[arg-type]

    assert wire.load(wire.dump(info, None), None) == info


def test_without_pixels_a_picture_is_measured_and_not_decoded(tmp_path: Path) -> None:
    text = wire.dump({"picture": Image.effect_noise((64, 32), 99)}, tmp_path)
    path = next(tmp_path.iterdir())
    path.write_bytes(path.read_bytes()[:200])  # its header is whole, and most of its pixels are gone

    picture = wire.load(text, tmp_path, pixels=False)["picture"]
    assert (picture.mode, picture.size) == ("L", (64, 32))
    with pytest.raises(JobError, match="can't be read"):
        wire.load(text, tmp_path)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_a_picture_in_a_request_lies_beside_to_the_bit(mode: str, tmp_path: Path) -> None:
    image = _picture(mode)
    value: Any = {"picture": image, "sides": (1, 2)}

    text = wire.dump(value, tmp_path)
    back = wire.load(text, tmp_path)

    assert (back["picture"].mode, back["picture"].tobytes()) == (mode, image.tobytes())
    assert back["sides"] == (1, 2)
    assert wire.named_pictures(text) == {path.name for path in tmp_path.iterdir()}
    assert wire.dump(value, tmp_path) == text


def test_what_can_not_be_kept_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="mode F"):
        wire.dump(Image.new("F", (2, 2)), tmp_path)
    with pytest.raises(TypeError, match="a set"):
        wire.dump({"a": {1}}, None)


def test_what_another_version_stored_is_an_error_of_one_line(tmp_path: Path) -> None:
    stored = json.loads(wire.dump(Txt2ImgRequest(prompt="a cat"), None))

    for text in (json.dumps({**stored, "wings": 2}), json.dumps({"$type": "Hologram"}), '{"$picture": "gone.png"}'):
        with pytest.raises(JobError, match="can't be read"):
            wire.load(text, tmp_path)
