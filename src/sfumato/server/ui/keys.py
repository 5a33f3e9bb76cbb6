"""The keys that work wherever the focus is."""

from __future__ import annotations

from collections.abc import Callable

from nicegui import ui


class Keys(ui.element, component="keys.js"):
    """Calls ``enter`` for Ctrl+Enter, and ``escape`` for Escape where that does not close something."""

    def __init__(self, enter: Callable[[], object], escape: Callable[[], object]) -> None:
        super().__init__()
        self.on("enter", enter)
        self.on("escape", escape)
