"""A training run as it goes: how far, the loss, the sample sheets, and what can be done with it."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

from nicegui import app, ui

from sfumato.errors import SfumatoError
from sfumato.server.trainings import Training, Trainings
from sfumato.server.ui.create_form import CreateForm
from sfumato.server.ui.curve import curve_svg
from sfumato.server.ui.desk import Desk
from sfumato.server.ui.units import minutes
from sfumato.server.ui.words import say

_ENDS = {"stopped": "train_stopped", "failed": "train_failed"}
#: How strongly a LoRA is tried.
STRENGTH = 0.8


class RunView:
    """Shows one run, and the list of all to choose from. ``training`` in the visitor's storage is the chosen one."""

    def __init__(self, desk: Desk, trainings: Trainings) -> None:
        self._desk, self._trainings = desk, trainings
        self._seen: object = None
        self._chosen: str | None = app.storage.user.get("training")
        self._build()
        self.refresh()
        ui.timer(1, self.refresh)

    def _build(self) -> None:
        self._list = ui.row().classes("gap-1").props(f'role="group" aria-label="{say("train_runs")}"')
        with ui.element("div").classes("stage run").props('aria-live="polite"'):
            self._title = ui.element("h2")
            self._line = ui.label(say("train_none")).classes("faint").mark("run-line")
            self._bar = ui.linear_progress(0, show_value=False).props(f'aria-label="{say("train")}"')
            self._curve = ui.html("", sanitize=False).classes("w-full")
            with ui.row():
                self._stop = self._button("train_stop", lambda run: self._trainings.stop(run.name))
                self._resume = self._button("train_resume", lambda run: self._trainings.resume(run.name))
                self._try = self._button("train_try", self._use)
            self._samples = ui.element("div").classes("sheets")

    def _button(self, key: str, act: Callable[[Training], object]) -> ui.button:
        def press() -> None:
            try:
                if (now := self._now()) is not None:
                    act(now)
            except SfumatoError as error:
                ui.notify(str(error), type="warning")
            self.refresh()

        return ui.button(say(key), on_click=press).props("outline no-caps").mark(key)

    def show(self, name: str) -> None:
        """Show a run, now and at the next visit."""
        self._chosen = app.storage.user["training"] = name
        self.refresh()

    def _now(self) -> Training | None:
        runs = self._trainings.list()
        return next((each for each in runs if each.name == self._chosen), runs[0] if runs else None)

    def refresh(self) -> None:
        """Draw anew what has changed."""
        runs = self._trainings.list()
        now = next((each for each in runs if each.name == self._chosen), runs[0] if runs else None)
        seen = (now, tuple((each.name, each.state) for each in runs))
        if seen == self._seen:
            return
        self._seen = seen
        self._draw_list(runs, now)
        for element, visible in (
            (self._bar, now is not None and now.state == "running"),
            (self._stop, now is not None and now.state in ("starting", "running")),
            (self._resume, now is not None and now.resumable),
            (self._try, now is not None and now.state == "done"),
        ):
            element.set_visibility(visible)
        if now is not None:
            self._draw(now)

    def _draw_list(self, runs: tuple[Training, ...], now: Training | None) -> None:
        self._list.clear()
        with self._list:
            for each in runs if len(runs) > 1 else ():
                here = now is not None and each.name == now.name
                button = ui.button(each.name, on_click=lambda _, name=each.name: self.show(name))
                button.props("no-caps dense size=sm padding='4px 10px'" + (" unelevated" if here else " outline"))
                button.props(f"aria-pressed={str(here).lower()}")

    def _draw(self, now: Training) -> None:
        self._title.clear()
        with self._title:
            ui.label(now.name)
        self._line.classes(add="error" if now.state == "failed" else "", remove="error")
        self._line.set_text(_describe(now))
        self._bar.set_value(now.step / max(1, now.steps))
        points = [(row["step"], row["loss"]) for row in self._trainings.metrics(now.name)]
        self._curve.set_content(curve_svg(points, say("train_curve")))
        self._samples.clear()
        with self._samples:
            for step in reversed(now.samples):
                ui.label(say("train_sheet", step=step)).classes("faint")
                address = f"/api/v1/trainings/{quote(now.name)}/samples/{step}"
                ui.html(f'<img src="{address}" alt="{say("train_sheet", step=step)}" loading="lazy">', sanitize=False)

    def _use(self, now: Training) -> None:
        """Open the page that creates with the result filled in."""
        form = CreateForm.of(app.storage.user.get("form"))
        name = now.output.removesuffix(".safetensors")
        words = now.words or say("train_try_words")
        if now.method == "full":
            form.model = name
        else:
            form.model = now.model
            words = f"{words} <lora:{name}:{STRENGTH}>" if now.method == "lora" else say("train_try_token", token=name)
        form.prompt = words
        app.storage.user["form"] = form.state()
        ui.navigate.to("/")


def _describe(now: Training) -> str:
    if now.state == "starting" or (now.state == "running" and not now.step):
        return say("train_drawn", count=now.drawn) if now.drawn else say("train_starting")
    far = say("working", step=now.step, steps=now.steps)
    loss = "" if now.loss is None else " · " + say("train_loss", loss=f"{now.loss:.4f}")
    if now.state == "running":
        return far + loss + ("" if now.eta is None else " · " + say("train_eta", time=minutes(now.eta)))
    if now.state == "done":
        return say("train_done", name=now.output) + loss
    return say(_ENDS[now.state], reason=now.message or far)
