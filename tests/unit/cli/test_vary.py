"""Flags of varied noise, edges that fit and rescaled guidance."""

from __future__ import annotations

import pytest

from sfumato.cli.flags import Txt2ImgFlags
from sfumato.cli.prompt_lines import Line
from sfumato.cli.prompts import batches
from sfumato.cli.vary import to_fields
from sfumato.errors import RequestError
from sfumato.request import Txt2ImgRequest


def test_flags_become_fields() -> None:
    flags = Txt2ImgFlags(subseed=3, subseed_strength=0.2, seed_resize_from="64x48", tiling=True, guidance_rescale=0.7)
    request = Txt2ImgRequest(prompt="", **to_fields(flags))

    assert (request.subseed, request.subseed_strength, request.guidance_rescale) == (3, 0.2, 0.7)
    assert (request.seed_resize_from_w, request.seed_resize_from_h, request.tiling) == (64, 48, True)
    assert Txt2ImgRequest(prompt="", **to_fields(Txt2ImgFlags())) == Txt2ImgRequest(prompt="")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"subseed_strength": 1.5}, "--subseed_strength 1.5"),
        ({"subseed_strength": float("nan")}, "--subseed_strength nan"),
        ({"subseed": 3}, "add --subseed_strength"),
        ({"subseed": -3, "subseed_strength": 0.1}, "--subseed -3"),
        ({"seed_resize_from": "big"}, "not a size"),
        ({"seed_resize_from": "4x64"}, "--seed_resize_from 4"),
        ({"guidance_rescale": 2.0}, "--guidance_rescale 2.0"),
        ({"refiner": "fine", "refiner_switch_at": -0.1}, "--refiner_switch_at -0.1"),
        ({"refiner_switch_at": 0.5}, "add --refiner"),
    ],
)
def test_what_is_wrong_is_said(flags: dict, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        to_fields(Txt2ImgFlags(**flags))


def test_a_refiner_is_named_with_its_place():
    request = Txt2ImgRequest(prompt="", **to_fields(Txt2ImgFlags(refiner="fine", refiner_switch_at=0.7)))

    assert (request.refiner, request.refiner_switch_at) == ("fine", 0.7)


def test_batches_of_a_variation_count_its_seeds() -> None:
    template = Txt2ImgRequest(prompt="", seed=7, subseed=3, subseed_strength=0.2, batch_size=2)

    assert [(one.seed, one.subseed) for one in batches([Line(prompt="a cat")], template, 2)] == [(7, 3), (7, 5)]
    unnamed = Txt2ImgRequest(prompt="", seed=7, subseed_strength=0.2)
    drawn = [one.subseed for one in batches([Line(prompt="a cat")], unnamed, 2)]
    assert drawn[0] is not None
    assert drawn[1] == drawn[0] + 1
