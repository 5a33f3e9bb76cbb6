"""The page that makes larger: a picture, what enlarges it and how far, and the two over each other."""

from __future__ import annotations

import asyncio

from fastapi.responses import RedirectResponse
from nicegui import app, ui
from PIL import Image

from sfumato.errors import RequestError, SfumatoError
from sfumato.jobs.types import Job
from sfumato.request import MAX_SCALE, MAX_SIDE, RESIZERS
from sfumato.server.ui import fields
from sfumato.server.ui.canvas import STYLE, Drop
from sfumato.server.ui.desk import Desk
from sfumato.server.ui.frame import frame
from sfumato.server.ui.pictures import arrived, to_edit
from sfumato.server.ui.stage import Stage
from sfumato.server.ui.tray import Befores, Tray, tray_url
from sfumato.server.ui.upscale_form import UpscaleForm
from sfumato.server.ui.words import say
from sfumato.server.ui.workbench import Workbench
from sfumato.server.upscaling import upscale_bytes

#: Where the picture's name is kept with the visitor.
SOURCE = "upscale_source"


class UpscalePage(Workbench[UpscaleForm]):
    """One visit of the page. The picture is kept in the tray, and its name with the visitor."""

    form_name, jobs_name = "upscale_form", "upscale_jobs"

    def __init__(self, desk: Desk, tray: Tray) -> None:
        super().__init__(desk, UpscaleForm.of(app.storage.user.get(self.form_name)))
        self._tray, self._befores = tray, Befores(tray, "upscale_before")
        self._size: tuple[int, int] | None = None
        ui.add_css(STYLE)
        with frame("upscale"), ui.element("div").classes("studio"):
            with ui.element("div").classes("panel"):
                self._build_form()
            with ui.element("div"):
                acts = {"as_source": self._work_on, "to_edit": to_edit}
                self.stage = Stage(desk.services, acts, self._befores.of)
        self._show(app.storage.user.get(SOURCE))
        self.begin()

    def _build_form(self) -> None:
        form, services = self.form, self.desk.services
        self._drop = Drop(self._pick, self.tell)
        self._seen = ui.html("", sanitize=False)
        names: dict[str | None, str] = {name: f"{name} ({say('filter')})" for name in RESIZERS}
        names |= {name: f"{name} ({say('network')})" for name in services.upscalers()}
        names.setdefault(form.upscaler, form.upscaler)  # its file is gone, which is said when it is asked for
        fields.choice(form, "upscaler", names)
        ui.label(say("upscaler_hint")).classes("faint")
        given = [fields.number(form, "scale", 0.1, MAX_SCALE, step=0.5)]
        with ui.element("div").classes("pair"):
            for name, words in (("width", "upscale_width"), ("height", "upscale_height")):
                given.append(fields.number(form, name, 1, MAX_SIDE, step=64, hint=say("upscale_size_hint")))
                given[-1].props["label"] = say(words)
        self._line = ui.label().classes("faint").props('role="status"').mark("upscale-size")
        for field in given:
            field.on_value_change(self._measure)
        self.build_button(say("enlarge"))

    def _show(self, name: str | None) -> None:
        """Put a picture of the tray on the page, if it is there."""
        self._source, self._size = name, None
        try:
            if name is not None:
                with Image.open(self._tray.file(name)) as picture:
                    self._size = picture.size
        except RequestError:
            self._source = None
        self._drop.slim(self._source is not None)
        image = (
            f'<img class="from" src="{tray_url(self._source)}" alt="{say("upscaled_from")}">' if self._source else ""
        )
        self._seen.set_content(image)
        self._measure()

    def _measure(self) -> None:
        """Say how large it will be, or why it can't be so."""
        self._line.set_visibility(self._size is not None)
        if self._size is None:
            return
        try:
            after, wrong = self.form.measure(*self._size)[0], ""
        except RequestError as error:
            after, wrong = self._size, str(error)
        before, after = (f"{width} × {height}" for width, height in (self._size, after))
        self._line.set_text(wrong or say("upscale_size", before=before, after=after))
        self._line.classes(add="error" if wrong else "faint", remove="faint" if wrong else "error")

    def _pick(self, name: str) -> None:
        """Work on a picture of the tray from now on."""
        app.storage.user[SOURCE] = name
        self.tell("")
        self._show(name)

    async def _work_on(self, job: Job, index: int) -> None:
        try:
            self._pick(await asyncio.to_thread(self._tray.read, job.pictures[index].path.read_bytes()))
        except (SfumatoError, OSError) as error:
            self.tell(str(error))

    async def submit(self) -> Job:
        """See :class:`Workbench`."""
        if self._source is None:
            raise RequestError(say("source_none"))
        services, name = self.desk.services, self._source
        data = await asyncio.to_thread(self._tray.file(name).read_bytes)
        request = await asyncio.to_thread(upscale_bytes, data, self.form.upscaler, self.form.measure, services)
        job = await asyncio.to_thread(services.queue.submit, request)
        self._befores.keep(job.id, name, "stretch")
        return job


def bring(desk: Desk, tray: Tray, job: str, index: int, picture: str) -> RedirectResponse:
    """Put a picture of a job, or of the gallery, on the page, and go there. Raises SfumatoError: it is gone."""
    app.storage.user[SOURCE] = tray.read(arrived(desk.services, job, index, picture).read_bytes())
    return RedirectResponse("/upscale", 303)
