"""What goes on or into a model, below the models: what each file is, or why it can't be used."""

from __future__ import annotations

from pathlib import Path

from nicegui import run, ui

from sfumato.errors import CheckpointError
from sfumato.server.parts import PLACES, Part, list_parts
from sfumato.server.services import Services
from sfumato.server.ui.units import gigabytes
from sfumato.server.ui.words import say
from sfumato.weights.detect import LABELS

#: In this order; each is also the key of its title.
SHOWN = ("loras", "embeddings", "vaes", "upscalers")
#: Longer lists are folded at first.
OPEN = 8
#: The words of :mod:`sfumato.weights.detect`'s kinds that may lie here.
KINDS = {"embedding": "kind_embedding", "vae": "kind_vae", "tiny vae": "kind_tiny_vae", "upscaler": "kind_upscaler"}


class PartsView:
    """A list for each kind, filled when the files' headers are read."""

    def __init__(self, services: Services, folder: Path) -> None:
        self._services, self._folder = services, folder
        self._lists = {place: ui.element("section").props(f'aria-label="{say(place)}"') for place in SHOWN}
        ui.timer(0.1, self._look, once=True)

    async def _look(self) -> None:
        for place, section in self._lists.items():
            try:
                parts = await run.io_bound(list_parts, self._services, place)
            except CheckpointError as error:  # it went while the page was open
                parts, wrong = [], str(error)
            else:
                wrong = ""
            if parts is None or section.is_deleted:
                return
            section.clear()
            with section:
                self._fill(place, parts, wrong)

    def _fill(self, place: str, parts: list[Part], wrong: str) -> None:
        ui.element("h2").add_slot("default", say(place))
        if wrong:
            ui.label(wrong).classes("error")
        folder = str(self._folder / PLACES[place])
        if not parts:
            ui.label(say("parts_none", folder=folder)).classes("faint")
            return
        unfolded = len(parts) <= OPEN or any(part.problem for part in parts)
        title = say("parts_in", folder=folder, count=len(parts))
        fold = ui.expansion(title, value=unfolded).props("dense dense-toggle").classes("w-full folded")
        with fold, ui.element("div").classes("jobs"):
            for part in sorted(parts, key=lambda part: not part.problem):
                _row(part)


def _row(part: Part) -> None:
    with ui.element("div").classes("job made part").mark("part"), ui.element("div").classes("words"):
        ui.label(part.name)
        ui.label(describe(part)).classes("faint")
        if part.problem:
            ui.label(part.problem).classes("error")


def describe(part: Part) -> str:
    """What a file is, in a line.

    >>> describe(Part(name="zorb", bytes=9_000_000, kind="lora", family="sd1", variant="LoRA"))
    'LoRA · Stable Diffusion 1 · 9 MB'
    """
    kind = say(KINDS[part.kind]) if part.kind in KINDS else ""
    family = LABELS.get(part.family, part.family) if part.family else ""
    return " · ".join(filter(None, (kind, part.variant, family, gigabytes(part.bytes), part.note)))
