"""The values that a queue gives out: jobs, their pictures, their failures, and events."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sfumato.jobs.states import State
from sfumato.request import ImageInfo


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One finished picture: its file, and how it was made."""

    path: Path
    info: ImageInfo


@dataclass(frozen=True, kw_only=True)
class Cause:
    """Why a job failed.

    ``kind`` is for programs and metrics: the name of a class in :mod:`sfumato.errors` (``RequestError``,
    ``OutOfMemoryError``, ...), ``WorkerCrash``, ``OutOfMemoryKill``, ``WorkerLost``, or ``Defect`` for a fault of
    Sfumato's own, whose traceback is in ``detail``. ``message`` is one line for people.
    """

    kind: str
    message: str
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a running job is. ``eta`` is in seconds, None until a step was timed.

    ``preview`` is a small JPEG of the first picture as the last step saw it; None until there is one.
    """

    step: int = 0
    steps: int = 0
    eta: float | None = None
    preview: bytes | None = None


@dataclass(frozen=True, kw_only=True)
class Asked:
    """As much of a request as is known without reading its pictures; ``kind`` is its class's name."""

    kind: str = ""
    prompt: str = ""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job as it was when it was asked for: a value, which does not change.

    Attributes:
        id: 32 hexadecimal digits.
        state: see :mod:`sfumato.jobs.states`.
        request: the frozen value of :mod:`sfumato.request` that was submitted, with its seed filled in. None for
            a job that another version stored and this one can't read; :class:`Asked` where only a glance was wished.
        model: the model's name or path; None is the one that the settings name.
        save: whether its pictures go to the output folder. Otherwise they lie in the queue's own folder until the job
            is forgotten.
        metadata: how much the files say of themselves: ``full``, ``ai-flag`` or ``none``; None is the settings'.
        client: whose job it is, as the submitter said; for limits. May be empty.
        key: its idempotency key, or None.
        position: its place in the queue; lower goes first. Says nothing once it has begun.
        created, started, ended: seconds since 1970; ``started`` is when it was last begun.
        attempt: how often it was begun.
        pictures: of a done job, in the order of their seeds.
        cause: of a failed job.
        progress: of a job that was begun.
    """

    id: str
    state: State
    request: Any
    model: str | None = None
    save: bool = True
    metadata: str | None = None
    client: str = ""
    key: str | None = None
    position: int = 0
    created: float = 0.0
    started: float | None = None
    ended: float | None = None
    attempt: int = 0
    pictures: tuple[Picture, ...] = ()
    cause: Cause | None = None
    progress: Progress = Progress()


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened to a job.

    ``kind`` is ``"state"`` for a change of state, which is stored and has a number of its own, or ``"progress"``, which
    is not stored: its ``number`` is that of the last stored event, so a client that keeps the highest number it has
    seen can always go on from there. ``"order"`` tells that the queue was reordered, held or released; ``"forgotten"``
    that a job is gone. ``job`` is empty where the queue as a whole is meant.
    """

    number: int
    kind: str
    job: str
    at: float
    state: State | None = None
    progress: Progress | None = None
