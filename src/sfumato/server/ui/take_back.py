"""Pictures go to the trash at once, and for a while can be taken back where they went."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nicegui import ui

from sfumato.errors import SfumatoError
from sfumato.gallery.album import Gallery, Trashed
from sfumato.server.ui.words import say

#: Seconds for which it is offered.
OFFERED = 20.0


class TakeBack:
    """A line over the page's foot. ``back`` is called when pictures are where they were."""

    def __init__(self, gallery: Gallery, back: Callable[[], object]) -> None:
        self._gallery, self._back = gallery, back
        self._gone: Sequence[Trashed] = ()
        with ui.element("div").classes("take-back").props('role="status"') as self._line:
            self._words = ui.label()
            ui.button(say("take_back"), on_click=self._restore).props("flat no-caps dense").mark("take_back")
        self._timer: ui.timer | None = None
        self.offer(())

    def offer(self, gone: Sequence[Trashed]) -> None:
        """Offer to take back what went just now; nothing any more if it is empty."""
        self._gone = gone
        self._line.set_visibility(bool(gone))
        self._words.set_text(say("trashed", count=len(gone)) if gone else "")
        if self._timer is not None:
            self._timer.cancel()
        if gone:
            with self._line:
                self._timer = ui.timer(OFFERED, lambda: self.offer(()), once=True)

    def _restore(self) -> None:
        for each in self._gone:
            try:
                self._gallery.restore(each.id)
            except SfumatoError as error:  # the others are taken back all the same
                ui.notify(str(error), type="warning")
        self.offer(())
        self._back()
