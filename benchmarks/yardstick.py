"""Plain NiceGUI pages that the studio's are measured beside, served by ``yardstick.py PORT THUMBNAILS``.

``/`` has inputs, a plot, a code editor and a component of its own; ``/thumbnails`` shows the folder's ``.webp`` files
by Quasar's ``q-virtual-scroll``. Nothing in them is ours, so they say how fast the machine is.
"""

from __future__ import annotations

import sys
from pathlib import Path

from nicegui import app, ui
from nicegui.element import Element

COLUMNS = 8


class Canvas(Element, component="yardstick.js"):
    """A canvas with a square on it."""


@ui.page("/")
def widgets() -> None:
    """As in the trial that the studio's figures were set by."""
    for name in ("width", "height", "steps", "seed"):
        ui.input(name)
    ui.textarea("prompt")
    ui.plotly({"data": [{"type": "scatter", "x": [1, 2], "y": [3, 4]}], "layout": {}})
    ui.codemirror("print(1)", language="Python")
    Canvas()


@ui.page("/thumbnails")
def thumbnails() -> None:
    """Rows of pictures, of which those in view and some more are there."""
    names = sorted(path.name for path in FOLDER.glob("*.webp"))
    rows = [names[k : k + COLUMNS] for k in range(0, len(names), COLUMNS)]
    scroll = ui.element("q-virtual-scroll").props("virtual-scroll-item-size=130").style("width: 100%; height: 700px")
    scroll.props["items"] = rows
    image = '<img v-for="name in props.item" :key="name" :src="`/files/${name}`" style="width: 120px; height: 120px">'
    scroll.add_slot("default", f'<div :key="props.index" style="display: flex; height: 130px">{image}</div>')


if __name__ == "__main__":
    FOLDER = Path(sys.argv[2])
    app.add_static_files("/files", FOLDER)
    ui.run(host="127.0.0.1", port=int(sys.argv[1]), show=False, reload=False, show_welcome_message=False)
