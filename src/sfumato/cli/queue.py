"""``queue``: put pictures into the queue, look after it, and draw what it holds."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from sfumato.cli.flags import Txt2ImgFlags
from sfumato.errors import RequestError, nearest

if TYPE_CHECKING:
    from sfumato.jobs.queue import JobQueue
    from sfumato.jobs.types import Job

#: How much of a job's id is shown, and needed to name it.
SHORT = 8
PROMPT_WIDTH = 50
#: How often the end is looked for while drawing, in seconds.
POLL = 0.2


@dataclass(frozen=True, kw_only=True)
class QueueFlags:
    """What was typed: the action, the jobs that it is for, and what is drawn by ``add``."""

    action: str
    jobs: Sequence[str]
    picture: Txt2ImgFlags
    key: str | None = None
    ray: str | None = None
    once: bool = False


def run(flags: QueueFlags) -> None:
    """Carries out one action.

    Raises:
        SfumatoError: an unknown action, a job that there is not, or a move that its state does not allow.
    """
    if flags.action not in ACTIONS:
        known = ", ".join(ACTIONS)
        raise RequestError(f"{flags.action!r} is no action; {nearest(flags.action, ACTIONS) or f'known: {known}'}.")
    if flags.action in MOVES and not flags.jobs:
        raise RequestError(f"Which job? `sfumato queue list` shows them; give at least {SHORT} letters of its id.")
    if flags.action not in MOVES and flags.jobs:
        raise RequestError(f"queue {flags.action} takes no job; {' '.join(flags.jobs)!r} is too much.")
    ACTIONS[flags.action](flags)


@contextmanager
def _open(flags: QueueFlags) -> Iterator[JobQueue]:
    from sfumato import config
    from sfumato.jobs.queue import JobQueue

    settings = config.load(flags.picture.config, os.environ, {}).settings
    queue = JobQueue(Path(settings.jobs.dir))
    try:
        yield queue
    finally:
        queue.close()


def _list(flags: QueueFlags) -> None:
    with _open(flags) as queue:
        jobs = queue.list(limit=1_000_000, pixels=False)
    for job in jobs:
        typer.echo(json.dumps(describe(job)) if flags.picture.json else _line(job))
    if not jobs and not flags.picture.json:
        typer.echo("The queue is empty; `sfumato queue add --prompt TEXT` puts something in.")


def _add(flags: QueueFlags) -> None:
    from sfumato.cli import txt2img
    from sfumato.cli.prompts import batches, read_prompts

    txt2img.check_flags(flags.picture)
    prompts = read_prompts(flags.picture.prompt, flags.picture.prompts_file)
    settings = txt2img.load_settings(flags.picture)
    template = txt2img.to_template(flags.picture, settings)
    txt2img.check_run(template, flags.picture, settings, prompts)
    model = flags.picture.ckpt.absolute() if flags.picture.ckpt else flags.picture.model
    with _open(flags) as queue:
        for number, request in enumerate(batches(prompts, template, flags.picture.n_iter)):
            key = None if flags.key is None else f"{flags.key}-{number}" if number else flags.key
            job = queue.submit(request, key=key, model=None if model is None else str(model))
            typer.echo(json.dumps(describe(job)) if flags.picture.json else job.id)


def _move(flags: QueueFlags) -> None:
    with _open(flags) as queue:
        ids = [job.id for job in queue.list(limit=1_000_000, whole=False)]
        for job in [_named(name, ids) for name in flags.jobs]:
            getattr(queue, flags.action)(job)


def _named(name: str, ids: Sequence[str]) -> str:
    found = [one for one in ids if one.startswith(name) and len(name) >= SHORT]
    if len(found) != 1:
        raise RequestError(f"There is no job {name!r}; `sfumato queue list` shows those that there are.")
    return found[0]


def _run(flags: QueueFlags) -> None:
    from sfumato import config
    from sfumato.app import running_jobs

    settings = config.load(flags.picture.config, os.environ, {}).settings
    ended = threading.Event()
    with _signals(ended), running_jobs(settings, flags.ray) as jobs, jobs.queue.subscribe() as events:
        while not ended.is_set() and not (flags.once and _nothing_left(jobs.queue)):
            for event in events.take(POLL):
                if event.kind == "state" and event.state is not None and event.state.ended:
                    _tell(jobs.queue.get(event.job, pixels=False), flags.picture.json)
        for event in events.take(0):
            if event.state is not None and event.state.ended:
                _tell(jobs.queue.get(event.job, pixels=False), flags.picture.json)


def _nothing_left(queue: JobQueue) -> bool:
    return not any(count for state, count in queue.counts().items() if state.value in ("queued", "running"))


@contextmanager
def _signals(ended: threading.Event) -> Iterator[None]:
    """While the block runs, Ctrl-C and a polite kill set ``ended`` instead of stopping in the middle of something."""
    kinds = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(kind, lambda *_: ended.set()) for kind in kinds]
    try:
        yield
    finally:
        for kind, handler in zip(kinds, before, strict=True):
            signal.signal(kind, handler)


def _tell(job: Job, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(describe(job)))
    else:
        for picture in job.pictures:
            typer.echo(str(picture.path))
        if job.cause is not None:
            typer.echo(f"Job {job.id[:SHORT]} failed: {job.cause.message}", err=True)
    sys.stdout.flush()


def describe(job: Job) -> dict[str, Any]:
    """A job as ``--json`` prints it."""
    request = job.request
    return {
        "id": job.id,
        "state": job.state.value,
        "prompt": getattr(request, "prompt", None),
        "seed": getattr(request, "seed", None),
        "model": job.model,
        "step": job.progress.step,
        "steps": job.progress.steps,
        "attempt": job.attempt,
        "pictures": [str(picture.path) for picture in job.pictures],
        "cause": None if job.cause is None else {"kind": job.cause.kind, "message": job.cause.message},
    }


def _line(job: Job) -> str:
    prompt = " ".join(str(getattr(job.request, "prompt", "?")).split())
    age = time.strftime("%H:%M:%S", time.localtime(job.created))
    return f"{job.id[:SHORT]}  {job.state.value:<9}  {age}  {prompt[:PROMPT_WIDTH]}"


#: Actions on single jobs; each is the queue's method of that name.
MOVES = ("cancel", "pause", "resume", "retry", "forget")
ACTIONS: Mapping[str, Callable[[QueueFlags], None]] = {
    "list": _list,
    "add": _add,
    "run": _run,
    **dict.fromkeys(MOVES, _move),
}
