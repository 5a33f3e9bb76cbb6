"""The page that tells which settings hold, and what stays private."""

from __future__ import annotations

from collections.abc import Sequence

from nicegui import ui

from sfumato.server.privacy import Sockets, sockets
from sfumato.server.ui.desk import Desk
from sfumato.server.ui.frame import frame
from sfumato.server.ui.setting_words import SETTINGS
from sfumato.server.ui.tables import table
from sfumato.server.ui.words import say
from sfumato.weights.digest import cache_file


def settings_page(desk: Desk) -> None:
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

    written = (desk.output_folder, desk.services.queue.folder, desk.models_folder, cache_file().parent)
    return [
        (say("listens"), f"{desk.listens} ({words(seen.listening)})"),
        (say("clients"), words(seen.clients)),
        (say("outbound"), words(seen.outbound)),
        (say("writes"), ", ".join(str(path.absolute()) for path in written)),
    ]
