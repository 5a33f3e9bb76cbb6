"""Something to look at closely: a part of the page that is brought nearer and moved."""

from __future__ import annotations

from pathlib import Path

from nicegui import ui

from sfumato.server.ui.words import say

#: What components that are brought nearer and moved share, under the name by which they import it.
PINCH = {"sfumato-pinch": str(Path(__file__).parent / "pinch")}


class Zoom(ui.element, component="zoom.js", esm=PINCH):
    """What is built inside is moved with the pointer and brought nearer with wheel, pinch, buttons and keys."""

    def __init__(self) -> None:
        super().__init__()
        self.props["words"] = {key: say(key) for key in ("zoom_in", "zoom_out", "fit", "sheet")}
