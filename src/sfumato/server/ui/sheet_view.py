"""The sheet of a grid in the page: a table of pictures that fills itself, each a button that opens it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence

from nicegui import ui

from sfumato.errors import JobStateError, SfumatoError, UnknownJobError
from sfumato.grid.expand import MAX_CELLS, Grid
from sfumato.jobs.queue import JobQueue
from sfumato.jobs.states import State
from sfumato.jobs.types import Job
from sfumato.server.grids import read_sheet
from sfumato.server.ui.pictures import picture_url
from sfumato.server.ui.words import say
from sfumato.server.ui.zoom import Zoom

_OPEN = (State.QUEUED, State.RUNNING, State.PAUSED)


class SheetView:
    """Shows a grid whose cells are jobs. ``opens`` gets the job of a picture that is pressed."""

    def __init__(self, queue: JobQueue, opens: Callable[[Job], object]) -> None:
        self._queue, self._opens = queue, opens
        self.grid: Grid | None = None
        self.jobs: list[str] = []
        self._ended: dict[str, Job] = {}
        self._cells: dict[str, ui.element] = {}
        with ui.element("div").classes("stage sheet-stage"):
            self._line = (
                ui.label(say("nothing_explored")).classes("faint").props('aria-live="polite"').mark("sheet-line")
            )
            self._bar = ui.linear_progress(0, show_value=False).props(f'aria-label="{say("sheet")}"').classes("w-full")
            self._zoom = Zoom()
            with self._zoom:
                self._table = ui.element("table").classes("sheet")
            with ui.row().classes("acts"):
                self._stop = ui.button(say("interrupt_all"), on_click=self.interrupt).props("flat no-caps")
                self._save = ui.button(say("sheet_download"), on_click=self._download).props("flat no-caps")
        for part in (self._bar, self._zoom, self._stop, self._save):
            part.set_visibility(False)

    def show(self, grid: Grid, jobs: Sequence[str]) -> None:
        """Put a grid there; ``jobs`` are its cells', in their order."""
        self.grid, self.jobs = grid, list(jobs)
        self._ended, self._cells = {}, {}
        self._table.clear()
        with self._table:
            for z, title in enumerate(grid.z.labels):
                self._build_level(grid, z, title)
        self._zoom.set_visibility(True)
        self.refresh()

    def _build_level(self, grid: Grid, z: int, title: str) -> None:
        columns = len(grid.x.values)
        with ui.element("tbody"):
            if title:
                with ui.element("tr"):
                    _head(title, f"colspan={columns + 1}")
            if grid.x.field:
                with ui.element("tr"):
                    if grid.y.field:
                        ui.element("td")
                    for label in grid.x.labels:
                        _head(label, 'scope="col"')
            for y, label in enumerate(grid.y.labels):
                with ui.element("tr"):
                    if grid.y.field:
                        _head(label, 'scope="row"')
                    for x in range(columns):
                        number = (z * len(grid.y.values) + y) * columns + x
                        self._cells[self.jobs[number]] = ui.element("td").classes("cell")

    def refresh(self) -> None:
        """Fill in what has ended since the last time, and say how far it all is."""
        if self.grid is None or len(self._ended) == len(self.jobs):
            return
        waiting = {job.id: job for job in self._queue.list(_OPEN, limit=MAX_CELLS, whole=False)}
        for id in self.jobs:
            if id not in self._ended and id not in waiting:
                self._take(id)
        running = [waiting[id] for id in self.jobs if id in waiting and waiting[id].state is State.RUNNING]
        self._say(sum(job.progress.step / max(1, job.progress.steps) for job in running))

    def _take(self, id: str) -> None:
        job = self._queue.glance((id,)).get(id) or Job(id=id, state=State.CANCELLED, request=None)
        if not job.state.ended:
            return
        self._ended[id] = job
        cell = self._cells[id]
        with cell:
            if not job.pictures:
                ui.label(job.cause.message if job.cause else say(job.state.value)).classes("error")
                return
            button = ui.element("button").classes("thumb").props('type="button"')
            button.props["aria-label"] = job.pictures[0].info.prompt
            button.on("click", lambda: self._opens(job))
            with button:
                ui.html(f'<img src="{picture_url(job)}" alt="" loading="lazy">', sanitize=False)

    def _say(self, running: float) -> None:
        done, total = len(self._ended), len(self.jobs)
        finished = done == total
        self._line.set_text(say("explored" if finished else "exploring", done=done, total=total))
        self._bar.set_value((done + running) / total)
        self._bar.set_visibility(not finished)
        self._stop.set_visibility(not finished)
        self._save.set_visibility(any(job.pictures for job in self._ended.values()))

    def interrupt(self) -> None:
        """End every job of the grid that has not ended."""
        for id in self.jobs:
            if id not in self._ended:
                with contextlib.suppress(JobStateError, UnknownJobError):  # it ended in this very moment
                    self._queue.cancel(id)
        self.refresh()

    async def _download(self) -> None:
        try:
            ui.download.content(await asyncio.to_thread(self._sheet), "sheet.png")
        except (SfumatoError, OSError) as error:
            ui.notify(str(error), type="warning")

    def _sheet(self) -> bytes:
        """The labelled sheet of what there is, as a PNG."""
        return b"" if self.grid is None else read_sheet(self._queue, self.grid, self.jobs)


def _head(text: str, props: str) -> None:
    with ui.element("th").props(props):
        ui.label(text)
