"""The form's fields, each bound to the attribute of its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from nicegui import ui
from nicegui.events import UploadEventArguments

from sfumato.sampling.names import SAMPLERS, SCHEDULERS
from sfumato.server.services import Services
from sfumato.server.ui.form import SHAPES, STEP, Form
from sfumato.server.ui.reading import read_html
from sfumato.server.ui.words import say


class Offering(Protocol):
    """What is offered for the word that is being typed."""

    def refresh(self) -> None:
        """Offer what fits by now."""


def prompt(
    form: Form,
    name: str,
    count_tokens: Callable[[str], tuple[int, int]],
    offer: Callable[[], Offering] | None = None,
) -> None:
    """A text field that grows, with its tokens, how its weights are read, and what ``offer`` makes below it."""
    hint = say("prompt_hint" if name == "prompt" else "negative_hint")

    def tell() -> None:
        words = getattr(form, name)
        count, room = count_tokens(words)
        below.set_text(say("tokens", count=count, room=room))
        reading.set_content(read_html(words))
        reading.set_visibility(any(mark in words for mark in "()[]"))
        below.set_visibility(name == "prompt" or bool(words))
        if offers is not None:
            offers.refresh()

    area = ui.textarea(say(name), placeholder=hint).bind_value(form, name).mark(name)
    area.props("autogrow outlined dense").classes("w-full")
    offers = None if offer is None else offer()
    reading = ui.html("", sanitize=False).classes("reading")
    below = ui.label().classes("faint").mark(f"{name}-tokens")
    tell()
    area.on_value_change(tell)


def number(form: object, name: str, low: float, high: float, *, step: float = 1, hint: str = "") -> ui.number:
    """A number; empty is None where the form allows it."""
    field = ui.number(say(name), min=low, max=high, step=step, placeholder=hint).bind_value(form, name).mark(name)
    field.props("outlined dense").classes("w-full")
    if hint:
        field.props("clearable").tooltip(hint)
    return field
    return field


def share(form: Form, name: str, hint: str) -> None:
    """A number from 0 to 1, to drag or to type."""
    with ui.element("div").classes("share"):
        slider = ui.slider(min=0, max=1, step=0.05).bind_value(form, name).mark(f"{name}-slider")
        slider.props(f'aria-label="{say(name)}"')
        field = ui.number(say(name), min=0, max=1, step=0.05).bind_value(form, name).mark(name)
        field.props("outlined dense")
        ui.label(hint).classes("faint")


def send(
    label: str, accept: str, take: Callable[[UploadEventArguments], object], most: int, *, several: bool = False
) -> None:
    """A button that asks for files, each of at most ``most`` bytes, and hands them to ``take``.

    Quasar's own uploader has no name for screen readers, so it is not shown.
    """

    def refuse() -> None:
        ui.notify(say("file_rejected"), type="warning")

    hidden = ui.upload(multiple=several, auto_upload=True, on_upload=take, max_file_size=most, on_rejected=refuse)
    hidden.props(f'accept="{accept}"').classes("sender")
    button = ui.button(label, icon="upload", on_click=lambda: hidden.run_method("pickFiles"))
    button.props("outline dense no-caps padding='6px 10px'")


def choice(form: object, name: str, options: Mapping[str | None, str]) -> None:
    """One of several; the key None stands for what the settings say."""
    words = {"" if key is None else key: text for key, text in options.items()}

    def read(value: str | None) -> str:
        return value if value in words else ""

    field = ui.select(words, label=say(name), with_input=len(words) > 12).mark(name)
    field.bind_value(form, name, forward=lambda value: value or None, backward=read)
    field.props("outlined dense options-dense").classes("w-full")


def size(form: Form, side: int) -> None:
    """Width and height, three shapes, and a swap."""
    with ui.row().classes("gap-1").props(f'role="group" aria-label="{say("shape")}"'):
        for shape in SHAPES:
            ui.button(say(shape), on_click=lambda _, s=shape: form.reshape(s, side)).props("flat no-caps dense size=sm")
    with ui.element("div").classes("shape"):
        number(form, "width", STEP, 4096, step=STEP)
        swap = ui.button(icon="swap_horiz", on_click=form.swap)
        swap.props(f'flat round dense aria-label="{say("swap")}"')
        number(form, "height", STEP, 4096, step=STEP)


def model(form: Form, services: Services) -> None:
    """Which model draws; none chosen is that of the settings."""
    others = {name: name for name in services.models() if name != services.defaults.model}
    choice(form, "model", {None: services.defaults.model, **others})


def numbers(form: Form, *, batch: bool = True) -> None:
    """How it is drawn, in pairs."""
    with ui.element("div").classes("pair"):
        number(form, "steps", 1, 1000)
        if batch:
            number(form, "batch_size", 1, 64)
        choice(form, "sampler", {None: say("automatic"), **{each.label: each.label for each in SAMPLERS}})
        choice(form, "scheduler", {None: say("automatic"), **{each.label: each.label for each in SCHEDULERS}})
        number(form, "cfg_scale", 0, 100, step=0.5, hint=say("cfg_hint"))
        number(form, "seed", 0, 2**53, hint=say("seed_hint"))
