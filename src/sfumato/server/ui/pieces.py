"""Pieces of prompts: LoRAs with their strength, embeddings and styles, put in by a click, or offered while typing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from nicegui import ui
from nicegui.events import UploadEventArguments

from sfumato.errors import SfumatoError
from sfumato.server.services import Services
from sfumato.server.styles import MOST_BYTES, Style
from sfumato.server.ui import fields
from sfumato.server.ui.form import Form
from sfumato.server.ui.names import Names
from sfumato.server.ui.words import say

#: How many names are offered while a word is typed.
OFFERED = 6
_WILDCARD = re.compile(r"__[\w\-./ ]*$")
_TYPED = re.compile(r"(<lora:[^<>:]*|<[a-z]*|[\w.-]{2,})$")


def with_lora(prompt: str, name: str, strength: float) -> str:
    """The prompt with a LoRA at its end, or of another strength where it has it; 0 takes it out.

    >>> with_lora("a cat", "zorb", 0.8), with_lora("a cat <lora:zorb:1>", "zorb", 0.5)
    ('a cat <lora:zorb:0.8>', 'a cat <lora:zorb:0.5>')
    >>> with_lora("a cat <lora:zorb:1>", "zorb", 0)
    'a cat'
    """
    tag = f"<lora:{name}:{strength:g}>" if strength else ""
    there = re.compile(rf"<lora:{re.escape(name)}(:[^<>]*)?>")
    changed = there.sub(lambda _: tag, prompt) if there.search(prompt) else f"{prompt.rstrip()} {tag}"
    return changed.strip()


def completions(
    prompt: str, loras: Iterable[str], embeddings: Iterable[str], wildcards: Iterable[str] = ()
) -> list[tuple[str, str]]:
    """What the word at the prompt's end may become: each name, and the prompt with it.

    >>> completions("a cat <lora:zo", ["zorb", "other"], [])
    [('zorb', 'a cat <lora:zorb:1>')]
    >>> completions("a cat, bad", [], ["badhands"])
    [('badhands', 'a cat, badhands')]
    >>> completions("a __col", [], [], ["colours", "animals/cats"])
    [('__colours__', 'a __colours__')]
    """
    before, mark, begun = prompt.rpartition("__")
    if mark and prompt.count("__") % 2 and _WILDCARD.search(mark + begun):
        found = [f"__{name}__" for name in wildcards if begun.lower() in name.lower()]
        return [(name, before + name) for name in found[:OFFERED]]
    match = _TYPED.search(prompt)
    if match is None:
        return []
    typed, before = match[1], prompt[: match.start()]
    if typed.startswith("<"):
        begun = typed.removeprefix("<lora:") if typed.startswith("<lora:") else ""
        if not "<lora:".startswith(typed[:6]):
            return []
        found = [name for name in loras if begun.lower() in name.lower()]
        return [(name, f"{before}<lora:{name}:1>") for name in found[:OFFERED]]
    found = [name for name in embeddings if name.lower().startswith(typed.lower()) and name != typed]
    return [(name, before + name) for name in found[:OFFERED]]


def caret(before: str, now: str) -> int:
    """Where typing stands that made ``now`` of ``before``.

    >>> caret("a ca", "a cat"), caret("see dog", "seee dog"), caret("a big cat", "a bi cat")
    (5, 4, 4)
    """
    same = next((k for k, (old, new) in enumerate(zip(before, now, strict=False)) if old != new), None)
    same = min(len(before), len(now)) if same is None else same
    return same + max(0, len(now) - len(before))


class Offers:
    """A row of names below the prompt, for the word that is being typed in it."""

    def __init__(self, form: Form, names: Names, field: ui.textarea) -> None:
        self._form, self._names, self._field = form, names, field
        self._seen = form.prompt or ""
        self._at = len(self._seen)
        self._shown: list[tuple[str, str]] = []
        self._row = ui.row().classes("gap-1").props(f'role="group" aria-label="{say("offers")}"').mark("offers")
        self._row.set_visibility(False)

    def follow(self) -> None:
        """Take in where typing stands; to be called at each change."""
        prompt = self._form.prompt or ""
        self._at, self._seen = caret(self._seen, prompt), prompt

    def refresh(self) -> None:
        """Offer what fits by now."""
        prompt, known = self._seen, self._names.now()
        begun, rest = prompt[: self._at], prompt[self._at :]
        found = [] if rest[:1].isalnum() else completions(begun, known.loras, known.embeddings, known.wildcards)
        found = [(name, words + rest) for name, words in found]
        if found == self._shown:
            return
        self._shown = found
        self._row.set_visibility(bool(found))
        self._row.clear()
        with self._row:
            for name, words in found:
                button = ui.button(name, on_click=lambda _, words=words: self._take(words))
                button.props("outline dense no-caps size=sm padding='2px 8px'")

    def _take(self, prompt: str) -> None:
        self._form.prompt = prompt
        self._field.run_method("focus")
        self.refresh()


class Pieces:
    """The drawer of LoRAs, embeddings and styles below the prompts."""

    def __init__(self, form: Form, services: Services) -> None:
        self._form, self._services = form, services
        with ui.expansion(say("pieces"), icon="auto_awesome").classes("w-full pieces").props("dense"):
            self._build_loras()
            self._build()

    def _build_loras(self) -> None:
        services = self._services
        loras, embeddings = services.loras(), services.embeddings()
        if not loras and not embeddings:
            ui.label(say("pieces_none")).classes("faint")
        if loras:
            with ui.element("div").classes("strength"):
                slider = ui.slider(min=0, max=2, step=0.05, value=1.0).props(f'aria-label="{say("strength")}"')
                ui.label().bind_text_from(slider, "value", lambda value: f"{value:g}")
            self._buttons(say("loras"), loras, lambda name: self._put_lora(name, slider.value or 0.0))
        if embeddings:
            self._buttons(say("embeddings"), embeddings, self._put_word)

    def _buttons(self, title: str, names: Iterable[str], act: Callable[[str], None]) -> None:
        ui.label(title).classes("faint")
        with ui.row().classes("gap-1").props(f'role="group" aria-label="{title}"'):
            for name in names:
                button = ui.button(name, on_click=lambda _, each=name: act(each))
                button.props("outline dense no-caps size=sm padding='2px 8px'").mark("piece")

    def _put_lora(self, name: str, strength: float) -> None:
        self._form.prompt = with_lora(self._form.prompt, name, strength)

    def _put_word(self, name: str) -> None:
        self._form.prompt = ", ".join(part for part in (self._form.prompt.strip(), name) if part)

    @ui.refreshable_method
    def _build(self) -> None:
        """The styles."""
        styles = self._services.styles
        if styles is None:
            return
        try:
            known = styles.read()
        except SfumatoError as error:
            ui.label(str(error)).classes("error")
            return
        if known:
            self._buttons(say("styles"), known, lambda name: self._put_style(known[name]))
        with ui.element("div").classes("keeping"):
            self._name = ui.input(say("style_name")).props("outlined dense")
            keep = ui.button(icon="bookmark_add", on_click=self._keep)
            keep.props(f'flat round dense aria-label="{say("style_keep")}"').tooltip(say("style_keep"))
            drop = ui.button(icon="bookmark_remove", on_click=self._drop)
            drop.props(f'flat round dense aria-label="{say("style_drop")}"').tooltip(say("style_drop"))
        fields.send(say("style_import"), ".csv", self._take, MOST_BYTES)

    def _put_style(self, style: Style) -> None:
        form = self._form
        form.prompt, form.negative_prompt = style.apply(form.prompt, form.negative_prompt)

    def _keep(self) -> None:
        form, name = self._form, (self._name.value or "").strip()
        self._change(Style(name=name, prompt=form.prompt, negative_prompt=form.negative_prompt))

    def _drop(self) -> None:
        self._change((self._name.value or "").strip())

    async def _take(self, event: UploadEventArguments) -> None:
        self._change(await event.file.read())

    def _change(self, what: Style | str | bytes) -> None:
        """Keep a style, drop that of a name, or take in a file's."""
        styles = self._services.styles
        if styles is None:
            return
        try:
            if isinstance(what, Style):
                styles.put(what)
            elif isinstance(what, str):
                styles.remove(what)
            else:
                ui.notify(say("style_taken", count=styles.take(what)))
        except SfumatoError as error:
            ui.notify(str(error), type="warning")
            return
        self._build.refresh()
