"""The page that explores: fields that change, and the sheet of every combination."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from nicegui import app, ui

from sfumato.errors import SfumatoError
from sfumato.gallery import infotext
from sfumato.grid import axes
from sfumato.jobs.types import Job
from sfumato.sampling.names import SAMPLERS, SCHEDULERS
from sfumato.server import grids
from sfumato.server.ui import fields
from sfumato.server.ui.canvas import STYLE
from sfumato.server.ui.copy_button import CopyButton
from sfumato.server.ui.create_form import CreateForm
from sfumato.server.ui.desk import Desk
from sfumato.server.ui.explore_form import AXES, ExploreForm
from sfumato.server.ui.frame import frame
from sfumato.server.ui.pictures import picture_url, to_edit, to_upscale
from sfumato.server.ui.sheet_view import SheetView
from sfumato.server.ui.words import say
from sfumato.server.ui.workbench import Workbench


class ExplorePage(Workbench[ExploreForm]):
    """One visit of the page. The grid of the last one is there again, drawn further or done."""

    form_name = "explore_form"

    def __init__(self, desk: Desk) -> None:
        width, height = desk.services.defaults.size
        begin: dict[str, int] = {"width": width, "height": height, "steps": desk.services.defaults.steps}
        super().__init__(desk, ExploreForm.of(app.storage.user.get(self.form_name) or begin))
        ui.add_css(STYLE)
        with frame("explore"), ui.element("div").classes("studio"):
            with ui.element("div").classes("panel"):
                self._build_form()
            with ui.element("div"):
                self.sheet = SheetView(desk.services.queue, self._open)
        self._dialog = ui.dialog().props(f'aria-label="{say("picture")}"')
        self._resume()
        self.listen(self.sheet.refresh, self.sheet.interrupt)

    def _build_form(self) -> None:
        form, desk = self.form, self.desk
        ui.toggle({False: say("axes"), True: say("matrix")}).bind_value(form, "matrix").props(
            f'no-caps spread unelevated dense aria-label="{say("explore")}"'
        ).on_value_change(self._count).mark("matrix")
        fields.prompt(form, "prompt", desk)
        hint = ui.label(say("matrix_hint")).classes("faint")
        hint.bind_visibility_from(form, "matrix")
        with ui.element("div").classes("axes") as rows:
            for axis in AXES:
                self._build_axis(axis)
        rows.bind_visibility_from(form, "matrix", value=False)
        self._total = ui.label().props('aria-live="polite"').classes("faint").mark("total")
        fields.prompt(form, "negative_prompt", desk)
        fields.model(form, desk.services)
        fields.size(form, max(desk.services.defaults.size))
        fields.numbers(form, batch=False)
        self.build_button()
        ui.timer(1, self._count)

    def _build_axis(self, axis: str) -> None:
        form = self.form
        names = {"": say("axis_none"), **{name: name.replace("_", " ") for name in axes.readers()}}
        group = say("axis", name=axis.upper())
        with ui.element("div").classes("axis").props(f'role="group" aria-label="{group}"'):
            choice = ui.select(names, label=axis.upper(), with_input=True).bind_value(form, f"{axis}_field")
            choice.props("outlined dense options-dense").mark(f"{axis}_field")
            given = ui.input(say("values")).bind_value(form, f"{axis}_values").mark(f"{axis}_values")
            given.props("outlined dense").bind_visibility_from(form, f"{axis}_field", bool)
            every = ui.button(say("every"), on_click=lambda: self._fill_all(axis)).props("flat no-caps dense size=sm")
            below = ui.label().classes("faint")

        def tell() -> None:
            below.set_text(form.hint(axis))
            every.set_visibility(bool(self._choices(getattr(form, f"{axis}_field"))))
            self._count()

        choice.on_value_change(tell)
        given.on_value_change(self._count)
        below.set_text(form.hint(axis))
        every.set_visibility(bool(self._choices(getattr(form, f"{axis}_field"))))

    def _choices(self, field: str) -> Sequence[str]:
        if field == axes.MODEL:
            return list(self.desk.services.models())
        known = {"sampler": SAMPLERS, "scheduler": SCHEDULERS}
        return [each.label for each in known.get(field, ())]

    def _fill_all(self, axis: str) -> None:
        setattr(self.form, f"{axis}_values", ", ".join(self._choices(getattr(self.form, f"{axis}_field"))))

    def _count(self) -> None:
        """How many pictures it would be, or why it is none."""
        try:
            words, wrong = say("total", count=len(self.form.grid().cells)), False
        except SfumatoError as error:
            words, wrong = str(error), True
        self._total.set_text(words)
        self._total.classes(add="error" if wrong else "faint", remove="faint" if wrong else "error")

    async def generate(self) -> None:
        """Put every cell's request into the queue; what is wrong is said above the button."""
        self.keep()
        try:
            grid = self.form.grid()
            jobs = await asyncio.to_thread(grids.submit, self.desk.services, grid)
        except SfumatoError as error:
            self.tell(str(error))
            return
        self.tell("")
        app.storage.user["explored"] = {"form": self.form.pinned(grid.cells[0].request.seed or 0), "jobs": jobs}
        self.sheet.show(grid, jobs)

    def _resume(self) -> None:
        """The grid of the last visit, if it can be made again."""
        if (kept := app.storage.user.get("explored")) is None:
            return
        try:
            grid = ExploreForm.of(kept["form"]).grid()
        except SfumatoError:  # another version of the program kept it
            return
        if len(grid.cells) == len(kept["jobs"]):
            self.sheet.show(grid, kept["jobs"])

    def _open(self, job: Job) -> None:
        info = job.pictures[0].info
        self._dialog.clear()
        with self._dialog, ui.card().classes("big"):
            ui.html(f'<img src="{picture_url(job)}" alt="">', sanitize=False)
            ui.label(infotext.write(info)).classes("facts").mark("facts")
            with ui.row():
                ui.button(say("again"), on_click=lambda: self._use(job)).props("flat no-caps")
                for key, go in (("to_edit", to_edit), ("to_upscale", to_upscale)):
                    ui.button(say(key), on_click=lambda _, go=go: go(job, 0)).props("flat no-caps")
                CopyButton(picture_url(job))
                ui.button(say("download"), on_click=lambda: ui.download.from_url(picture_url(job))).props(
                    "flat no-caps"
                )
                ui.button(say("close"), on_click=self._dialog.close).props("flat no-caps")
        self._dialog.open()

    def _use(self, job: Job) -> None:
        """Open the page that creates with the picture's settings filled in."""
        form = CreateForm(model=job.model)
        form.take(job.pictures[0].info)
        app.storage.user["form"] = form.state()
        ui.navigate.to("/")
