"""The inside of a worker: which model it holds between orders."""

from __future__ import annotations

import weakref
from typing import Any

import pytest

from sfumato.errors import CheckpointError
from sfumato.jobs.artist import Artist
from sfumato.jobs.messages import Prepare, Tools


class Model:
    """A studio that counts how often it was loaded."""

    def __init__(self, name: str | None) -> None:
        self.name, self.facts, self.loads = name, None, 0

    def load(self) -> None:
        if self.name == "broken":
            raise CheckpointError("broken.safetensors ends too early")
        self.loads += 1

    def generate(self, *_: Any) -> Any:
        raise NotImplementedError


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
