"""Larger pictures from a studio: tile by tile, cut, described, and without its model."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2]))
from upscalers import write_plain

from sfumato.engine import upscale
from sfumato.engine.studio import Studio
from sfumato.errors import RequestError
from sfumato.request import StepEvent, UpscaleRequest


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    write_plain(tmp_path / "upscalers")
    return Studio("no such model", device="cpu", models_folders=(tmp_path,), threads=1)


def _request(**change: object) -> UpscaleRequest:
    request = UpscaleRequest(
        picture=Image.effect_noise((200, 20), 60).convert("RGB"), width=400, height=40, upscaler="plain"
    )
    return replace(request, text="a cat\nSteps: 3, Seed: 1", prompt="a cat", seed=1, **change)  # type: ignore[arg-type]


def test_a_network_makes_it_larger_tile_by_tile(studio: Studio) -> None:
    request, events = _request(), list[StepEvent]()
    result = studio.upscale(request, events.append)

    assert result.images[0].tobytes() == request.picture.resize((400, 40), Image.Resampling.NEAREST).tobytes()
    assert [(each.step, each.steps) for each in events] == [(1, 2), (2, 2)]
    info = result.infos[0]
    assert (info.width, info.height, info.model, info.prompt, info.seed) == (400, 40, "plain", "a cat", 1)
    assert info.text == "a cat\nSteps: 3, Seed: 1, Postprocess upscale by: 2, Postprocess upscaler: plain"


def test_tiles_of_all_rounds_are_counted_before_the_first(studio: Studio) -> None:
    events: list[StepEvent] = []
    studio.upscale(_request(width=800, height=80), events.append)

    assert [(each.step, each.steps) for each in events] == [(k, 5) for k in range(1, 6)]


def test_the_middle_is_kept(studio: Studio) -> None:
    request = _request(crop=(40, 40))
    whole = studio.upscale(replace(request, crop=None)).images[0]

    assert studio.upscale(request).images[0].tobytes() == whole.crop((180, 0, 220, 40)).tobytes()


def test_what_a_step_raises_ends_it(studio: Studio) -> None:
    def stop(event: StepEvent) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        studio.upscale(_request(), stop)


def test_what_cannot_be_made_is_said(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RequestError, match="second passes alone"):
        studio.upscale(_request(upscaler="Latent"))
    with pytest.raises(RequestError, match="unknown upscaler 'plane'"):
        studio.upscale(_request(upscaler="plane"))
    monkeypatch.setattr(upscale, "MOST_PIXELS", 1000)
    with pytest.raises(RequestError, match="400x40 pixels of 200x20 first"):
        studio.upscale(_request())
