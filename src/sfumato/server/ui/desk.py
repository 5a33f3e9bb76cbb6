"""What the pages call and show. The composition root fills it; no page knows more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sfumato.server.services import Services


@dataclass(frozen=True, kw_only=True)
class Desk:
    """The services that the routes have too, and what only pages show.

    Attributes:
        count_tokens: how many tokens a prompt has, and how many fit.
        listens: where the server is.
        models_folder, output_folder: absolute paths.
        examples: prompts that the built-in model draws well.
    """

    services: Services
    count_tokens: Callable[[str], tuple[int, int]]
    listens: str
    models_folder: Path
    output_folder: Path
    examples: Sequence[str] = ("a red apple on a white background", "a fox", "a rocket and a star on a blue background")
