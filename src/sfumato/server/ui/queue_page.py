"""The queue: what runs, what waits and in which order, what ended and how."""

from __future__ import annotations

from collections.abc import Callable

from nicegui import ui

from sfumato.errors import JobError, UnknownJobError
from sfumato.jobs.queue import JobQueue
from sfumato.jobs.states import State
from sfumato.jobs.types import Job
from sfumato.request import UpscaleRequest
from sfumato.server.ui.frame import frame
from sfumato.server.ui.pictures import picture_url, preview_url
from sfumato.server.ui.words import say

#: How many ended jobs are listed.
ENDED = 50


class QueuePage:
    """One visit of the page."""

    def __init__(self, queue: JobQueue) -> None:
        self._queue = queue
        self._seen: object = None
        with frame("queue"):
            with ui.row().classes("items-center"):
                self._hold = ui.button(on_click=self._turn).props("outline no-caps").mark("hold")
                self._held = ui.label(say("held")).classes("faint")
            self._rows = ui.element("div").classes("jobs").props('aria-live="polite"')
        self.refresh()
        ui.timer(0.5, self.refresh)

    def refresh(self) -> None:
        """Draw anew if anything changed."""
        runs = self._queue.list((State.RUNNING,), whole=False)
        waits = self._queue.list((State.QUEUED, State.PAUSED), limit=500, whole=False)
        over = (State.DONE, State.FAILED, State.CANCELLED)
        ended = self._queue.list(over, limit=ENDED, newest_first=True, whole=False)
        held = self._queue.held
        seen = (held, *((job.id, job.state, job.progress.step) for job in (*runs, *waits, *ended)))
        if seen == self._seen:
            return
        self._seen = seen
        self._hold.set_text(say("release" if held else "hold"))
        self._held.set_visibility(held)
        self._rows.clear()
        with self._rows:
            if not (runs or waits or ended):
                ui.label(say("queue_empty")).classes("faint")
            for title, jobs in (("queue_runs", runs), ("queue_waits", waits), ("queue_ended", ended)):
                if jobs:
                    ui.element("h2").props(f'id="{title}"').add_slot("default", say(title))
                for k, job in enumerate(jobs):
                    self._row(job, jobs[k - 1].id if k and title == "queue_waits" else None)

    def _row(self, job: Job, before: str | None) -> None:
        with ui.element("div").classes("job").mark("job"):
            ui.html(_image(job), sanitize=False)
            with ui.element("div").classes("words"):
                ui.label(_title(job))
                ui.label(_describe(job)).classes("error" if job.state is State.FAILED else "faint")
            with ui.row().classes("gap-1"):
                for key, act in self._moves(job, before):
                    ui.button(say(key), on_click=self._guarded(act)).props("flat no-caps dense").mark(key)

    def _moves(self, job: Job, before: str | None) -> list[tuple[str, Callable[[], object]]]:
        """What can be done with the job, by the word on its button."""
        queue, one = self._queue, job.id
        moves: list[tuple[str, Callable[[], object]]] = []
        if before is not None:
            moves.append(("up", lambda: queue.move(one, before=before)))
        if job.state in (State.QUEUED, State.RUNNING):
            moves.append(("pause", lambda: queue.pause(one)))
        if job.state is State.PAUSED:
            moves.append(("resume", lambda: queue.resume(one)))
        if job.state in (State.FAILED, State.CANCELLED):
            moves.append(("retry", lambda: queue.retry(one)))
        moves.append(
            ("forget", lambda: queue.forget(one)) if job.state.ended else ("cancel", lambda: queue.cancel(one))
        )
        return moves

    def _guarded(self, act: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            try:
                act()
            except (JobError, UnknownJobError) as error:  # it moved on while the button was pressed
                ui.notify(str(error), type="warning")
            self.refresh()

        return run

    def _turn(self) -> None:
        self._queue.hold(not self._queue.held)
        self.refresh()


def _title(job: Job) -> str:
    words = job.request.prompt
    if job.request.kind == UpscaleRequest.__name__:
        return f"{say('upscale')}: {words}" if words else say("upscale")
    return words or "…"


def _image(job: Job) -> str:
    if job.pictures:
        return f'<img src="{picture_url(job)}" alt="" loading="lazy">'
    if job.progress.preview is not None and not job.state.ended:
        return f'<img src="{preview_url(job)}" alt="">'
    return ""


def _describe(job: Job) -> str:
    if job.state is State.FAILED and job.cause is not None:
        return say("failed", reason=job.cause.message)
    if job.state is State.RUNNING and job.progress.step:
        return say("working", step=job.progress.step, steps=job.progress.steps)
    return say("begins" if job.state is State.RUNNING else job.state.value)
