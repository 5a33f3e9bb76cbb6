"""Plain tables of text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nicegui import ui

from sfumato.server.ui.words import say


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table; ``heads`` are keys of words. Without any, each row's first cell is its head.

    With three heads or more each row is a block of its own on a phone, in which the cells say their heads.
    """
    words = [say(head) for head in heads]
    kind = "plain stacks" if len(heads) > 2 else "plain"
    with ui.element("div").classes("wide"), ui.element("table").classes(kind).props("role=table"):
        if heads:
            with ui.element("thead").props("role=rowgroup"), ui.element("tr").props("role=row"):
                for word in words:
                    ui.element("th").props('scope="col" role=columnheader').add_slot("default", word)
        with ui.element("tbody").props("role=rowgroup"):
            for row in rows:
                with ui.element("tr").props("role=row"):
                    for k, cell in enumerate(row):
                        _cell(cell, words[k] if heads else "", is_head=not heads and k == 0)


def _cell(text: str, head: str, *, is_head: bool) -> None:
    cell = ui.element("th" if is_head else "td").props('scope="row" role=rowheader' if is_head else "role=cell")
    cell.props["data-head"] = head
    with cell:
        ui.label(text)
