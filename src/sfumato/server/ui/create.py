"""The page that creates: words and numbers on the left, the picture on the right, those made before below it."""

from __future__ import annotations

from nicegui import app, ui
from nicegui.events import KeyEventArguments

from sfumato.errors import SfumatoError
from sfumato.sampling.names import SAMPLERS, SCHEDULERS
from sfumato.server.ui import fields
from sfumato.server.ui.desk import Desk
from sfumato.server.ui.form import Form
from sfumato.server.ui.frame import frame
from sfumato.server.ui.stage import Stage
from sfumato.server.ui.words import say

#: An example is drawn at this many pixels a side, in this many steps: seconds on any machine.
QUICK_SIDE, QUICK_STEPS = 256, 20


class CreatePage:
    """One visit of the page. What was filled in is kept for the visitor's next one."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self._queue, defaults = desk.services.queue, desk.services.defaults
        width, height = defaults.size
        begin: dict[str, int] = {"width": width, "height": height, "steps": defaults.steps}
        self.form = Form.of(app.storage.user.get("form") or begin)
        with frame("create"), ui.element("div").classes("studio"):
            with ui.element("div").classes("panel"):
                self._build_form()
            with ui.element("div"):
                self.stage = Stage(self._queue, self.use)
        self.stage.resume(app.storage.user.get("jobs", []))
        ui.keyboard(on_key=self._key, ignore=[])
        ui.timer(0.3, self.stage.refresh)
        ui.timer(2, self._keep)

    @ui.refreshable_method
    def _build_form(self) -> None:
        form, desk = self.form, self.desk
        fields.prompt(form, "prompt", desk.count_tokens)
        if not form.prompt and not app.storage.user.get("jobs"):
            self._build_examples()
        fields.prompt(form, "negative_prompt", desk.count_tokens)
        services = desk.services
        others = {name: name for name in services.models() if name != services.defaults.model}
        fields.choice(form, "model", {None: services.defaults.model, **others})
        fields.size(form, max(services.defaults.size))
        with ui.element("div").classes("pair"):
            fields.number(form, "steps", 1, 1000)
            fields.number(form, "batch_size", 1, 64)
            fields.choice(form, "sampler", {None: say("automatic"), **{each.label: each.label for each in SAMPLERS}})
            fields.choice(
                form, "scheduler", {None: say("automatic"), **{each.label: each.label for each in SCHEDULERS}}
            )
            fields.number(form, "cfg_scale", 0, 100, step=0.5, hint=say("cfg_hint"))
            fields.number(form, "seed", 0, 2**53, hint=say("seed_hint"))
        self.error = ui.label().classes("error").props('role="alert"')
        self.error.set_visibility(False)
        button = ui.button(say("generate"), on_click=self.generate).classes("go")
        button.props(f'unelevated no-caps title="{say("generate_hint")}"').mark("generate")

    def _build_examples(self) -> None:
        ui.label(say("examples")).classes("faint")
        with ui.row().classes("gap-2"):
            for example in self.desk.examples:
                ui.button(example, on_click=lambda _, words=example: self._try(words)).props(
                    "outline no-caps dense size=sm padding='4px 10px'"
                )

    def _try(self, example: str) -> None:
        self.form.prompt = example
        self.form.width = self.form.height = QUICK_SIDE
        self.form.steps = QUICK_STEPS
        self.generate()

    def generate(self) -> None:
        """Put the form's request into the queue; what is wrong with it is said above the button."""
        self._keep()
        try:
            job = self._queue.submit(self.form.request(), model=self.form.model)
        except SfumatoError as error:
            self.error.set_text(str(error))
            self.error.set_visibility(True)
            return
        self.error.set_visibility(False)
        self.stage.show(job.id)
        app.storage.user["jobs"] = self.stage.jobs[:]

    def _keep(self) -> None:
        """Keep what is filled in for the next visit."""
        if (state := self.form.state()) != app.storage.user.get("form"):
            app.storage.user["form"] = state

    def use(self, form: Form) -> None:
        """Fill in the settings of a picture that was made before."""
        self.form = form
        self._build_form.refresh()

    def _key(self, event: KeyEventArguments) -> None:
        key, down = event.key, event.action.keydown
        if down and key == "Enter" and event.modifiers.ctrl:
            self.generate()
        elif down and key == "Escape":
            self.stage.interrupt()
