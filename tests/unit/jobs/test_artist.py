"""The inside of a worker: which model it holds between orders."""

from __future__ import annotations

import functools
import weakref
from typing import Any, cast

import pytest
from PIL import Image

from sfumato.errors import CheckpointError
from sfumato.jobs import artist as inside
from sfumato.jobs.artist import Artist
from sfumato.jobs.messages import Drawn, Order, Prepare, Report, Stepped, Stopped, Tools
from sfumato.request import Result, StepEvent, Txt2ImgRequest, UpscaleRequest


class Model:
    """A studio that counts how often it was loaded, and draws in three steps."""

    def __init__(self, name: str | None) -> None:
        self.name, self.facts, self.loads = name, None, 0
        self.looks: list[int] = []

    def load(self) -> None:
        if self.name == "broken":
            raise CheckpointError("broken.safetensors ends too early")
        self.loads += 1

    def generate(self, request: Txt2ImgRequest, on_step: Any, resume: Any) -> Result:
        image = Image.new("RGB", (4, 4))

        def look(step: int) -> Image.Image:
            self.looks.append(step)
            return image

        for step in (1, 2, 3):
            seen = functools.partial(look, step)
            on_step(StepEvent(step=step, steps=3, seconds=float(step), preview=seen))
        return Result(images=(image,), infos=(cast(Any, f"by {self.name}"),))

    def upscale(self, request: UpscaleRequest, on_step: Any = None) -> Result:
        for step in (1, 2):
            on_step(StepEvent(step=step, steps=2, seconds=float(step)))
        return Result(images=(request.picture,), infos=(cast(Any, f"by {self.name}"),))


def test_a_model_is_loaded_before_there_is_an_order_and_let_go(caplog: pytest.LogCaptureFixture) -> None:
    opened: list[weakref.ref[Model]] = []

    def open_studio(name: str | None) -> Model:
        studio = Model(name)
        opened.append(weakref.ref(studio))
        return studio

    artist = Artist(Tools(open_studio=open_studio, encode=lambda image, info, metadata: b""))
    artist.prepare(Prepare(model="a"))
    artist.prepare(Prepare(model="a"))
    assert [(each().name, each().loads) for each in opened if each()] == [("a", 2)]

    artist.prepare(Prepare(loaded=False))
    assert opened[0]() is None
    artist.prepare(Prepare(model="broken"))
    assert "broken.safetensors ends too early" in caplog.text


def test_a_picture_is_made_larger_by_the_studio_that_is_there_and_stops_after_a_tile() -> None:
    artist = Artist(Tools(open_studio=lambda name: cast(Any, Model(name)), encode=lambda image, info, metadata: b"png"))
    artist.prepare(Prepare(model="a"))
    request = UpscaleRequest(picture=Image.new("RGB", (4, 4)), width=8, height=8, upscaler="plain")
    order = Order(token=("j", 1), request=request, model=None, metadata=None, checkpoint=None, every=1)
    reports: list[Report] = []

    artist.draw(order, reports.append, lambda: False)
    assert [type(each) for each in reports] == [Stepped, Stepped, Drawn]
    assert reports[-1] == Drawn(pictures=((b"png", cast(Any, "by a")),))

    reports.clear()
    artist.draw(order, reports.append, lambda: True)
    assert [type(each) for each in reports] == [Stepped, Stopped]


@pytest.mark.parametrize(("pause", "seen"), [(0.0, [1, 2]), (3600.0, [])])
def test_a_preview_is_made_of_what_takes_a_while_and_never_of_the_last_step(
    pause: float, seen: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inside, "PREVIEW_PAUSE", pause)
    monkeypatch.setattr(inside, "PREVIEW_SHARE", 1e9)
    model = Model("a")
    artist = Artist(Tools(open_studio=lambda name: cast(Any, model), encode=lambda image, info, metadata: b"png"))
    request = Txt2ImgRequest(prompt="a cat")
    order = Order(token=("j", 1), request=request, model=None, metadata=None, checkpoint=None, every=1)
    reports: list[Report] = []

    artist.draw(order, reports.append, lambda: False)

    assert model.looks == seen
    previews = [each.progress.preview for each in reports if isinstance(each, Stepped)]
    assert [preview is not None for preview in previews] == [bool(seen)] * 3
    assert isinstance(reports[-1], Drawn)
    assert model.loads == 0  # nothing is asked of the model but the picture
