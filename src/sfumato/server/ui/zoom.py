"""Something to look at closely: a part of the page that is brought nearer and moved."""

from __future__ import annotations

from nicegui import ui

from sfumato.server.ui.words import say


class Zoom(ui.element, component="zoom.js"):
    """What is built inside is moved with the pointer and brought nearer with wheel, pinch, buttons and keys."""

    def __init__(self) -> None:
        super().__init__()
        self.props["words"] = {key: say(key) for key in ("zoom_in", "zoom_out", "fit", "sheet")}
