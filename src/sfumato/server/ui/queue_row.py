"""One job on the queue's page, which changes in place so that a button keeps the focus."""

from __future__ import annotations

from collections.abc import Callable

from nicegui import ui

from sfumato.jobs.states import State
from sfumato.jobs.types import Job
from sfumato.request import UpscaleRequest
from sfumato.server.ui.pictures import picture_url, preview_url
from sfumato.server.ui.words import say

#: Where a waiting job can be moved, and the icon of each.
PLACES = {
    "to_top": "vertical_align_top",
    "up": "arrow_upward",
    "down": "arrow_downward",
    "to_end": "vertical_align_bottom",
}
#: Letters of a prompt in a button's name.
_NAMED = 60


class Row:
    """``press`` is called with the word of the button that was pressed, and the job's id."""

    def __init__(self, job: Job, press: Callable[[str, str], None]) -> None:
        self._press, self._seen, self._offered = press, (), ()
        self.job, self.name = job.id, title(job)[:_NAMED]
        self._buttons: dict[str, ui.button] = {}
        with ui.element("div").classes("job queued").mark("job") as self.element:
            self._picture = ui.html("", sanitize=False)
            with ui.element("div").classes("words"):
                ui.label(title(job))
                self._state = ui.label()
            self._acts = ui.element("div").classes("moves")

    def show(self, job: Job, *, first: bool, last: bool) -> None:
        """The job as it is now; ``first`` and ``last`` are of those that wait."""
        seen = (job.state, job.attempt, job.progress, job.pictures, first, last)
        if seen == self._seen:
            return
        self._seen = seen
        self._picture.set_content(_image(job))
        self._state.set_text(_describe(job))
        failed = job.state is State.FAILED
        self._state.classes(add="error" if failed else "faint", remove="faint" if failed else "error")
        offered = acts(job.state)
        if offered != self._offered:
            self._offered = offered
            self._acts.clear()
            with self._acts:
                self._buttons = {key: self._button(key) for key in offered}
        for key, button in self._buttons.items():
            at_end = first if key in ("to_top", "up") else last
            button.set_enabled(key not in PLACES or not at_end)

    def focus(self, key: str) -> None:
        """Put the focus on a button after its row was moved, or if it can't be pressed any more on the other way's."""
        way = key if self._buttons[key].enabled else "down" if key in ("to_top", "up") else "up"
        ui.run_javascript(f"getHtmlElement({self._buttons[way].id})?.focus()")

    def _button(self, key: str) -> ui.button:
        icon = PLACES.get(key)
        button = ui.button(say(key) if icon is None else "", icon=icon, on_click=lambda: self._press(key, self.job))
        button.props("flat no-caps dense").mark(key).props["aria-label"] = f"{say(key)}: {self.name}"
        return button if icon is None else button.tooltip(say(key))


def acts(state: State) -> tuple[str, ...]:
    """What can be done with a job, by the words of its buttons.

    >>> acts(State.RUNNING), acts(State.DONE)
    (('pause', 'cancel'), ('forget',))
    """
    waits = (*PLACES,) if state in (State.QUEUED, State.PAUSED) else ()
    hold = {State.QUEUED: ("pause",), State.RUNNING: ("pause",), State.PAUSED: ("resume",)}.get(state, ())
    again = ("retry",) if state in (State.FAILED, State.CANCELLED) else ()
    return (*waits, *hold, *again, "forget" if state.ended else "cancel")


def title(job: Job) -> str:
    """What a job draws, in words."""
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
