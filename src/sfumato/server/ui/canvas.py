"""The picture that is worked from, in the page: where it is picked, and where its mask is painted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from nicegui import ui
from nicegui.events import GenericEventArguments

from sfumato.server.ui.edit_form import SIDES
from sfumato.server.ui.words import say
from sfumato.server.ui.zoom import PINCH

#: How these look, on the pages that have them.
STYLE = (Path(__file__).parent / "edit.css").read_text(encoding="utf-8")
#: Where a picture to work from goes.
TRAY = "/edit/pictures"
#: The most pixels that a side is extended by.
MOST_MARGIN = 1024
#: The words that the canvas shows and says.
TOOLS = (
    "tools", "canvas", "brush", "eraser", "brush_size", "undo", "redo", "clear", "invert", "zoom_in", "zoom_out", "fit",
    "pen_down", "pen_up", "left", "right", "top", "bottom",
)  # fmt: skip


class Drop(ui.element, component="drop.js"):
    """A place to pick, drop or paste a picture. ``picked`` gets what ``to`` answers; of the tray, the name."""

    def __init__(
        self,
        picked: Callable[[Any], object],
        refused: Callable[[str], object],
        to: str = TRAY,
        words: str = say("drop"),
    ) -> None:
        super().__init__()
        self.props["words"] = {"drop": words, "busy": say("drop_busy"), "failed": say("drop_failed")}
        self.props["to"] = to
        self.on("picked", lambda event: picked(event.args))
        self.on("refused", lambda event: refused(str(event.args)))

    def slim(self, yes: bool) -> None:
        """Whether it is a line, as when there is a picture already."""
        self.props["slim"] = yes
        self.update()


class MaskCanvas(ui.element, component="mask.js", esm=PINCH):
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

    def frame(self, margins: tuple[int, int, int, int]) -> None:
        """Show what is added at the sides, in the order of :data:`SIDES`, in pixels."""
        self.props["extend"] = dict(zip(SIDES, margins, strict=True))
        self.update()

    def _pulled(self, event: GenericEventArguments) -> None:
        side, value = event.args["side"], event.args["value"]
        if side in SIDES and isinstance(value, int) and 0 <= value <= MOST_MARGIN:
            self._extended(side, value)


def _text(event: GenericEventArguments) -> str:
    return event.args if isinstance(event.args, str) else ""
