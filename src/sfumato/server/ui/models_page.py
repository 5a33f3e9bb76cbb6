"""The models, and what goes on or into them: what each is and looks like, in and out of memory, made smaller; and where
to put more.
"""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from pathlib import Path
from urllib.parse import quote

import psutil
from nicegui import app, run, ui

from sfumato.families import models_folder
from sfumato.jobs.messages import Prepare
from sfumato.server import parts
from sfumato.server.portraits import beside, newest
from sfumato.server.ui.create_form import CreateForm
from sfumato.server.ui.desk import Desk
from sfumato.server.ui.frame import frame
from sfumato.server.ui.parts_view import PartsView
from sfumato.server.ui.smaller import SmallerView
from sfumato.server.ui.tables import table
from sfumato.server.ui.units import gigabytes
from sfumato.server.ui.words import say
from sfumato.weights.detect import LABELS
from sfumato.weights.digest import known_hash
from sfumato.weights.survey import Survey, survey

#: Where each kind of file goes below the models folder.
PLACES = {**parts.PLACES, "text_encoders": models_folder.TEXT_ENCODERS[0]}
#: Letters of a hash that are shown in the list, as other programs do.
HASH_LETTERS = 10


class ModelsPage:
    """One visit of the page."""

    def __init__(self, desk: Desk) -> None:
        self._desk, self._services = desk, desk.services
        with frame("models"):
            self._memory_line()
            self._list = ui.element("div").classes("jobs")
            self._build_list()
            quantizations = self._services.quantizations
            if quantizations is not None:
                self._smaller = SmallerView(self._services, quantizations, self._build_list)
            PartsView(self._services, desk.models_folder)
            ui.element("h2").add_slot("default", say("models_where"))
            where = [(say("models"), str(desk.models_folder))]
            where += [(say(key), str(desk.models_folder / name)) for key, name in PLACES.items()]
            table((), where)
            ui.label(say("models_picture")).classes("faint")
        self._dialog = ui.dialog().props(f'aria-label="{say("inspect")}"')

    def _memory_line(self) -> None:
        with ui.row().classes("items-center held"):
            self._held = ui.label().classes("faint").mark("held")
            ui.button(say("unload"), on_click=lambda: self._prepare(Prepare(loaded=False), "unloads")).props(
                "outline no-caps dense padding='4px 10px'"
            ).mark("unload")
        self._measure()
        ui.timer(2, self._measure)

    def _measure(self) -> None:
        """What the workers hold, the model with it."""
        held = 0
        for pid in self._services.pids():
            try:
                held += psutil.Process(pid).memory_info().rss
            except psutil.Error:  # a worker that was just lost
                continue
        self._held.set_text(say("in_workers", size=gigabytes(held)))

    def _prepare(self, wish: Prepare, words: str) -> None:
        self._services.prepare(wish)
        ui.notify(say(words, name=wish.model))

    def _build_list(self) -> None:
        """The models that there are by now."""
        self._models, self._notes = self._services.models(), dict[str, tuple[ui.label, ui.label]]()
        self._loads: dict[str, list[ui.button]] = {}
        self._list.clear()
        with self._list:
            for name, path in self._models.items():
                self._row(name, path)
            if len(self._models) == 1:
                ui.label(say("models_none")).classes("faint")
        with self._list:
            ui.timer(0.1, self._look, once=True)

    def _row(self, name: str, path: Path) -> None:
        acts: dict[str, Callable[[str], object]] = {"inspect": self._inspect}
        acts["load"] = lambda name: self._prepare(Prepare(model=name), "loads_now")
        if self._services.quantizations is not None:
            acts["quantize"] = lambda name: self._smaller.ask(name)
        acts["draw_with"] = self._use
        with ui.element("div").classes("job model"):
            if beside(path) is not None or newest(name, self._services.gallery) is not None:
                address = escape(f"/api/v1/models/{quote(name)}/picture", quote=True)
                ui.html(f'<img src="{address}" alt="">', sanitize=False)
            else:
                ui.icon("image").classes("portrait").props('aria-hidden="true"')
            with ui.element("div").classes("words"):
                ui.label(name)
                kind = say("folder") if path.is_dir() else path.suffix
                known = ui.label(f"{kind} · {gigabytes(models_folder.size_of(path))}").classes("faint")
                self._notes[name] = known, ui.label().classes("error").mark("problem")
            with ui.row().classes("gap-1"):
                buttons = {key: ui.button(say(key), on_click=lambda _, do=act: do(name)) for key, act in acts.items()}
            for key, button in buttons.items():
                button.props("flat no-caps dense").mark(key).props["aria-label"] = f"{say(key)}: {name}"
            self._loads[name] = [button for key, button in buttons.items() if key != "inspect"]

    async def _look(self) -> None:
        """Add what the headers say, a model at a time; one that would not load says why, and is not offered."""
        for name, (label, problem) in tuple(self._notes.items()):
            path = self._models[name]
            try:
                found = await run.io_bound(survey, path)
            except OSError as error:  # it went while the page was open
                found = Survey(str(path), 0, problem=error.strerror or str(error))
            if found is None or label.is_deleted:
                return
            types = ", ".join(kind for kind, _ in sorted(found.dtypes.items(), key=lambda each: -each[1])[:2])
            known = (known_hash(path) or "")[:HASH_LETTERS]
            family = "" if found.problem and not found.family else LABELS.get(found.family, found.family)
            label.set_text(" · ".join(filter(None, (label.text, family, found.variant, types, known))))
            problem.set_text(found.problem)
            for button in self._loads[name] if found.problem else ():
                button.disable()

    async def _inspect(self, name: str) -> None:
        path = self._models[name]
        try:
            found = await run.io_bound(survey, path)
        except OSError as error:
            ui.notify(f"{name}: {error.strerror or error}", type="warning")
            return
        self._dialog.clear()
        with self._dialog, ui.card().classes("big"):
            ui.label(name)
            if found is not None:
                table((), _rows(found, known_hash(path)))
            ui.button(say("close"), on_click=self._dialog.close).props("flat no-caps")
        self._dialog.open()

    def _use(self, name: str) -> None:
        form = CreateForm.of(app.storage.user.get("form"))
        form.model = name
        app.storage.user["form"] = form.state()
        ui.navigate.to("/")


def _rows(one: Survey, known: str | None) -> list[tuple[str, str]]:
    """The table of ``sfumato inspect``."""
    return [
        (say("kind"), " ".join(filter(None, (one.kind, one.variant)))),
        (say("family"), LABELS.get(one.family, one.family)),
        (say("size"), gigabytes(one.bytes)),
        (say("prediction"), one.prediction or say("not_said")),
        (say("types"), ", ".join(f"{name}: {count / 1e6:,.1f} M" for name, count in one.dtypes.items())),
        (say("networks"), ", ".join(f"{name}: {count / 1e6:,.1f} M" for name, count in one.parts.items())),
        (say("in_memory"), ", ".join(f"{name}: {gigabytes(taken)}" for name, taken in one.memory.items())),
        (say("hash"), known or say("hash_later")),
        (say("loads"), one.problem or say("yes")),
    ]
