"""What the pages that draw have in common: a form, a button, what is wrong with it, and the keys."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import ClassVar, Generic, TypeVar

from nicegui import app, ui

from sfumato.errors import SfumatoError
from sfumato.jobs.types import Job
from sfumato.server.ui.desk import Desk
from sfumato.server.ui.form import Kept
from sfumato.server.ui.keys import Keys
from sfumato.server.ui.stage import Stage
from sfumato.server.ui.words import say

F = TypeVar("F", bound=Kept)


class Workbench(Generic[F]):
    """One visit of a page. What was filled in, and the jobs, are kept for the visitor's next one under two names."""

    form_name: ClassVar[str]
    jobs_name: ClassVar[str]
    stage: Stage

    def __init__(self, desk: Desk, form: F) -> None:
        self.desk, self.form = desk, form

    def begin(self) -> None:
        """After everything is built: show what an earlier visit left, and listen."""
        self.stage.resume(app.storage.user.get(self.jobs_name, []))
        self.listen(self.stage.refresh, self.stage.interrupt)

    def listen(self, refresh: Callable[[], None], interrupt: Callable[[], None]) -> None:
        """Show what changes, keep what is filled in, and hear the keys."""
        Keys(self.generate, interrupt)
        ui.timer(0.3, refresh)
        ui.timer(2, self.keep)

    def build_button(self, words: str = say("generate"), above: Callable[[], object] = lambda: None) -> None:
        """The button, which stays in view with what ``above`` builds and what is wrong."""
        with ui.element("div").classes("launch"):
            above()
            self.error = ui.label().classes("error").props('role="alert"')
            self.error.set_visibility(False)
            button = ui.button(words, on_click=self.generate).classes("go")
            button.props(f'unelevated no-caps title="{say("generate_hint")}"').mark("generate")

    async def generate(self) -> None:
        """Put the form's request into the queue; what is wrong with it is said above the button."""
        self.keep()
        try:
            job = await self.submit()
        except SfumatoError as error:
            self.tell(str(error))
            return
        self.tell("")
        self.stage.show(job.id)
        app.storage.user[self.jobs_name] = self.stage.jobs[:]

    def submit(self) -> Awaitable[Job]:
        """The job of what is filled in. Raises SfumatoError: it can't be one."""
        raise NotImplementedError

    def tell(self, words: str) -> None:
        """Say what is wrong; nothing if ``words`` is empty."""
        self.error.set_text(words)
        self.error.set_visibility(bool(words))

    def keep(self) -> None:
        """Keep what is filled in for the next visit."""
        if (state := self.form.state()) != app.storage.user.get(self.form_name):
            app.storage.user[self.form_name] = state
