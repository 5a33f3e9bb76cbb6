"""The page that trains: a folder of pictures on the left, the run and what it has learnt on the right."""

from __future__ import annotations

import re
from typing import Any

from nicegui import app, run, ui
from nicegui.events import UploadEventArguments

from sfumato.errors import SfumatoError
from sfumato.server.trainings import Trainings
from sfumato.server.ui import fields
from sfumato.server.ui.desk import Desk
from sfumato.server.ui.frame import frame
from sfumato.server.ui.run_view import RunView
from sfumato.server.ui.tables import table
from sfumato.server.ui.train_form import METHODS, TrainForm
from sfumato.server.ui.units import gigabytes, minutes
from sfumato.server.ui.words import say


class TrainPage:
    """One visit of the page. What was filled in is kept; the runs themselves lie on disk."""

    def __init__(self, desk: Desk, trainings: Trainings) -> None:
        self._desk, self._trainings = desk, trainings
        self.form = TrainForm.of(app.storage.user.get("train"))
        with frame("train"), ui.element("div").classes("studio"):
            with ui.element("section").classes("panel").props(f'aria-label="{say("train_new")}"'):
                self._build_data()
                self._build_settings()
                self._build_buttons()
            with ui.element("section").props(f'aria-label="{say("train_runs")}"'):
                self._view = RunView(desk, trainings)
        ui.timer(2, self._keep)

    def _build_data(self) -> None:
        form = self.form
        ui.label(say("train_intro")).classes("faint")
        if self._trainings.allowed != ():
            folder = ui.input(say("train_folder"), placeholder=say("train_folder_hint")).bind_value(form, "data_dir")
            folder.props("outlined dense").classes("w-full").on_value_change(self._name_after_folder)
            folder.bind_visibility_from(form, "upload", backward=lambda sent: not sent)
        accept = ".png,.jpg,.jpeg,.webp,.bmp,.txt,.caption,.jsonl,.csv"
        fields.send(say("train_upload"), accept, self._take, self._desk.services.limits.body_bytes, several=True)
        with ui.row().classes("items-center") as sent:
            self._sent = ui.label(say("train_sent", name=form.upload)).classes("faint").mark("sent")
            ui.button(say("train_forget_upload"), on_click=self._forget_upload).props("flat dense no-caps")
        sent.bind_visibility_from(form, "upload", backward=bool)
        ui.input(say("train_name")).bind_value(form, "name").props("outlined dense").classes("w-full")

    def _build_settings(self) -> None:
        form, services = self.form, self._desk.services
        methods = {name: say(key) for name, key in METHODS.items()}
        ui.select(methods, label=say("method")).bind_value(form, "method").props("outlined dense").classes("w-full")
        words = ui.input(say("train_words")).bind_value(form, "words").props("outlined dense").classes("w-full")
        words.tooltip(say("train_words_hint"))
        others = {name: name for name in services.models() if name != services.defaults.model}
        fields.choice(form, "model", {None: services.defaults.model, **others})
        with ui.element("div").classes("pair"):
            fields.number(form, "epochs", 1, 1_000_000)
            fields.number(form, "learning_rate", 1e-12, 100, step=1e-5)
            rank = fields.number(form, "rank", 1, 1024)
            rank.bind_visibility_from(form, "method", backward=lambda method: method == "lora")
            fields.number(form, "sample_every", 0, 1_000_000)
            fields.number(form, "class_pictures", 0, 100_000, hint=say("class_pictures_hint"))
        ui.checkbox(say("flip")).bind_value(form, "flip")

    def _build_buttons(self) -> None:
        self._error = ui.label().classes("error").props('role="alert"').mark("train-error")
        self._error.set_visibility(False)
        self._found = ui.element("div").props('aria-live="polite"').mark("plan")
        self._look = ui.button(say("train_plan"), on_click=self._plan).props("outline no-caps").classes("w-full")
        with ui.element("div").classes("launch"):
            ui.button(say("train_start"), on_click=self._start).props("unelevated no-caps").classes("go")

    async def _take(self, event: UploadEventArguments) -> None:
        """Keep a file that was sent, in the upload of this visit's name."""
        name = self.form.upload or _as_name(self.form.name) or "pictures"
        try:
            count = await run.io_bound(self._trainings.upload, name, event.file.name, await event.file.read())
        except SfumatoError as error:
            ui.notify(str(error), type="warning")
            return
        self.form.upload = name
        self.form.name = self.form.name or name
        self._sent.set_text(f"{say('train_sent', name=name)} {say('train_files', count=count)}")

    def _forget_upload(self) -> None:
        self.form.upload = ""

    def _name_after_folder(self) -> None:
        self.form.name = _as_name(re.split(r"[/\\]", self.form.data_dir.rstrip("/\\"))[-1]) or self.form.name

    def _keep(self) -> None:
        if (state := self.form.state()) != app.storage.user.get("train"):
            app.storage.user["train"] = state

    async def _plan(self) -> None:
        self._tell(None)
        self._look.props("loading")
        try:
            plan = await run.io_bound(self._trainings.plan, self.form.wanted())
            if plan is not None:  # it is where the server ends meanwhile
                self._show(plan)
        except SfumatoError as error:
            self._tell(error)
        finally:
            self._look.props(remove="loading")

    def _start(self) -> None:
        self._keep()
        try:
            made = self._trainings.start(self.form.wanted())
        except SfumatoError as error:
            self._tell(error)
            return
        self._tell(None)
        self._view.show(made.name)

    def _tell(self, error: SfumatoError | None) -> None:
        self._error.set_text("" if error is None else str(error))
        self._error.set_visibility(error is not None)

    def _show(self, plan: dict[str, Any]) -> None:
        """What was found, as a table; the memory is red where there is less."""
        sizes = ", ".join(f"{each['width']}×{each['height']}: {each['pictures']}" for each in plan["sizes"])
        remembered = f" + {plan['remembered']} {say('train_remembered')}" if plan["remembered"] else ""
        memory = say("of_memory", used=gigabytes(plan["memory_bytes"]), free=gigabytes(plan["memory_free"]))
        rows = [
            (say("train_pictures"), f"{plan['pictures']}{remembered}"),
            (say("train_captions"), "; ".join(plan["captions"][:3])),
            (say("train_buckets"), sizes),
            (say("steps"), str(plan["steps"])),
            (say("train_takes"), minutes(plan["seconds"])),
            (say("train_memory"), memory),
        ]  # fmt: skip
        self._found.clear()
        with self._found:
            table((), rows)
            if plan["memory_bytes"] > plan["memory_free"]:
                ui.label(say("train_too_big")).classes("error")
            for each in plan["skipped"]:
                ui.label(say("train_skipped", name=each["path"], reason=each["reason"])).classes("faint")
            for note in plan["notes"]:
                ui.label(note).classes("faint")


def _as_name(text: str) -> str:
    """The text as a run can be called.

    >>> _as_name("my cats!")
    'my cats'
    """
    return re.sub(r"[^\w .-]+", "", text).strip(" .-")[:100]
