"""The picture that is being made, or was: preview, progress, failure, and the strip of those before."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence

from nicegui import run, ui

from sfumato.errors import JobStateError, SfumatoError, UnknownJobError
from sfumato.gallery.album import Trashed
from sfumato.jobs.states import State
from sfumato.jobs.types import Job, Picture, Progress
from sfumato.server.services import Services
from sfumato.server.ui.compare import Before, Compare
from sfumato.server.ui.copy_button import CopyButton
from sfumato.server.ui.pictures import picture_url, preview_url
from sfumato.server.ui.take_back import TakeBack
from sfumato.server.ui.words import say

#: How many jobs the strip remembers.
REMEMBERED = 24


class Stage:
    """Shows one job as it is now.

    ``actions`` are what else can be done with a picture that is shown: a key of the catalogue, and what gets the job
    and the picture's place in it. With ``before``, a job's picture is shown over what it was made from.
    """

    def __init__(
        self,
        services: Services,
        actions: Mapping[str, Callable[[Job, int], object]],
        before: Callable[[Job], Before | None] = lambda job: None,
    ) -> None:
        self._queue, self._gallery, self._before = services.queue, services.gallery, before
        self.jobs: list[str] = []
        self._done: dict[str, Job] = {}
        self._shown: tuple[str, int] | None = None
        self._seen: object = None
        with ui.element("div").classes("stage").props('aria-live="polite"'):
            self._picture = ui.html("", sanitize=False)
            self._compare = Compare()
            self._line = ui.label(say("nothing_yet")).classes("faint").mark("stage-line")
            self._bar = ui.linear_progress(0, show_value=False).props(f'aria-label="{say("generate")}"')
            with ui.row().classes("acts"):
                self._stop = (
                    ui.button(say("interrupt"), on_click=self.interrupt).props("flat no-caps").mark("interrupt")
                )
                self._skip = ui.button(say("skip_job"), on_click=self.skip).props("flat no-caps").mark("skip_job")
                self._acts = [self._button(key, act) for key, act in actions.items()]
                self._copy = CopyButton()
                self._acts += [self._copy, self._button("download", self._download), self._button("trash", self._trash)]
        self._back = TakeBack(self._gallery, self._redraw)
        self._strip = ui.element("div").classes("strip").props(f'role="group" aria-label="{say("results")}"')

    def _button(self, key: str, act: Callable[[Job, int], object]) -> ui.button:
        def press() -> object:
            job = self._get(self._shown[0]) if self._shown else None
            return act(job, self._shown[1]) if self._shown and job is not None and job.pictures else None

        return ui.button(say(key), on_click=press).props("flat no-caps").mark(key)

    def resume(self, jobs: list[str]) -> None:
        """Show what an earlier visit left, as it is by now."""
        self.jobs = list(self._look(jobs))
        self._shown = (self.jobs[-1], 0) if self.jobs else None
        self.refresh()

    def show(self, job: str, index: int = 0) -> None:
        """Put a job on the stage, and into the strip when it has pictures."""
        if job not in self.jobs:
            self.jobs = [*self.jobs, job][-REMEMBERED:]
        self._shown = (job, index)
        self.refresh()

    def refresh(self) -> None:
        """Draw anew what has changed since the last time."""
        jobs = list(self._look(self.jobs).values())
        shown = next((job for job in jobs if self._shown is not None and job.id == self._shown[0]), None)
        seen = (self._shown, shown and (shown.state, shown.progress.step), tuple((j.id, j.state) for j in jobs))
        if seen == self._seen:
            return
        self._seen = seen
        self._draw(shown)
        self._draw_strip([job for job in jobs if job.state is State.DONE])

    def _draw(self, job: Job | None) -> None:
        done = job is not None and self._shown is not None and self._shown[1] in _there(job)
        for act in self._acts:
            act.set_visibility(done)
        before = self._before(job) if job is not None and done else None
        self._compare.set_visibility(before is not None)
        self._picture.set_visibility(before is None)
        several = len(self._open()) > 1
        self._stop.set_visibility(several or (job is not None and not job.state.ended))
        self._stop.set_text(say("interrupt_all" if several else "interrupt"))
        self._skip.set_visibility(several)
        self._bar.set_visibility(job is not None and job.state is State.RUNNING)
        self._line.set_visibility(not done)
        failed = job is not None and job.state is State.FAILED
        self._line.classes(add="error" if failed else "", remove="" if failed else "error")
        self._line.set_text(say("nothing_yet") if job is None else self._describe(job))
        self._picture.set_content("" if job is None else self._image(job, done=done))
        if job is not None:
            self._bar.set_value(job.progress.step / max(1, job.progress.steps))
        if job is not None and done and self._shown is not None:
            self._copy.of(picture_url(job, self._shown[1]))
            if before is not None:
                self._compare.show(before, picture_url(job, self._shown[1]))

    def _image(self, job: Job, *, done: bool) -> str:
        if done and self._shown is not None:
            return f'<img src="{picture_url(job, self._shown[1])}" alt="{say("results")}">'
        if job.progress.preview is not None and not job.state.ended:
            return f'<img class="preview" src="{preview_url(job)}" alt="">'
        return ""

    def _describe(self, job: Job) -> str:
        if job.state is State.RUNNING:
            progress = job.progress
            if not progress.step:
                return say("begins")
            return say("working", step=progress.step, steps=progress.steps) + _pace(progress)
        if job.state is State.QUEUED:
            ahead = self._queue.list((State.QUEUED, State.RUNNING), limit=1000, whole=False)
            return say("waiting", count=sum(one.position < job.position for one in ahead))
        if job.state is State.FAILED:
            return say("failed", reason=job.cause.message if job.cause else "")
        return say("picture_gone" if job.state is State.DONE else job.state.value)

    def _draw_strip(self, jobs: list[Job]) -> None:
        self._strip.clear()
        with self._strip:
            for job in reversed(jobs):
                for k in _there(job):
                    here = " here" if self._shown == (job.id, k) else ""
                    button = ui.element("button").classes("thumb" + here).props('type="button"')
                    button.props["aria-label"] = job.pictures[k].info.prompt or say("picture")
                    button.on("click", lambda _, j=job.id, n=k: self.show(j, n))
                    with button:
                        ui.html(f'<img src="{picture_url(job, k)}" alt="" loading="lazy">', sanitize=False)

    @property
    def picture(self) -> Picture | None:
        """The finished picture that is shown."""
        job = self._get(self._shown[0]) if self._shown else None
        return job.pictures[self._shown[1]] if self._shown and job is not None and job.pictures else None

    def _open(self) -> list[Job]:
        """The page's jobs that have not ended, in the order of the queue."""
        found = [job for job in self._look(self.jobs).values() if not job.state.ended]
        return sorted(found, key=lambda job: job.position)

    def interrupt(self) -> None:
        """End all jobs of the page that have not ended, the last first, so that none begins meanwhile."""
        for job in reversed(self._open()):
            self._cancel(job)
        self.refresh()

    def skip(self) -> None:
        """End the job that is first in the queue; the page's next one goes on, on the stage."""
        first, *rest = self._open() or [None]
        if first is None:
            return
        self._cancel(first)
        if rest and rest[0] is not None:
            self._shown = (rest[0].id, 0)
        self.refresh()

    def _cancel(self, job: Job) -> None:
        with contextlib.suppress(JobStateError, UnknownJobError):  # it ended in this very moment
            self._queue.cancel(job.id)

    def _download(self, job: Job, index: int) -> None:
        ui.download.from_url(picture_url(job, index), job.pictures[index].path.name)

    async def _trash(self, job: Job, index: int) -> None:
        """Move the picture to the gallery's trash, and show the one that is next to it by now."""

        def move() -> Trashed:
            return self._gallery.trash(self._gallery.add(job.pictures[index].path).id)

        try:
            gone = await run.io_bound(move)
        except SfumatoError as error:
            ui.notify(str(error), type="warning")
            return
        if gone is None:  # the server ends
            return
        self._back.offer((gone,))
        left = [(one, k) for one, found in self._look(self.jobs).items() for k in _there(found)]
        self._shown = min(left, key=lambda each: (each[0] != job.id, -self.jobs.index(each[0])), default=None)
        self._redraw()

    def _redraw(self) -> None:
        """Draw anew, whatever was seen."""
        self._seen = None
        self.refresh()

    def _get(self, id: str) -> Job | None:
        return self._look((id,)).get(id)

    def _look(self, ids: Sequence[str]) -> dict[str, Job]:
        """Those that there are, in their order, as they are now; one that is done stays as it is and is read once."""
        found = {**self._done, **self._queue.glance([id for id in ids if id not in self._done])}
        self._done.update((id, job) for id, job in found.items() if job.state is State.DONE)
        return {id: found[id] for id in ids if id in found}


def _there(job: Job | None) -> list[int]:
    """The places of those of its pictures that are still where they were put."""
    return [] if job is None else [k for k, picture in enumerate(job.pictures) if picture.path.is_file()]


def _pace(progress: Progress) -> str:
    """How long it takes still, and how fast it goes; what is not known is left out.

    >>> _pace(Progress(step=5, steps=20, eta=6.0)), _pace(Progress(step=5, steps=20, eta=30.0)), _pace(Progress())
    (' · about 6 s left · 2.5 it/s', ' · about 30 s left · 2.0 s/it', '')
    """
    left, eta = progress.steps - progress.step, progress.eta
    if not eta or not left:
        return ""
    pace = f"{left / eta:.1f} it/s" if left >= eta else f"{eta / left:.1f} s/it"
    return f" · {say('eta', seconds=round(eta))} · {pace}"
