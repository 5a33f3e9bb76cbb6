"""The picture that is worked from, in the page: where it is picked, and where its mask is painted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

from nicegui import ui
from nicegui.events import GenericEventArguments

from sfumato.server.ui.widen import SIDES, Margins
from sfumato.server.ui.words import say

#: The most pixels that a side is extended by.
MOST_MARGIN = 1024
#: The words that the canvas shows and says.
TOOLS = (
    "tools", "canvas", "brush", "eraser", "brush_size", "undo", "redo", "clear", "invert", "zoom_in", "zoom_out", "fit",
    "pen_down", "pen_up", "left", "right", "top", "bottom",
)  # fmt: skip


class Drop(ui.element, component="drop.js"):
    """A place to pick a picture, or to drop or paste one. ``picked`` gets its name in the tray."""

    def __init__(self, picked: Callable[[str], object], refused: Callable[[str], object]) -> None:
        super().__init__()
        self.props["words"] = {"drop": say("drop"), "busy": say("drop_busy"), "failed": say("drop_failed")}
        self.on("picked", lambda event: picked(str(event.args)))
        self.on("refused", lambda event: refused(str(event.args)))

    def slim(self, yes: bool) -> None:
        """Whether it is a line, as when there is a picture already."""
        self.props["slim"] = yes
        self.update()


class MaskCanvas(ui.element, component="mask.js"):
    """A picture to paint on. ``painted`` gets the mask as a ``data:`` address of a PNG of the picture's own size."""

    def __init__(self, painted: Callable[[str], object], extended: Callable[[str, int], object]) -> None:
        """``extended`` gets the side of the frame that was dragged and its margin in pixels."""
        super().__init__()
        self._extended = extended
        self.props["words"] = {key: say(key) for key in TOOLS}
        self.props["src"] = self.props["mask"] = ""
        self.props["most"] = MOST_MARGIN
        self.on("change", lambda event: painted(_text(event)))
        self.on("extend", self._pulled)

    def show(self, picture: str, mask: str = "") -> None:
        """Put a picture there by its address, with a mask that was painted before."""
        self.props["src"], self.props["mask"] = picture, mask
        self.update()

    def frame(self, margins: Margins) -> None:
        """Show what is added around the picture."""
        self.props["extend"] = asdict(margins)
        self.update()

    def _pulled(self, event: GenericEventArguments) -> None:
        side, value = event.args["side"], event.args["value"]
        if side in SIDES and isinstance(value, int) and 0 <= value <= MOST_MARGIN:
            self._extended(side, value)


def _text(event: GenericEventArguments) -> str:
    return event.args if isinstance(event.args, str) else ""
