"""The page that edits: a picture, what is painted on it, and what becomes of it."""

from __future__ import annotations

import asyncio

from fastapi.responses import RedirectResponse
from nicegui import app, ui
from PIL import Image

from sfumato.errors import RequestError, SfumatoError
from sfumato.gallery import infotext
from sfumato.jobs.types import Job
from sfumato.server import images
from sfumato.server.ui import fields
from sfumato.server.ui.canvas import MOST_MARGIN, STYLE, Drop, MaskCanvas
from sfumato.server.ui.desk import Desk
from sfumato.server.ui.edit_form import SIDES, EditForm
from sfumato.server.ui.frame import frame
from sfumato.server.ui.outlook_line import OutlookLine
from sfumato.server.ui.pictures import arrived, to_upscale
from sfumato.server.ui.stage import Stage
from sfumato.server.ui.tray import Befores, Tray, tray_url
from sfumato.server.ui.words import say
from sfumato.server.ui.workbench import Workbench

#: A picture that is picked is worked on at its own size, up to so many times the longer side of the model's.
LARGEST = 2
#: The words of :data:`sfumato.request.RESIZE_MODES` and :data:`sfumato.request.MASK_FILLS`.
RESIZE_WORDS = {"stretch": "resize_stretch", "crop": "resize_crop", "fill": "resize_fill", "latent": "resize_latent"}
FILL_WORDS = {
    "original": "fill_original",
    "fill": "fill_fill",
    "latent noise": "fill_latent_noise",
    "latent nothing": "fill_latent_nothing",
}


class EditPage(Workbench[EditForm]):
    """One visit of the page. The picture and its mask are kept in the tray, and their names with the visitor."""

    form_name, jobs_name = "edit_form", "edit_jobs"

    def __init__(self, desk: Desk, tray: Tray) -> None:
        super().__init__(desk, _form(desk))
        self._tray, self._befores = tray, Befores(tray, "edit_before")
        self._source: str | None = None
        self._mask: Image.Image | None = None
        self._painting = asyncio.Lock()
        ui.add_css(STYLE)
        with frame("edit"), ui.element("div").classes("studio"):
            with ui.element("div").classes("panel"):
                self._build_form()
            with ui.element("div").classes("easel"):
                with ui.element("div").classes("source"):
                    self._drop = Drop(self._pick, self._refuse)
                    self._fault = ui.label().classes("error").props('role="alert"').mark("source-fault")
                    self._canvas = MaskCanvas(self._painted, self._extend)
                    self._hint = ui.label().classes("faint").mark("mask-hint")
                with ui.element("div"):
                    acts = {"as_source": self._work_on, "again": self.use, "to_upscale": to_upscale}
                    self.stage = Stage(desk.services, acts, self._befores.of)
        kept = app.storage.user.get("edit_source"), app.storage.user.get("edit_mask")
        self._restore(*kept)
        self.begin()

    @ui.refreshable_method
    def _build_form(self) -> None:
        form, desk = self.form, self.desk
        fields.prompt(form, "prompt", desk)
        fields.prompt(form, "negative_prompt", desk)
        fields.share(form, "denoising_strength", say("strength_hint"))
        fields.choice(form, "resize_mode", {mode: say(key) for mode, key in RESIZE_WORDS.items()})
        fields.size(form, max(desk.services.defaults.size))
        self._build_mask_options()
        self._build_margins()
        fields.model(form, desk.services)
        fields.numbers(form)
        self.build_button(above=lambda: OutlookLine(form, desk.services, form.take_nearest, form.sketch))

    def _build_mask_options(self) -> None:
        form, expansion = self.form, ui.expansion(say("mask_options")).props("dense dense-toggle").mark("mask-options")
        with expansion.classes("w-full"), ui.element("div").classes("pair"):
            fields.choice(form, "mask_fill", {fill: say(key) for fill, key in FILL_WORDS.items()})
            fields.number(form, "mask_blur", 0, 64)
            ui.checkbox(say("only_masked")).bind_value(form, "only_masked").mark("only_masked")
            fields.number(form, "padding", 0, 512)

    def _build_margins(self) -> None:
        expansion = ui.expansion(say("margins")).props("dense dense-toggle").mark("margins").classes("w-full")
        with expansion:
            ui.label(say("margins_hint")).classes("faint")
            with ui.element("div").classes("pair"):
                for side in SIDES:
                    field = fields.number(self.form, side, 0, MOST_MARGIN, step=8)
                    field.on_value_change(self._frame)

    def _extend(self, side: str, value: int) -> None:
        """An edge of the frame was dragged."""
        setattr(self.form, side, value)

    def _frame(self) -> None:
        """Show the frame as it is, and draw at its size."""
        self._canvas.frame(self.form.margins)
        if self._source is not None:
            with Image.open(self._tray.file(self._source)) as picture:
                self.form.fit(picture.size, LARGEST * max(self.desk.services.defaults.size))
        self._explain()

    def _restore(self, source: str | None, mask: str | None) -> None:
        """What the visitor worked on last, if it is still there."""
        try:
            if source is None:
                raise RequestError("")
            self._tray.file(source)
            self._mask = None if mask is None else self._tray.get(mask)
        except RequestError:
            source = mask = None
        self._source = source
        self._show(mask)

    def _show(self, mask: str | None = None) -> None:
        self._fault.set_visibility(False)
        self._canvas.frame(self.form.margins)
        self._drop.slim(self._source is not None)
        self._canvas.show(tray_url(self._source) if self._source else "", tray_url(mask) if mask else "")
        self._explain()

    def _explain(self) -> None:
        self._hint.set_visibility(self._source is not None)
        whole = self._mask is None and not any(self.form.margins)
        self._hint.set_text(say("mask_none" if whole else "mask_some"))

    def _pick(self, name: str) -> None:
        """Work on a picture of the tray from now on."""
        try:
            with Image.open(self._tray.file(name)) as picture:
                self.form.begin(picture.size, LARGEST * max(self.desk.services.defaults.size))
        except RequestError as error:
            self._refuse(str(error))
            return
        self._source, self._mask = name, None
        app.storage.user["edit_source"], app.storage.user["edit_mask"] = name, None
        self._show()

    def _refuse(self, words: str) -> None:
        self._fault.set_text(words)
        self._fault.set_visibility(True)

    async def _painted(self, data: str) -> None:
        """Take the mask as it is now, one after the other; one with nothing painted is none."""
        async with self._painting:
            try:
                mask = await asyncio.to_thread(images.from_base64, data, self.desk.services.limits.picture_pixels)
                mask = mask.convert("L")
                self._mask = mask if mask.getbbox() else None
                name = None if self._mask is None else await asyncio.to_thread(self._tray.put, mask)
                app.storage.user["edit_mask"] = name
            except SfumatoError as error:
                self._refuse(str(error))
        self._explain()

    async def submit(self) -> Job:
        """See :class:`Workbench`. A stroke that is still on its way counts."""
        if self._source is None:
            raise RequestError(say("source_none"))
        queue, name = self.desk.services.queue, self._source
        async with self._painting:
            mask = self._mask
        picture = await asyncio.to_thread(self._tray.get, name)
        request = await asyncio.to_thread(self.form.edit, picture, mask)
        if request.init is not None and request.init.extended:
            name = await asyncio.to_thread(self._tray.put, request.init.picture)
        job = await asyncio.to_thread(queue.submit, request, model=self.form.model)
        self._befores.keep(job.id, name, self.form.resize_mode)
        return job

    async def _work_on(self, job: Job, index: int) -> None:
        try:
            self._pick(await asyncio.to_thread(self._tray.read, job.pictures[index].path.read_bytes()))
        except (SfumatoError, OSError) as error:
            self._refuse(str(error))

    def use(self, job: Job, index: int) -> None:
        """Fill in the settings of a picture that was made before."""
        self.form.model = job.model
        self.form.take(job.pictures[index].info)
        self._build_form.refresh()


def _form(desk: Desk) -> EditForm:
    width, height = desk.services.defaults.size
    begin = {"width": width, "height": height, "steps": desk.services.defaults.steps}
    return EditForm.of(app.storage.user.get("edit_form") or begin)


def arrive(desk: Desk, tray: Tray, job: str, index: int, picture: str) -> RedirectResponse:
    """Put a picture of a job, or of the gallery, on the page with its settings, and go there.

    Raises:
        SfumatoError: it is gone.
    """
    form, services = _form(desk), desk.services
    path = arrived(services, job, index, picture)
    if job:
        found = services.queue.get(job, whole=False)
        form.model, words = found.model, infotext.write(found.pictures[index].info)
    else:
        words = services.gallery.get(picture).facts.infotext
    made = infotext.to_request(infotext.parse(words)) if words else None
    name = tray.read(path.read_bytes())
    if made is not None:
        form.take(made)
    form.seed = None
    with Image.open(tray.file(name)) as seen:
        form.begin(seen.size, LARGEST * max(services.defaults.size))
    app.storage.user.update(edit_form=form.state(), edit_source=name, edit_mask=None)
    return RedirectResponse("/edit", 303)
