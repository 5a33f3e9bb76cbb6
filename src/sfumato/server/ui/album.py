"""The gallery's pictures in the page: a grid that scrolls through any number of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from urllib.parse import urlencode

from nicegui import ui

from sfumato.gallery.index import Query
from sfumato.server.ui.words import say

#: Where the page asks for the pictures' order.
ORDER = "/api/v1/gallery/order?"


class Album(ui.element, component="album.js"):
    """The pictures of a query. The page asks the API for their order, and lays out those that are near the view."""

    def __init__(
        self,
        opened: Callable[[str], object],
        chosen: Callable[[Sequence[str]], object],
        refused: Callable[[str], object],
    ) -> None:
        """``opened`` gets the id of a picture, ``chosen`` those of several, ``refused`` why there are none."""
        super().__init__()
        ui.add_head_html(
            f'<link rel="preload" as="fetch" crossorigin href="{ORDER}">'
        )  # asked before the scripts are read
        self.props["words"] = {"gallery": say("gallery"), "choose": say("choose"), "failed": say("no_answer")}
        self.props["order"] = ORDER
        self.props["query"], self.props["version"], self.props["viewed"] = "", 0, ""
        self.on("open", lambda event: opened(str(event.args)))
        self.on("choose", lambda event: chosen([str(each) for each in event.args]))
        self.on("refused", lambda event: refused(str(event.args)))

    def look(self, query: Query) -> None:
        """Show what fits by now."""
        asked = {"words": query.words, "favourite": "true" if query.favourite else "", "tag": query.tag or ""}
        self.props["query"] = urlencode({key: value for key, value in asked.items() if value})
        self.props["version"] += 1
        self.update()

    def view(self, id: str) -> None:
        """Say which picture is looked at, for the arrow keys; none if ``id`` is empty."""
        self.props["viewed"] = id
        self.update()

    def turn(self, by: int) -> None:
        """Open the next picture but ``by``, as the arrow keys do."""
        self.run_method("turn", by)

    def choose_none(self) -> None:
        """Choose none any more."""
        self.run_method("take", [])
