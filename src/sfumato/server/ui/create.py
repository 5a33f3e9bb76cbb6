"""The page that creates: words and numbers on the left, the picture on the right, those made before below it."""

from __future__ import annotations

from nicegui import app, ui

from sfumato.jobs.types import Job
from sfumato.server.ui import fields
from sfumato.server.ui.desk import Desk
from sfumato.server.ui.form import Form
from sfumato.server.ui.frame import frame
from sfumato.server.ui.pictures import edit_url
from sfumato.server.ui.stage import Stage
from sfumato.server.ui.words import say
from sfumato.server.ui.workbench import Workbench

#: An example is drawn at this many pixels a side, in this many steps: seconds on any machine.
QUICK_SIDE, QUICK_STEPS = 256, 20


class CreatePage(Workbench[Form]):
    """One visit of the page."""

    form_name, jobs_name = "form", "jobs"

    def __init__(self, desk: Desk) -> None:
        width, height = desk.services.defaults.size
        begin: dict[str, int] = {"width": width, "height": height, "steps": desk.services.defaults.steps}
        super().__init__(desk, Form.of(app.storage.user.get("form") or begin))
        with frame("create"), ui.element("div").classes("studio"):
            with ui.element("div").classes("panel"):
                self._build_form()
            with ui.element("div"):
                to_edit = {"to_edit": lambda job, index: ui.navigate.to(edit_url(job, index))}
                self.stage = Stage(desk.services.queue, {"again": self.use, **to_edit})
        self.begin()

    @ui.refreshable_method
    def _build_form(self) -> None:
        form, desk = self.form, self.desk
        fields.prompt(form, "prompt", desk.count_tokens)
        if not form.prompt and not app.storage.user.get("jobs"):
            self._build_examples()
        fields.prompt(form, "negative_prompt", desk.count_tokens)
        fields.model(form, desk.services)
        fields.size(form, max(desk.services.defaults.size))
        fields.numbers(form)
        self.build_button()

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
        return self.desk.services.queue.submit(self.form.request(), model=self.form.model)

    def use(self, job: Job, index: int) -> None:
        """Fill in the settings of a picture that was made before."""
        self.form = Form(model=job.model)
        self.form.take(job.pictures[index].info)
        self._build_form.refresh()
