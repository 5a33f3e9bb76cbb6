"""What all pages share: the head with its menu, colours, dark and light, and the keys that work everywhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nicegui import app, ui

from sfumato.server.ui.words import say

#: Address and icon of each page, by the key of its name.
PAGES = {
    "create": ("/", "brush"),
    "edit": ("/edit", "format_paint"),
    "upscale": ("/upscale", "open_in_full"),
    "explore": ("/explore", "grid_on"),
    "gallery": ("/gallery", "photo_library"),
    "queue": ("/queue", "format_list_numbered"),
    "train": ("/train", "school"),
    "models": ("/models", "inventory_2"),
    "settings": ("/settings", "tune"),
}
_STYLE = (Path(__file__).parent / "style.css").read_text(encoding="utf-8")


@contextmanager
def frame(current: str) -> Iterator[None]:
    """The page around its content; ``current`` is the page's key in :data:`PAGES`."""
    ui.page_title(f"{say(current)} · {say('title')}")
    ui.add_head_html('<script>document.documentElement.lang = "en"</script>')
    ui.add_css(_STYLE)
    ui.colors(primary="#a4552f", secondary="#6b5f55", accent="#a4552f", dark="#1b1917", dark_page="#141210")
    dark = ui.dark_mode(value=app.storage.user.get("dark"))

    def turn() -> None:
        dark.value = not dark.value
        app.storage.user["dark"] = dark.value

    ui.link(say("skip"), "#main").classes("skip")
    with ui.header().classes("head"):
        ui.label(say("title")).classes("brand")
        with ui.element("nav").props(f'aria-label="{say("menu")}"').classes("menu"):
            for key, (address, icon) in PAGES.items():
                with ui.link(target=address).classes("item" + (" here" if key == current else "")) as link:
                    ui.icon(icon).props('aria-hidden="true"')
                    ui.label(say(key)).classes("word")
                link.props(f'aria-label="{say(key)}"' + (' aria-current="page"' if key == current else ""))
        ui.button(icon="contrast", on_click=turn).props(f'flat round dense aria-label="{say("theme")}"')
    with ui.element("div").props('id="main" tabindex="-1"').classes("main"):
        ui.html(say(current), sanitize=False, tag="h1").classes("unseen")
        yield
