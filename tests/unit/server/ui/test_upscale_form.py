"""How large a picture is to be, as it is filled in."""

from __future__ import annotations

import pytest

from sfumato.errors import RequestError
from sfumato.server.ui.upscale_form import UpscaleForm


@pytest.mark.parametrize(
    ("given", "size"),
    [
        ({}, (20, 10)),
        ({"scale": 0.01}, (1, 1)),
        ({"width": 15.0, "scale": None}, (15, 8)),
        ({"height": 20}, (40, 20)),
        ({"width": 7, "height": 9, "scale": 99}, (7, 9)),
    ],
)
def test_the_size(given: dict, size: tuple[int, int]) -> None:
    assert UpscaleForm(**given).measure(10, 5) == (size, None)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"scale": None}, "is empty"),
        ({"scale": 0}, "more than 0"),
        ({"scale": 17}, "up to 16"),
        ({"width": 16_385}, "at most"),
        ({"width": 0}, "is 0 pixels"),
        ({"width": 8, "height": -5}, "is -5 pixels"),
    ],
)
def test_what_is_out_of_range_is_told(given: dict, words: str) -> None:
    with pytest.raises(RequestError, match=words):
        UpscaleForm(**given).measure(10, 5)


def test_the_form_comes_back_without_what_it_does_not_know() -> None:
    form = UpscaleForm(upscaler="Nearest", width=7)

    assert UpscaleForm.of({**form.state(), "gone": 1}) == form
