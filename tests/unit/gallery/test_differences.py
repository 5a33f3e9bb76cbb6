"""What two pictures were made differently by, and the request that makes one like a third."""

from __future__ import annotations

from dataclasses import replace

import pytest
from PIL import Image

from sfumato.errors import RequestError
from sfumato.gallery import files, foreign
from sfumato.gallery.foreign import Facts

from .test_infotext import INFO


def _facts(**changes: object) -> Facts:
    return foreign.read_bytes(files.describe(Image.new("RGB", (8, 8)), replace(INFO, **changes)))


def test_only_what_differs_is_told() -> None:
    found = foreign.differences(_facts(seed=1, prompt="a cat"), _facts(seed=2, prompt="a cat"))
    assert found == {"Seed": ("1", "2")}
    assert foreign.differences(_facts(), _facts()) == {}


def test_what_one_lacks_is_empty_there() -> None:
    found = foreign.differences(_facts(prompt="a cat"), Facts(width=8, height=8, prompt="a dog", program="comfyui"))
    assert found["Prompt"] == ("a cat", "a dog")
    assert found["Sampler"][1] == ""


def test_a_request_of_other_programs_pictures() -> None:
    wanted = foreign.to_request(Facts(width=64, height=32, prompt="a dog", seed=0, sampler="odd", program="comfyui"))
    assert wanted is not None
    assert (wanted.prompt, wanted.seed, wanted.width, wanted.height, wanted.sampler) == ("a dog", 0, 64, 32, None)
    assert foreign.to_request(Facts(width=64, height=32)) is None


def test_bytes_that_are_no_picture() -> None:
    with pytest.raises(RequestError, match="The picture is not a picture"):
        foreign.read_bytes(b"nothing")
