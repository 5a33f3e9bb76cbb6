"""Two pictures of the gallery side by side, with what they were made differently by."""

from __future__ import annotations

from nicegui import ui

from sfumato.errors import SfumatoError
from sfumato.gallery import foreign
from sfumato.gallery.album import Gallery
from sfumato.server.ui.pictures import full_url
from sfumato.server.ui.tables import table
from sfumato.server.ui.words import say


class SideBySide:
    """A dialog over the page."""

    def __init__(self, gallery: Gallery) -> None:
        self._gallery = gallery
        with ui.dialog().props(f'aria-label="{say("compare")}"') as self._dialog:
            self._card = ui.card().classes("two")

    def open(self, first: str, second: str) -> None:
        """Show two pictures by their ids."""
        try:
            both = self._gallery.get(first), self._gallery.get(second)
        except SfumatoError as error:
            ui.notify(str(error), type="warning")
            return
        self._card.clear()
        with self._card:
            with ui.element("div").classes("both"):
                for entry in both:
                    with ui.element("figure"):
                        ui.html(f'<img src="{full_url(entry)}" alt="">', sanitize=False)
                        with ui.element("figcaption"):
                            ui.label(entry.path).classes("faint")
            found = foreign.differences(both[0].facts, both[1].facts)
            if found:
                table(("setting", "this_side", "that_side"), [(key, *pair) for key, pair in found.items()])
            else:
                ui.label(say("no_differences")).classes("faint")
            ui.button(say("close"), on_click=self._dialog.close).props("flat no-caps").mark("close")
        self._dialog.open()
