"""The gallery: every picture of the output folder, found by words, marked, looked at, compared, used again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from nicegui import run, ui

from sfumato.errors import SfumatoError
from sfumato.gallery.album import Trashed
from sfumato.gallery.foreign import Facts
from sfumato.gallery.index import Query
from sfumato.server.services import Services
from sfumato.server.ui.again import use_settings
from sfumato.server.ui.album import Album
from sfumato.server.ui.frame import frame
from sfumato.server.ui.reader import Reader
from sfumato.server.ui.side_by_side import SideBySide
from sfumato.server.ui.take_back import TakeBack
from sfumato.server.ui.viewer import Acts, Viewer, split_tags
from sfumato.server.ui.words import say

_STYLE = (Path(__file__).parent / "gallery.css").read_text(encoding="utf-8")


class GalleryPage:
    """One visit of the page."""

    def __init__(self, services: Services) -> None:
        self._services, self._gallery = services, services.gallery
        self._chosen: Sequence[str] = ()
        ui.add_css(_STYLE)
        with frame("gallery"):
            with ui.element("div").classes("bar"):
                self._build_filters()
                Reader(self._use)
            self._bar = (
                ui.element("div").classes("bar chosen-bar").props(f'role="region" aria-label="{say("chosen_bar")}"')
            )
            self._back = TakeBack(self._gallery, self.search)
            self._album = Album(self._open, self._choose, lambda reason: ui.notify(reason, type="warning"))
        acts = Acts(use=lambda entry: self._use(entry.facts), turn=self._album.turn, seen=self._album.view,
                    changed=self.search, trash=self._trash)  # fmt: skip
        self._viewer, self._two = Viewer(self._gallery, acts), SideBySide(self._gallery)
        self._choose(())
        self.search()
        ui.timer(0.1, self._scan, once=True)

    def _build_filters(self) -> None:
        self._words = ui.input(say("search"), on_change=self.search).classes("grow").mark("words")
        self._words.props("outlined dense clearable debounce=250")
        self._tag = (
            ui.select([], label=say("tag"), on_change=self.search).props("outlined dense clearable").mark("by-tag")
        )
        self._favourites = ui.checkbox(say("favourites"), on_change=self.search)
        self._count = ui.label().classes("faint").props('role="status"').mark("count")

    async def _scan(self) -> None:
        """Take in what came since the last visit, without holding the page up."""
        if await run.io_bound(self._gallery.scan):
            self.search()

    def search(self) -> None:
        """Show what fits by now."""
        counts = self._gallery.tags()
        if (tag := self._tag.value) is not None and tag not in counts:
            counts[tag] = 0
        self._tag.set_options({each: f"{each} ({count})" for each, count in counts.items()})
        self._tag.set_visibility(bool(counts))
        query = Query(words=self._words.value or "", tag=tag, favourite=bool(self._favourites.value), limit=1)
        total = self._gallery.search(query).total
        self._count.set_text(say("found", count=total) if total else say("gallery_empty"))
        self._album.look(query)

    def _open(self, id: str) -> None:
        self._viewer.open(id)

    def _use(self, facts: Facts) -> None:
        """Open the page that creates with the picture's settings filled in."""
        if use_settings(facts, self._services):
            ui.navigate.to("/")

    def _choose(self, ids: Sequence[str]) -> None:
        """Offer what can be done with several pictures at once."""
        self._chosen = ids
        self._bar.clear()
        self._bar.set_visibility(bool(ids))
        with self._bar:
            ui.label(say("chosen", count=len(ids))).props('role="status"')
            compare = ui.button(say("compare"), icon="compare", on_click=lambda: self._two.open(*ids))
            compare.set_enabled(len(ids) == 2)
            compare.props(f'flat no-caps dense title="{say("compare_hint")}"').mark("compare")
            field = ui.input(say("tag_all"), autocomplete=list(self._gallery.tags())).props("outlined dense")
            field.mark("tag_all").on("keydown.enter", lambda: self._each(lambda id: self._add(id, field.value)))
            acts = {
                "favourite_on": lambda: self._each(lambda id: self._gallery.mark(id, favourite=True)),
                "trash": lambda: self._trash(self._chosen),
            }
            for key, act in acts.items():
                ui.button(say(key), on_click=act).props("flat no-caps dense").mark(f"all-{key}")
            ui.button(say("choose_none"), on_click=self._album.choose_none).props("flat no-caps dense")

    def _add(self, id: str, words: str | None) -> None:
        self._gallery.mark(id, tags=(*self._gallery.get(id).marks.tags, *split_tags(words)))

    async def _trash(self, ids: Sequence[str]) -> None:
        """Move pictures to the trash, and offer to take them back."""
        gone: list[Trashed] = []
        await self._each(lambda id: gone.append(self._gallery.trash(id)), ids)
        self._back.offer(gone)

    async def _each(self, act: Callable[[str], object], ids: Sequence[str] | None = None) -> None:
        """Do something with all that are chosen, or these; the first that can't be ends it, and is told."""
        try:
            for id in self._chosen if ids is None else ids:
                await run.io_bound(act, id)
        except SfumatoError as error:
            ui.notify(str(error), type="warning")
        self._album.choose_none()
        self.search()
