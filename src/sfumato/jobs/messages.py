"""What a worker and the process that supervises it say to each other: frozen values, which pickle carries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sfumato.jobs.types import Cause, Progress
from sfumato.request import ImageInfo, ResumePoint, StepEvent

if TYPE_CHECKING:
    from PIL.Image import Image

    from sfumato.request import Result, UpscaleRequest

#: A job and which attempt at it: what a worker is told to stop.
Token = tuple[str, int]


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a worker is to draw. ``checkpoint`` is where an earlier attempt stood; ``every`` how often, in steps, the
    worker is to tell where it is.
    """

    token: Token
    request: Any
    model: str | None
    metadata: str | None
    checkpoint: bytes | None
    every: int


@dataclass(frozen=True, kw_only=True)
class Prepare:
    """What a worker is to have in memory when it has no order: ``model`` (None is the settings'), or with ``loaded``
    false no model at all.
    """

    model: str | None = None
    loaded: bool = True


@dataclass(frozen=True, kw_only=True)
class Ready:
    """The worker takes orders. ``devices`` is how many devices of the wished kind its machine has."""

    devices: int
    pid: int


@dataclass(frozen=True, kw_only=True)
class Stepped:
    """A step is done."""

    progress: Progress


@dataclass(frozen=True, kw_only=True)
class Kept:
    """Where the job is, for a later attempt."""

    checkpoint: bytes
    step: int
    steps: int


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """The order is done: each picture as the bytes of its file."""

    pictures: tuple[tuple[bytes, ImageInfo], ...]


@dataclass(frozen=True, kw_only=True)
class Failed:
    """The order can't be carried out."""

    cause: Cause


@dataclass(frozen=True, kw_only=True)
class Stopped:
    """The worker stopped as it was told."""


Report = Stepped | Kept | Drawn | Failed | Stopped
#: An order's last report is one of these.
LAST = (Drawn, Failed, Stopped)


class WorkerLostError(Exception):
    """A worker ended by itself. ``blamed`` if that is the fault of what it drew, and would happen again."""

    def __init__(self, cause: Cause, *, blamed: bool) -> None:
        super().__init__(cause.message)
        self.cause, self.blamed = cause, blamed


class Studio(Protocol):
    """What a worker needs of :class:`sfumato.engine.studio.Studio`."""

    facts: Any

    def load(self) -> Any: ...

    def generate(
        self, request: Any, on_step: Callable[[StepEvent], None] | None = None, resume: ResumePoint | None = None
    ) -> Result: ...

    def upscale(self, request: UpscaleRequest, on_step: Callable[[StepEvent], None] | None = None) -> Result: ...


@dataclass(frozen=True, kw_only=True)
class Tools:
    """What the composition root gives to a worker; both must be picklable.

    ``open_studio`` takes a model's name or None for the settings'; ``encode`` makes a picture a file's bytes,
    which say as much of themselves as the job wishes, or else the settings.
    """

    open_studio: Callable[[str | None], Studio]
    encode: Callable[[Image, ImageInfo, str | None], bytes]


class Worker(Protocol):
    """One worker, as its supervisor sees it. After :class:`WorkerLostError` it is only good to be closed."""

    def start(self) -> Ready:
        """Waits until it takes orders."""
        ...

    def draw(self, order: Order) -> Iterator[Report]:
        """Its reports, to the last one."""
        ...

    def stop(self, token: Token) -> None:
        """Ends that order, or nothing if it is not being drawn, after the step that it is in. From any thread."""
        ...

    def prepare(self, wish: Prepare) -> None:
        """Has a model loaded or let go, after the order that is being drawn. From any thread; does not wait."""
        ...

    def close(self, patience: float) -> None:
        """Ends it, if need be by force. From any thread."""
        ...


class Saver(Protocol):
    """Where finished pictures go; the composition root gives one that writes to the output folder."""

    @property
    def extension(self) -> str:
        """Of the files, without the dot."""
        ...

    def place(self, data: bytes, info: ImageInfo) -> Path:
        """Puts a picture under a name that no file had."""
        ...

    def placed(self, data: bytes, since: float) -> list[Path]:
        """Where these very bytes lie already, in files that are not older than ``since`` (seconds since 1970)."""
        ...
