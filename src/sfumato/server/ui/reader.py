"""How a picture from anywhere was made: it is dropped on the page, pasted or picked, and nothing of it is kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from nicegui import ui
from pydantic import TypeAdapter, ValidationError

from sfumato.gallery.foreign import Facts
from sfumato.server.services import Services
from sfumato.server.ui.again import use_settings
from sfumato.server.ui.canvas import Drop
from sfumato.server.ui.words import say

_STYLE = (Path(__file__).parent / "reader.css").read_text(encoding="utf-8")
_FACTS = TypeAdapter(Facts)


class Reader:
    """A small button; the whole page is where a picture can be dropped. ``use`` gets what it says."""

    def __init__(self, use: Callable[[Facts], object]) -> None:
        self._use = use
        ui.add_css(_STYLE)
        drop = Drop(self._show, lambda reason: ui.notify(reason, type="warning"), "/api/v1/gallery/read", say("read"))
        drop.classes("reader").props["bare"] = True
        with ui.dialog().props(f'aria-label="{say("read_title")}"') as self._dialog:
            self._card = ui.card().classes("big")

    def _show(self, told: object) -> None:
        try:
            facts = _FACTS.validate_python({key: value for key, value in dict(told).items() if key != "request"})  # type: ignore[call-overload]
        except (ValidationError, TypeError, ValueError):
            ui.notify(say("drop_failed"), type="warning")
            return
        self._card.clear()
        with self._card:
            ui.label(say("read_title")).classes("title")
            ui.label(_told(facts)).classes("facts").mark("read-facts")
            with ui.row():
                if facts.program:
                    ui.button(say("again"), on_click=lambda: self._take(facts)).props("unelevated no-caps").mark("take")
                ui.button(say("close"), on_click=self._dialog.close).props("flat no-caps")
        self._dialog.open()

    def _take(self, facts: Facts) -> None:
        self._dialog.close()
        self._use(facts)


def read_anywhere(services: Services) -> None:
    """A line at the foot of a page that takes no pictures itself: one that is dropped anywhere on it is read."""

    def use(facts: Facts) -> None:
        if use_settings(facts, services):
            ui.navigate.to("/")

    with ui.element("footer").classes("foot"):
        Reader(use)


def _told(facts: Facts) -> str:
    """What the picture says of itself, as lines of text."""
    if facts.infotext:
        return facts.infotext
    if not facts.program:
        return say("no_settings")
    rest = {"negative_prompt": facts.negative_prompt, "model": facts.model, "sampler": facts.sampler}
    rest |= {"seed": facts.seed, "steps": facts.steps, "cfg_scale": facts.cfg_scale}
    lines = [f"{say(key)}: {value}" for key, value in rest.items() if value not in (None, "")]
    return "\n".join([facts.prompt, *lines])
