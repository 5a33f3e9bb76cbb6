"""The queue: what runs, what waits and in which order, what ended and how."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nicegui import ui

from sfumato.errors import JobError, UnknownJobError
from sfumato.jobs.queue import JobQueue
from sfumato.jobs.states import State
from sfumato.jobs.types import Job
from sfumato.server.ui.frame import frame
from sfumato.server.ui.queue_row import PLACES, Row
from sfumato.server.ui.words import say

#: How many waiting and how many ended jobs are listed.
WAITING, ENDED = 500, 50


class QueuePage:
    """One visit of the page."""

    def __init__(self, queue: JobQueue) -> None:
        self._queue = queue
        with frame("queue"):
            with ui.row().classes("items-center"):
                self._hold = ui.button(on_click=self._turn).props("outline no-caps").mark("hold")
                self._held = ui.label(say("held")).classes("faint")
                self._moved = ui.label().classes("faint").props('role="status"').mark("moved")
            self._empty = ui.label(say("queue_empty")).classes("faint")
            with ui.element("div").props('aria-live="polite"'):
                self._parts = {key: _Part(key, self._press) for key in ("queue_runs", "queue_waits", "queue_ended")}
        self.refresh()
        ui.timer(0.5, self.refresh)

    def refresh(self) -> None:
        """Show what changed."""
        runs = self._queue.list((State.RUNNING,), whole=False)
        waits = self._queue.list((State.QUEUED, State.PAUSED), limit=WAITING, whole=False)
        over = (State.DONE, State.FAILED, State.CANCELLED)
        ended = self._queue.list(over, limit=ENDED, newest_first=True, whole=False)
        held = self._queue.held
        self._hold.set_text(say("release" if held else "hold"))
        self._held.set_visibility(held)
        self._empty.set_visibility(not (runs or waits or ended))
        for part, jobs in zip(self._parts.values(), (runs, waits, ended), strict=True):
            part.show(jobs, more=jobs is waits and len(jobs) == WAITING)

    def _press(self, key: str, job: str) -> None:
        queue = self._queue
        acts: dict[str, Callable[[str], object]] = {
            **{way: lambda one, way=way: self._move(way, one) for way in PLACES},
            "pause": queue.pause,
            "resume": queue.resume,
            "retry": queue.retry,
            "cancel": queue.cancel,
            "forget": queue.forget,
        }
        try:
            acts[key](job)
        except (JobError, UnknownJobError) as error:  # it moved on while the button was pressed
            ui.notify(str(error), type="warning")
        self.refresh()
        if key in PLACES:
            self._parts["queue_waits"].focus(key, job)

    def _move(self, way: str, job: str) -> None:
        self._queue.move(job, before=neighbour(self._queue.waiting(), job, way))
        order = self._queue.waiting()
        if job in order:
            name = self._parts["queue_waits"].name(job)
            self._moved.set_text(say("moved", name=name, place=order.index(job) + 1, count=len(order)))

    def _turn(self) -> None:
        self._queue.hold(not self._queue.held)
        self.refresh()


class _Part:
    """Jobs under a title, which is shown if there are any."""

    def __init__(self, key: str, press: Callable[[str, str], None]) -> None:
        self._press, self._rows = press, dict[str, Row]()
        with ui.element("section").props(f'aria-labelledby="{key}"') as self._section:
            ui.element("h2").props(f'id="{key}"').add_slot("default", say(key))
            self._jobs = ui.element("div").classes("jobs")
        self._section.set_visibility(False)

    def show(self, jobs: Sequence[Job], *, more: bool) -> None:
        """These jobs in this order; there are ``more`` after them."""
        self._section.set_visibility(bool(jobs))
        for gone in self._rows.keys() - {job.id for job in jobs}:
            self._rows.pop(gone).element.delete()
        for k, job in enumerate(jobs):
            if job.id not in self._rows:
                with self._jobs:
                    self._rows[job.id] = Row(job, self._press)
            row = self._rows[job.id]
            if self._jobs.default_slot.children[k] is not row.element:
                row.element.move(target_index=k)
            row.show(job, first=k == 0, last=k == len(jobs) - 1 and not more)

    def name(self, job: str) -> str:
        """What a job is called; nothing if it is not shown."""
        return self._rows[job].name if job in self._rows else ""

    def focus(self, key: str, job: str) -> None:
        """The focus on a job's button, if it is still shown."""
        if job in self._rows:
            self._rows[job].focus(key)


def neighbour(order: Sequence[str], job: str, way: str) -> str | None:
    """Before which job of those that wait another is put to move it one of :data:`PLACES`; None is the end.

    >>> [neighbour("abcd", "b", way) for way in PLACES]
    ['a', 'a', 'd', None]
    >>> [neighbour("abcd", "a", way) for way in ("to_top", "up")], neighbour("abcd", "c", "down")
    (['a', 'a'], None)
    """
    if way == "to_end" or job not in order:
        return None
    at = order.index(job)
    if way == "down":
        return order[at + 2] if at + 2 < len(order) else None
    return order[0 if way == "to_top" else max(0, at - 1)]
