"""What the pages call. The composition root fills it; no page knows more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sfumato.gallery.album import Gallery
from sfumato.jobs.queue import JobQueue


@dataclass(frozen=True)
class Model:
    """A model that can be picked. ``bytes`` is its size on disk."""

    name: str
    kind: str
    bytes: int


@dataclass(frozen=True)
class Setting:
    """A setting as it is: its dotted key, its value in words, and where the value came from."""

    key: str
    value: str
    origin: str


@dataclass(frozen=True, kw_only=True)
class Desk:
    """The services behind the pages, and the facts that they show.

    Attributes:
        queue: where requests go and jobs are looked up.
        gallery: the pictures of the output folder.
        models: every model, the built-in one first; read anew at each call.
        model: the model that a request without one gets.
        size, steps: what the form begins with; width and height in pixels.
        samplers, schedulers: their labels.
        count_tokens: how many tokens a prompt has, and how many fit.
        settings: all settings with their origin.
        listens: the addresses that the server listens on.
        models_folder, output_folder: absolute paths.
        examples: prompts that the model draws well.
    """

    queue: JobQueue
    gallery: Gallery
    models: Callable[[], Sequence[Model]]
    model: str
    size: tuple[int, int]
    steps: int
    samplers: Sequence[str]
    schedulers: Sequence[str]
    count_tokens: Callable[[str], tuple[int, int]]
    settings: Sequence[Setting] = ()
    listens: Sequence[str] = ()
    models_folder: Path = Path("models")
    output_folder: Path = Path("outputs")
    examples: Sequence[str] = field(default=("a red apple on a white background", "a cat", "a rocket"))
