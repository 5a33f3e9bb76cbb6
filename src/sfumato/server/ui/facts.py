"""Pages that tell: which models there are, which settings hold, and what stays private."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nicegui import app, run, ui

from sfumato.errors import SfumatoError
from sfumato.families.models_folder import size_of
from sfumato.server.privacy import Sockets, sockets
from sfumato.server.ui.desk import Desk
from sfumato.server.ui.form import Form
from sfumato.server.ui.frame import frame
from sfumato.server.ui.setting_words import SETTINGS
from sfumato.server.ui.tables import table
from sfumato.server.ui.units import gigabytes
from sfumato.server.ui.words import say
from sfumato.weights.detect import LABELS
from sfumato.weights.digest import known_hash
from sfumato.weights.survey import Survey, survey


class ModelsPage:
    """Every model with its size; on request what its headers say. And where to put more."""

    def __init__(self, desk: Desk) -> None:
        self._models = desk.services.models()
        with frame("models"):
            with ui.element("div").classes("jobs"):
                for name, path in self._models.items():
                    self._row(name, path)
            if len(self._models) == 1:
                ui.label(say("models_none")).classes("faint")
            ui.label(say("models_where", folder=desk.models_folder)).classes("faint")
        self._dialog = ui.dialog().props(f'aria-label="{say("inspect")}"')

    def _row(self, name: str, path: Path) -> None:
        with ui.element("div").classes("job model"):
            with ui.element("div").classes("words"):
                ui.label(name)
                kind = say("folder") if path.is_dir() else path.suffix
                ui.label(f"{kind} · {gigabytes(size_of(path))}").classes("faint")
            with ui.row().classes("gap-1"):
                for key, act in (("inspect", self._inspect), ("draw_with", self._use)):
                    button = ui.button(say(key), on_click=lambda _, one=name, do=act: do(one))
                    button.props("flat no-caps dense").mark(key)
                    button.props["aria-label"] = f"{say(key)}: {name}"

    async def _inspect(self, name: str) -> None:
        path = self._models[name]
        try:
            found = await run.io_bound(survey, path)
        except SfumatoError as error:
            ui.notify(str(error), type="warning")
            return
        self._dialog.clear()
        with self._dialog, ui.card().classes("big"):
            ui.label(name)
            if found is not None:
                table((), _rows(found, known_hash(path)))
            ui.button(say("close"), on_click=self._dialog.close).props("flat no-caps")
        self._dialog.open()

    def _use(self, name: str) -> None:
        form = Form.of(app.storage.user.get("form"))
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


async def settings_page(desk: Desk) -> None:
    """Every setting with what it is for, its value and where that came from; and the facts of privacy."""
    settings = desk.services.settings.items()
    with frame("settings"):
        ui.label(say("settings_where")).classes("faint")
        table(
            ("setting", "value", "from", "means"),
            [(key, say("none") if value is None else str(value), origin, SETTINGS.get(key, ""))
             for key, (value, origin) in settings],
        )  # fmt: skip
        ui.element("h2").add_slot("default", say("private"))
        ui.label(say("private_text"))
        with ui.element("div").mark("privacy"):
            table((), _private(desk, sockets(desk.services)))


def _private(desk: Desk, seen: Sockets) -> list[tuple[str, str]]:
    def words(found: Sequence[str]) -> str:
        return (", ".join(found) or say("none")) if seen.known else say("not_told")

    jobs = str(desk.services.queue.folder)
    return [
        (say("listens"), f"{desk.listens} ({words(seen.listening)})"),
        (say("clients"), words(seen.clients)),
        (say("outbound"), words(seen.outbound)),
        (say("writes"), ", ".join((str(desk.output_folder), jobs, str(desk.models_folder)))),
    ]
