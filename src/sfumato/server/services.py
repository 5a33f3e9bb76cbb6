"""What the routes call. The composition root fills it; no route knows more."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from starlette.requests import HTTPConnection

from sfumato.errors import CheckpointError, nearest
from sfumato.gallery.album import Gallery
from sfumato.jobs.messages import Prepare
from sfumato.jobs.queue import JobQueue
from sfumato.runtime.plan import Ask, Outlook
from sfumato.server.limits import Limits
from sfumato.server.quantizations import Quantizations
from sfumato.server.styles import Styles
from sfumato.server.trainings import Trainings

_ENDINGS = (".safetensors", ".ckpt", ".gguf")


@dataclass(frozen=True, kw_only=True)
class Defaults:
    """What a request gets that does not say."""

    model: str
    size: tuple[int, int]
    steps: int = 50
    clip_skip: int = 1
    format: str = "png"
    metadata: str = "full"


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """What clients may change while the server runs; None is the settings'.

    ``pnginfo`` and ``format`` are for answers to clients of the web UI: whether pictures say how they were made, and
    what they are sent as.
    """

    model: str | None = None
    clip_skip: int | None = None
    vae: str | None = None
    pnginfo: bool | None = None
    format: str | None = None


class Choice:
    """Holds the :class:`Chosen` of now."""

    def __init__(self) -> None:
        self._lock, self.now = threading.Lock(), Chosen()

    def change(self, **values: object) -> None:
        """Replace some of it."""
        with self._lock:
            self.now = replace(self.now, **values)  # pyright: ignore[reportArgumentType]


@dataclass(frozen=True, kw_only=True)
class Services:
    """The services behind the routes.

    Attributes:
        models, loras, embeddings, vaes, upscalers, wildcards: names to paths, looked up anew at each call; the built-in
            model is the first, upscalers are networks.
        outlook: whether a model, with the refiner that is named, can draw a picture in the memory that there is;
            nothing is loaded for it.
        prepare: has all workers load a model, or let go of theirs; does not wait for it.
        settings: dotted keys to value and origin.
        pids: process numbers of the workers, for their memory.
        styles: pieces of prompts that are kept. trainings, quantizations: None where there are none.
    """

    queue: JobQueue
    gallery: Gallery
    defaults: Defaults
    models: Callable[[], Mapping[str, Path]]
    outlook: Callable[[str, Ask, str | None], Outlook]
    prepare: Callable[[Prepare], None]
    loras: Callable[[], Mapping[str, Path]] = dict
    embeddings: Callable[[], Mapping[str, Path]] = dict
    vaes: Callable[[], Mapping[str, Path]] = dict
    upscalers: Callable[[], Mapping[str, Path]] = dict
    wildcards: Callable[[], Mapping[str, Path]] = dict
    settings: Mapping[str, tuple[Any, str]] = field(default_factory=dict)
    pids: Callable[[], Sequence[int]] = tuple
    limits: Limits = field(default_factory=Limits)
    choice: Choice = field(default_factory=Choice)
    trainings: Trainings | None = None
    quantizations: Quantizations | None = None
    styles: Styles | None = None

    @property
    def model(self) -> str:
        """The model of a request that names none."""
        return self.choice.now.model or self.defaults.model

    def find_vae(self, name: str) -> str:
        """A known autoencoder's name, likewise never a path.

        Raises:
            CheckpointError: there is none of this name.
        """
        known = self.vaes()
        for given in (name, *(name.removesuffix(ending) for ending in _ENDINGS)):
            if given in known:
                return given
        raise CheckpointError(f"There is no VAE {name!r}; {nearest(name, known) or 'they lie in models/vae'}.")

    def find_model(self, name: str) -> str:
        """A known model's name; never a path, so that a client can't have any file read.

        Raises:
            CheckpointError: there is none of this name.
        """
        known = self.models()
        bare = name.rpartition(" [")[0] if name.endswith("]") else name  # the web UI puts a hash behind
        for given in (name, bare, *(bare.removesuffix(ending) for ending in _ENDINGS)):
            if given in known or given == self.defaults.model:
                return given
        raise CheckpointError(f"There is no model {name!r}; {nearest(name, known) or 'known: ' + ', '.join(known)}.")


def client_of(connection: HTTPConnection) -> str:
    """Whose limits count: the address."""
    return connection.client.host if connection.client else "local"
