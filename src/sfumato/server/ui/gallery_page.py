"""The gallery: every picture of the output folder, found by words, marked, looked at, used again."""

from __future__ import annotations

from collections.abc import Callable

from nicegui import app, run, ui

from sfumato.errors import SfumatoError
from sfumato.gallery import infotext
from sfumato.gallery.album import Entry, Gallery, Page
from sfumato.gallery.index import Query
from sfumato.server.ui.form import Form
from sfumato.server.ui.frame import frame
from sfumato.server.ui.pictures import full_url, thumbnail_url
from sfumato.server.ui.words import say

#: How many thumbnails come at once; more when the end is scrolled to.
BATCH = 120


class GalleryPage:
    """One visit of the page."""

    def __init__(self, gallery: Gallery) -> None:
        self._gallery = gallery
        self._entries: list[Entry] = []
        with frame("gallery"):
            with ui.row().classes("items-center w-full"):
                self._words = ui.input(say("search"), on_change=self.search).props(
                    "outlined dense clearable debounce=250"
                )
                self._favourites = ui.checkbox(say("favourites"), on_change=self.search)
                self._count = ui.label().classes("faint").mark("count")
            self._grid = ui.element("div").classes("grid").props(f'role="list" aria-label="{say("gallery")}"')
            self._more = (
                ui.button(say("more"), on_click=lambda: self._append(self._find(len(self._entries))))
                .props("outline no-caps")
                .mark("more")
            )
        self._more.set_visibility(False)
        self._dialog = ui.dialog().props(f'aria-label="{say("picture")}"')
        self.search()
        ui.timer(0.1, self._scan, once=True)

    async def _scan(self) -> None:
        """Take in what came since the last visit, without holding the page up."""
        if await run.io_bound(self._gallery.scan):
            self.search()

    def search(self) -> None:
        """Begin the grid anew with what fits; what has not changed is left alone."""
        page = self._find(0)
        self._count.set_text(say("found", count=page.total) if page.total else say("gallery_empty"))
        if self._entries[:BATCH] != list(page.entries):
            self._grid.clear()
            self._entries = []
            self._append(page)

    def _find(self, offset: int) -> Page:
        words, favourite = self._words.value or "", bool(self._favourites.value)
        return self._gallery.search(Query(words=words, favourite=favourite, limit=BATCH, offset=offset))

    def _append(self, page: Page) -> None:
        with self._grid:
            for entry in page.entries:
                self._thumbnail(entry)
        self._entries += page.entries
        self._more.set_visibility(len(self._entries) < page.total)

    def _thumbnail(self, entry: Entry) -> None:
        button = ui.element("button").classes("thumb").props('type="button" role="listitem"').mark("thumbnail")
        button.props["aria-label"] = entry.facts.prompt or entry.path
        button.on("click", lambda: self._open(entry.id))
        with button:
            ui.html(f'<img src="{thumbnail_url(entry)}" alt="" loading="lazy">', sanitize=False)

    def _open(self, id: str) -> None:
        try:
            entry = self._gallery.get(id)
        except SfumatoError as error:
            ui.notify(str(error), type="warning")
            return
        self._dialog.clear()
        with self._dialog, ui.card().classes("big"):
            ui.html(f'<img src="{full_url(entry)}" alt="">', sanitize=False)
            ui.label(entry.facts.infotext or entry.path).classes("facts").mark("facts")
            with ui.row():
                self._buttons(entry)
        self._dialog.open()

    def _buttons(self, entry: Entry) -> None:
        favourite = "favourite_off" if entry.marks.favourite else "favourite_on"
        ui.button(say(favourite), on_click=lambda: self._mark(entry)).props("flat no-caps").mark("favourite")
        if entry.facts.infotext:
            ui.button(say("again"), on_click=lambda: self._use(entry)).props("flat no-caps").mark("again")
        edit = f"/edit?picture={entry.id}"
        ui.button(say("to_edit"), on_click=lambda: ui.navigate.to(edit)).props("flat no-caps").mark("to_edit")
        ui.button(say("download"), on_click=lambda: ui.download.from_url(full_url(entry))).props("flat no-caps")
        ui.button(say("trash"), on_click=lambda: self._trash(entry)).props("flat no-caps").mark("trash")
        ui.button(say("close"), on_click=self._dialog.close).props("flat no-caps").mark("close")

    def _mark(self, entry: Entry) -> None:
        self._try(lambda: self._gallery.mark(entry.id, favourite=not entry.marks.favourite))

    def _trash(self, entry: Entry) -> None:
        self._try(lambda: self._gallery.trash(entry.id))

    def _try(self, change: Callable[[], object]) -> None:
        try:
            change()
        except SfumatoError as error:
            ui.notify(str(error), type="warning")
        self._dialog.close()
        self.search()

    def _use(self, entry: Entry) -> None:
        """Open the page that creates with the picture's settings filled in."""
        form = Form.of(app.storage.user.get("form"))
        try:
            form.take(infotext.to_request(infotext.parse(entry.facts.infotext)))
        except SfumatoError as error:
            ui.notify(str(error), type="warning")
            return
        app.storage.user["form"] = form.state()
        ui.navigate.to("/")
