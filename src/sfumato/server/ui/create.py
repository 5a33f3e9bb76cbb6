"""The page that creates: words and numbers on the left, the picture on the right, those made before below it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nicegui import app, ui

from sfumato.gallery.foreign import Facts
from sfumato.jobs.types import Job
from sfumato.server.checks import check_request
from sfumato.server.ui import fields
from sfumato.server.ui.again import use_settings
from sfumato.server.ui.create_form import CreateForm
from sfumato.server.ui.desk import Desk
from sfumato.server.ui.form import STEP
from sfumato.server.ui.frame import frame
from sfumato.server.ui.outlook_line import OutlookLine
from sfumato.server.ui.pictures import to_edit, to_upscale
from sfumato.server.ui.pieces import Offers, Pieces
from sfumato.server.ui.reader import Reader
from sfumato.server.ui.second_pass import refiner, second_pass, variation
from sfumato.server.ui.stage import Stage
from sfumato.server.ui.words import say
from sfumato.server.ui.workbench import Workbench

#: An example is drawn at this many pixels a side, in this many steps: seconds on any machine.
QUICK_SIDE, QUICK_STEPS = 256, 20


class CreatePage(Workbench[CreateForm]):
    """One visit of the page."""

    form_name, jobs_name = "form", "jobs"

    def __init__(self, desk: Desk) -> None:
        width, height = desk.services.defaults.size
        begin: dict[str, int] = {"width": width, "height": height, "steps": desk.services.defaults.steps}
        super().__init__(desk, CreateForm.of(app.storage.user.get("form") or begin))
        with frame("create"), ui.element("div").classes("studio"):
            with ui.element("div").classes("panel"):
                self._build_form()
            with ui.element("div"):
                again = {"again": self.use, "same_but": self._reseed, "vary": self._vary}
                self.stage = Stage(desk.services, {**again, "to_edit": to_edit, "to_upscale": to_upscale})
        self.begin()

    @ui.refreshable_method
    def _build_form(self) -> None:
        form, desk = self.form, self.desk
        fields.prompt(form, "prompt", desk, lambda names, field: Offers(form, names, field))
        if not form.prompt and not app.storage.user.get("jobs"):
            self._build_examples()
        fields.prompt(form, "negative_prompt", desk)
        Pieces(form, desk.services)
        Reader(self._take_up)
        fields.model(form, desk.services)
        fields.size(form, max(desk.services.defaults.size))
        fields.numbers(form)
        with ui.row().classes("gap-1"):
            for key, icon, act in (("dice", "casino", self._roll), ("lock", "lock", self._lock)):
                ui.button(say(key), icon=icon, on_click=act).props("flat dense no-caps size=sm").mark(key)
        variation(form)
        refiner(form, desk.services)
        second_pass(form, desk.services)
        self.build_button(above=lambda: OutlookLine(form, desk.services, self._fit))

    def _build_examples(self) -> None:
        ui.label(say("examples")).classes("faint")
        with ui.row().classes("gap-2"):
            for example in self.desk.examples:
                ui.button(example, on_click=lambda _, words=example: self._try(words)).props(
                    "outline no-caps dense size=sm padding='4px 10px'"
                )

    async def _try(self, example: str) -> None:
        self.form.prompt = example
        self.form.width = self.form.height = QUICK_SIDE
        self.form.steps = QUICK_STEPS
        await self.generate()

    async def submit(self) -> Job:
        """See :class:`Workbench`."""
        request = check_request(self.form.request(), self.desk.services)
        return self.desk.services.queue.submit(request, model=self.form.model)

    def use(self, job: Job, index: int) -> None:
        """Fill in the settings of a picture that was made before."""
        self.form = CreateForm(model=job.model)
        self.form.take(job.pictures[index].info)
        self._build_form.refresh()

    async def _reseed(self, job: Job, index: int) -> None:
        """The same picture from another seed, at once."""
        self.use(job, index)
        self.form.seed = None
        await self.generate()

    def _take_up(self, facts: Facts) -> None:
        """Fill in the settings of a picture that was dropped on the page."""
        self.keep()
        if use_settings(facts, self.desk.services):
            self.form = CreateForm.of(app.storage.user.get("form"))
            self._build_form.refresh()

    async def _vary(self, job: Job, index: int) -> None:
        """The same picture with noise that is a little different, at once."""
        self.use(job, index)
        self.form.vary()
        await self.generate()

    def _roll(self) -> None:
        """A new seed each time."""
        self.form.seed = None

    def _lock(self) -> None:
        """The seed of the picture that is shown, from now on."""
        if (made := self.stage.picture) is not None:
            self.form.seed = made.info.seed

    def _fit(self, nearest: Mapping[str, Any]) -> None:
        """Take the nearest settings that there is memory for; of two passes the first one's size follows."""
        width, height = self.form.first_size(nearest["width"], nearest["height"], STEP)
        self.form.take_nearest({**nearest, "width": width, "height": height})
