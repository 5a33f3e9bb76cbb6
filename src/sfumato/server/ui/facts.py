"""Pages that tell: which models there are, which settings hold, and what stays private."""

from __future__ import annotations

from nicegui import ui

from sfumato.families.models_folder import size_of
from sfumato.server.ui.desk import Desk
from sfumato.server.ui.frame import frame
from sfumato.server.ui.tables import table
from sfumato.server.ui.words import say


def models_page(desk: Desk) -> None:
    """Every model with its kind and size, and where to put more."""
    models = desk.services.models()
    rows = [
        (name, "folder" if path.is_dir() else "file", f"{size_of(path) / 1e6:,.0f} MB") for name, path in models.items()
    ]
    with frame("models"):
        table(("name", "kind", "size"), rows)
        if len(models) == 1:
            ui.label(say("models_none")).classes("faint")
        ui.label(say("models_where", folder=desk.models_folder)).classes("faint")


def settings_page(desk: Desk) -> None:
    """Every setting with its value and where that came from; and the facts of privacy."""
    settings = desk.services.settings.items()
    with frame("settings"):
        ui.label(say("settings_where")).classes("faint")
        table(
            ("setting", "value", "from"),
            [(key, str(value), origin) for key, (value, origin) in settings],
        )
        ui.element("h2").add_slot("default", say("private"))
        ui.label(say("private_text"))
        facts = {
            "listens": desk.listens,
            "writes": str(desk.output_folder),
            "outbound": say("none"),
        }
        table(("setting", "value"), [(say(key), value) for key, value in facts.items()])
