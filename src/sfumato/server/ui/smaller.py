"""Models that are made smaller: the question, how far it is, and the report."""

from __future__ import annotations

from collections.abc import Callable

from nicegui import run, ui

from sfumato.errors import SfumatoError
from sfumato.quant.rules import LAYOUTS, TYPES
from sfumato.server.quantizations import Quantization, Quantizations, Smaller
from sfumato.server.services import Services
from sfumato.server.ui.tables import table
from sfumato.server.ui.units import gigabytes
from sfumato.server.ui.words import say

#: The sentence of each state.
STATES = {"running": "smaller_running", "done": "smaller_done", "failed": "smaller_failed",
          "cancelled": "smaller_cancelled"}  # fmt: skip
LAYOUT_WORDS = dict(zip(LAYOUTS, ("layout_portable", "layout_compact"), strict=True))


class SmallerView:
    """A dialog that asks, and a list that shows. ``made`` is called when there is a new model."""

    def __init__(self, services: Services, quantizations: Quantizations, made: Callable[[], object]) -> None:
        self._services, self._all, self._made = services, quantizations, made
        self._seen: tuple[Quantization, ...] = ()
        self._bar: ui.linear_progress | None = None
        self._list = ui.element("div").classes("jobs smaller").props('aria-live="polite"')
        with ui.dialog().props(f'aria-label="{say("quantize")}"') as self._dialog:
            self._card = ui.card().classes("big")
        self._refresh()
        ui.timer(0.5, self._refresh)

    def ask(self, model: str) -> None:
        """Ask how small, and begin."""
        self._card.clear()
        with self._card:
            ui.label(say("smaller_title", name=model))
            ui.label(say("smaller_hint")).classes("faint")
            types = ui.select(list(TYPES), value="q8_0", label=say("type")).props("outlined dense").classes("w-full")
            words = {layout: say(key) for layout, key in LAYOUT_WORDS.items()}
            layouts = ui.select(words, value=LAYOUTS[0], label=say("layout")).props("outlined dense").classes("w-full")
            name = ui.input(say("smaller_name")).props("outlined dense").classes("w-full")

            def rename() -> None:
                name.set_value(Smaller(model=model, type=types.value, layout=layouts.value).output)

            types.on_value_change(rename)
            layouts.on_value_change(rename)
            rename()
            fault = ui.label().classes("error").props('role="alert"')

            def begin() -> None:
                wanted = Smaller(model=model, type=types.value, layout=layouts.value, name=name.value or None)
                try:
                    self._all.start(wanted, self._services.models()[model])
                except (SfumatoError, KeyError) as error:
                    fault.set_text(say("model_lost") if isinstance(error, KeyError) else str(error))
                    return
                self._dialog.close()
                self._refresh()

            with ui.row():
                ui.button(say("quantize"), on_click=begin).props("unelevated no-caps").mark("begin")
                ui.button(say("close"), on_click=self._dialog.close).props("flat no-caps")
        self._dialog.open()

    def _refresh(self) -> None:
        """Build anew when one begins or ends; between that only the bar moves."""
        now = self._all.list()
        if [(one.name, one.state) for one in now] != [(one.name, one.state) for one in self._seen]:
            if len(self._seen) == len(now) and any(one.state == "done" for one in now[:1]):
                self._made()
            self._build(now)
        self._seen = now
        for one in now:
            if one.state == "running" and self._bar is not None and one.total:
                self._bar.set_value(one.done / one.total)

    def _build(self, all: tuple[Quantization, ...]) -> None:
        self._bar = None
        self._list.clear()
        with self._list:
            if all:
                ui.element("h2").add_slot("default", say("smaller"))
            for one in all:
                with ui.element("div").classes("job made").mark("smaller"):
                    self._one(one)

    def _one(self, one: Quantization) -> None:
        ui.label(say(STATES[one.state], name=one.name, reason=one.message)).classes(
            "error" if one.state == "failed" else ""
        )
        if one.state == "running":
            self._bar = ui.linear_progress(0, show_value=False).props(f'aria-label="{say("smaller")}"')
            cancel = ui.button(say("cancel"), on_click=lambda: self._cancel(one.name)).props("flat no-caps dense")
            cancel.props["aria-label"] = f"{say('cancel')}: {one.name}"
        if one.report is not None:
            ui.label(_summary(one)).classes("faint")
            heads = ("part", "type", "tensors", "weights", "size", "error")
            table(heads, [_row(group) for group in one.report["groups"]])

    async def _cancel(self, name: str) -> None:
        try:
            await run.io_bound(self._all.cancel, name)
        except SfumatoError as error:
            ui.notify(str(error), type="warning")
        self._refresh()


def _summary(one: Quantization) -> str:
    report = one.report or {}
    words = say(
        "smaller_report",
        bits=f"{report['bits_per_weight']:.2f}",
        size=gigabytes(report["bytes"]),
        before=gigabytes(report["bytes_before"]),
    )
    kept = ", ".join(f"{count} ({why})" for why, count in sorted(report["kept"].items()))
    return f"{words} {say('smaller_kept', type=one.type, which=kept)}" if kept else words


def _row(group: dict) -> tuple[str, ...]:
    weights = f"{group['numbers'] / 1e6:.2f} M"
    error = f"{group['error']:.2%}"
    return group["part"], group["type"], str(group["tensors"]), weights, gigabytes(group["bytes"]), error
