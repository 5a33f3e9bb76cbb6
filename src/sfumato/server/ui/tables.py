"""Plain tables of text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nicegui import ui

from sfumato.server.ui.words import say


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table; ``heads`` are keys of words. Without any, each row's first cell is its head."""
    with ui.element("div").classes("wide"), ui.element("table").classes("plain"):
        if heads:
            with ui.element("thead"), ui.element("tr"):
                for head in heads:
                    ui.element("th").props('scope="col"').add_slot("default", say(head))
        with ui.element("tbody"):
            for row in rows:
                with ui.element("tr"):
                    for k, cell in enumerate(row):
                        head = not heads and k == 0
                        with ui.element("th" if head else "td").props('scope="row"' if head else ""):
                            ui.label(cell)
