"""The form's fields, each bound to the attribute of its name."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Protocol

from nicegui import run, ui
from nicegui.events import UploadEventArguments

from sfumato.errors import CheckpointError
from sfumato.sampling.names import SAMPLERS, SCHEDULERS
from sfumato.server.services import Services
from sfumato.server.ui.desk import Desk
from sfumato.server.ui.form import SHAPES, STEP, Form
from sfumato.server.ui.names import Names
from sfumato.server.ui.reading import read_prompt
from sfumato.server.ui.words import say
from sfumato.weights.detect import LABELS
from sfumato.weights.survey import surveys

#: Seconds without a key after which it is told how the words are read.
PAUSE = 0.25
#: Between a model's name and its family where only one text can be given.
PARTING = "\u2003"
#: How one is shown, chosen and in the list; Vue fills the text in, as text.
_FAMILY = {
    "selected-item": """
        <span class="ellipsis">{{ props.opt.label.split("\u2003")[0] }}</span>
        <span v-if="props.opt.label.includes('\u2003')" class="family">{{ props.opt.label.split("\u2003")[1] }}</span>
    """,
    "option": """
        <q-item v-bind="props.itemProps">
            <q-item-section>{{ props.opt.label.split("\u2003")[0] }}</q-item-section>
            <q-item-section side v-if="props.opt.label.includes('\u2003')">
                <span class="family">{{ props.opt.label.split("\u2003")[1] }}</span>
            </q-item-section>
        </q-item>
    """,
}


class Pause:
    """Acts when nothing has been heard for a moment.

    A browser draws the whole page anew for whatever changes on it, which would be felt at each key.
    """

    def __init__(self, act: Callable[[], None]) -> None:
        self._act = act
        self._waiting: asyncio.TimerHandle | None = None

    def heard(self) -> None:
        """Wait anew."""
        if self._waiting is not None:
            self._waiting.cancel()
        self._waiting = asyncio.get_running_loop().call_later(PAUSE, self._act)


class Offering(Protocol):
    """What is offered for the word that is being typed."""

    def follow(self) -> None:
        """Take in a change."""

    def refresh(self) -> None:
        """Offer what fits by now."""


def prompt(form: Form, name: str, desk: Desk, offer: Callable[[Names, ui.textarea], Offering] | None = None) -> None:
    """A text field that grows, with its tokens, how it is read, what is wrong with it, and what ``offer`` makes below
    it.
    """
    hint = say("prompt_hint" if name == "prompt" else "negative_hint")
    names = Names(desk.services)

    def tell() -> None:
        if area.is_deleted:
            return
        words = getattr(form, name) or ""
        count, room = desk.count_tokens(words)
        below.set_text(say("tokens", count=count, room=room))
        below.set_visibility(name == "prompt" or bool(words))
        read = read_prompt(words, names.now())
        marked = "<span" in read.html
        reading.set_content(read.html if marked else "")
        reading.set_visibility(marked)
        wrong.set_text(" ".join(read.faults))
        wrong.set_visibility(bool(read.faults))
        if offers is not None:
            offers.refresh()

    area = ui.textarea(say(name), placeholder=hint).bind_value(form, name).mark(name)
    area.props("autogrow outlined dense").classes("w-full")
    offers = None if offer is None else offer(names, area)
    reading = ui.html("", sanitize=False).classes("reading")
    wrong = ui.label().classes("error").props('role="status"').mark(f"{name}-faults")
    below = ui.label().classes("faint").mark(f"{name}-tokens")
    tell()
    if offers is not None:
        area.on_value_change(offers.follow)
    area.on_value_change(Pause(tell).heard)


def number(form: object, name: str, low: float, high: float, *, step: float = 1, hint: str = "") -> ui.number:
    """A number; empty is None where the form allows it."""
    field = ui.number(say(name), min=low, max=high, step=step, placeholder=hint).bind_value(form, name).mark(name)
    field.props("outlined dense").classes("w-full")
    if hint:
        field.props("clearable").tooltip(hint)
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


def choice(form: object, name: str, options: Mapping[str | None, str]) -> ui.select:
    """One of several; the key None stands for what the settings say."""
    words = {"" if key is None else key: text for key, text in options.items()}

    def read(value: str | None) -> str:
        return value if value in words else ""

    field = ui.select(words, label=say(name), with_input=len(words) > 12).mark(name)
    field.bind_value(form, name, forward=lambda value: value or None, backward=read)
    field.props("outlined dense options-dense").classes("w-full")
    return field


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
    """Which model draws, with the family of each; none chosen is that of the settings."""
    found = services.models()
    others = {name: name for name in found if name != services.defaults.model}
    picker = choice(form, "model", {None: services.defaults.model, **others})
    for slot, template in _FAMILY.items():
        picker.add_slot(slot, template)

    async def tell() -> None:
        with contextlib.suppress(CheckpointError):  # one went meanwhile; the names stay
            seen = await run.io_bound(surveys, [*found.values()]) or ()
            words = {each.path: say("unusable") if each.problem else LABELS[each.family] for each in seen}
            families = {name: words.get(str(path), "") for name, path in found.items()}
            if not picker.is_deleted:
                named = {name: _with_family(name, families) for name in others}
                picker.set_options({"": _with_family(services.defaults.model, families), **named})

    ui.timer(0.1, tell, once=True)


def _with_family(name: str, families: Mapping[str, str]) -> str:
    return f"{name}{PARTING}{families[name]}" if families.get(name) else name


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
