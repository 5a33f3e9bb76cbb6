"""Carries out a memory plan: what leaves memory after which stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sfumato.families.base import Networks
from sfumato.runtime.memory import keep_freed, trim
from sfumato.runtime.paging import Pages
from sfumato.runtime.plan import Plan


class Residency:
    """One model's networks in memory, as plans say.

    On a CPU, a network that is to leave gets a mapped file of its own, and its memory goes back after the stages that
    use it. On other devices these stay: nothing of this is tested there.
    """

    def __init__(self, networks: Networks, folder: Path) -> None:
        self._networks, self._folder = networks, folder
        self._pages: dict[str, list[Pages]] = {}
        self._plan: Plan | None = None

    @property
    def tile(self) -> int:
        """Cells along a side of a tile to decode, or 0."""
        return self._plan.tile if self._plan else 0

    def follow(self, plan: Plan) -> None:
        """Draw as this plan says from now on.

        Raises:
            OSError: there is no room on the disk for the weights that are to leave memory.
        """
        self._plan = plan
        if self._networks.device.type == "cpu":
            for part in plan.released:
                if part not in self._pages:
                    self._pages[part] = [Pages(network, self._folder) for network in self._parts(part)]
            trim()
            keep_freed(plan.rung not in ("low", "minimal"))
        self._release("vae")

    def done(self, stage: str) -> None:
        """A stage has ended: what only it needs may leave, and what the allocator keeps of its activations."""
        trim()
        for part in {"encode": ("text_encoder", "t5"), "decode": ("vae",)}.get(stage, ()):
            self._release(part)

    def _release(self, part: str) -> None:
        if self._plan and part in self._plan.released:
            for pages in self._pages.get(part, ()):
                pages.release()

    def _parts(self, part: str) -> list[Any]:
        if part in ("text_encoder", "t5"):
            readers = self._networks.readers
            return [one.network for one in readers if (one.name == "text_encoder_3") == (part == "t5")]
        return [getattr(self._networks, part)]
