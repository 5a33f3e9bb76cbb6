"""A picture over what it was made from, with a line to drag between the two."""

from __future__ import annotations

from dataclasses import dataclass

from nicegui import ui

from sfumato.server.ui.words import say

#: How the browser lays the picture of before under the new one: CSS ``object-fit`` for each resize mode.
FITS = {"stretch": "fill", "crop": "cover", "fill": "contain", "latent": "fill"}


@dataclass(frozen=True)
class Before:
    """Where the first picture is, and by which of :data:`sfumato.request.RESIZE_MODES` it was fitted."""

    url: str
    resize_mode: str


class Compare(ui.element, component="compare.js"):
    """Two pictures in one place. The line moves with pointer, finger and arrow keys."""

    def __init__(self) -> None:
        super().__init__()
        self.props["words"] = {"before": say("before"), "after": say("after"), "line": say("compare_line")}
        self.props["before"] = self.props["after"] = self.props["fit"] = ""

    def show(self, before: Before, after: str) -> None:
        """Put two pictures in."""
        self.props["before"], self.props["fit"] = before.url, FITS.get(before.resize_mode, "fill")
        self.props["after"] = after
        self.update()
