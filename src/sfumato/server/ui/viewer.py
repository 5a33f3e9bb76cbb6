"""One picture of the gallery, large: how it was made, its tags, and what can be done with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nicegui import ui

from sfumato.errors import SfumatoError
from sfumato.gallery.album import Entry, Gallery
from sfumato.server.ui.copy_button import CopyButton
from sfumato.server.ui.pictures import full_url
from sfumato.server.ui.words import say


@dataclass(frozen=True, kw_only=True)
class Acts:
    """What the page does when something was done with a picture: ``turn`` goes on by so many, ``seen`` is told which
    one is looked at (none: empty), ``changed`` that marks are not what they were; ``trash`` moves pictures there.
    """

    use: Callable[[Entry], object]
    turn: Callable[[int], object]
    seen: Callable[[str], object]
    changed: Callable[[], object]
    trash: Callable[[Sequence[str]], object]


class Viewer:
    """A dialog over the page."""

    def __init__(self, gallery: Gallery, acts: Acts) -> None:
        self._gallery, self._acts = gallery, acts
        self._dialog = ui.dialog().props(f'aria-label="{say("picture")}"')
        self._dialog.on("hide", lambda: acts.seen(""))
        with self._dialog:
            self._card = ui.card().classes("viewer")

    def open(self, id: str) -> None:
        """Show a picture, instead of the one that was there."""
        try:
            entry = self._gallery.get(id)
        except SfumatoError as error:
            ui.notify(str(error), type="warning")
            return
        self._card.clear()
        with self._card:
            self._build(entry)
        self._acts.seen(id)
        self._dialog.open()

    def _build(self, entry: Entry) -> None:
        with ui.element("div").classes("picture"):
            ui.html(f'<img src="{full_url(entry)}" alt="">', sanitize=False).mark("large")
            for key, icon, by in (("picture_back", "chevron_left", -1), ("picture_on", "chevron_right", 1)):
                button = ui.button(icon=icon, on_click=lambda _, by=by: self._acts.turn(by)).classes(f"turn {key}")
                button.props(f'round flat aria-label="{say(key)}"')
        with ui.element("div").classes("side"):
            with ui.row().classes("gap-1"):
                self._buttons(entry)
            self._tags(entry)
            ui.label(entry.facts.infotext or entry.path).classes("facts").mark("facts")

    def _buttons(self, entry: Entry) -> None:
        favourite = "favourite_off" if entry.marks.favourite else "favourite_on"
        acts: dict[str, Callable[[], object]] = {
            favourite: lambda: self._mark(entry, favourite=not entry.marks.favourite)
        }
        if entry.facts.program:
            acts["again"] = lambda: self._acts.use(entry)
        acts |= {
            "to_edit": lambda: ui.navigate.to(f"/edit?picture={entry.id}"),
            "to_upscale": lambda: ui.navigate.to(f"/upscale?picture={entry.id}"),
            "download": lambda: ui.download.from_url(full_url(entry)),
            "trash": lambda: self._trash(entry),
            "close": self._dialog.close,
        }
        for key, act in acts.items():
            if key == "download":
                CopyButton(full_url(entry)).props("dense")
            ui.button(say(key), on_click=lambda _, act=act: act()).props("flat no-caps dense").mark(key)

    def _tags(self, entry: Entry) -> None:
        tags = entry.marks.tags
        with ui.element("div").classes("tags").props(f'role="group" aria-label="{say("tags")}"'):
            for tag in tags:
                rest = tuple(each for each in tags if each != tag)
                button = ui.button(tag, on_click=lambda _, rest=rest: self._mark(entry, tags=rest))
                button.props("flat no-caps dense icon-right=close").mark("tag")
                button.props["aria-label"] = say("tag_drop", name=tag)
        field = (
            ui.input(say("tag_add"), autocomplete=list(self._gallery.tags())).props("outlined dense").mark("tag_add")
        )
        field.on("keydown.enter", lambda: self._mark(entry, tags=(*tags, *split_tags(field.value))))

    def _mark(self, entry: Entry, **changes: object) -> None:
        try:
            self._gallery.mark(entry.id, **changes)
        except SfumatoError as error:
            ui.notify(str(error), type="warning")
            return
        self._acts.changed()
        self.open(entry.id)

    def _trash(self, entry: Entry) -> object:
        self._dialog.close()
        return self._acts.trash((entry.id,))


def split_tags(words: str | None) -> tuple[str, ...]:
    """Tags with commas between.

    >>> split_tags("blue sky, , sea")
    ('blue sky', 'sea')
    """
    return tuple(filter(None, (tag.strip() for tag in (words or "").split(","))))
