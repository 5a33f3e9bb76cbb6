"""Grids of jobs: submitted cell by cell, kept in files of their own, and put on a sheet."""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from sfumato.errors import IdempotencyError, JobStateError, QueueFullError, UnknownJobError
from sfumato.gallery import files
from sfumato.grid.axes import Axis
from sfumato.grid.expand import Grid, Layout
from sfumato.grid.sheet import cell_size, describe, draw_sheet
from sfumato.jobs.queue import JobQueue
from sfumato.jobs.states import State
from sfumato.jobs.types import Job
from sfumato.runtime.atomic import write_whole
from sfumato.server import work
from sfumato.server.checks import check_request
from sfumato.server.services import Services


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A grid that was submitted: its axes, and the job of each cell in their order. ``metadata`` is how much files say
    of themselves, None as the settings want it.
    """

    id: str
    created: float
    layout: Layout
    jobs: tuple[str, ...]
    digest: str
    metadata: str | None = None


def submit(services: Services, grid: Grid, *, client: str = "", limited: bool = False, **more: Any) -> list[str]:
    """A job for each cell, each model's together; ``more`` is what the queue's submit takes. All or none.

    Raises:
        RequestError: one of them can't be drawn here. CheckpointError: a model is unknown.
        QueueFullError: the client would be above its limit.
    """
    queue, limit = services.queue, services.limits.jobs
    wanted = [check_request(cell.request, services) for cell in grid.cells]
    models = [None if cell.model is None else services.find_model(cell.model) for cell in grid.cells]
    if limited:
        open_ = sum(count for state, count in queue.counts(client).items() if not state.ended)
        if open_ + len(grid.cells) > limit:
            raise QueueFullError(f"{open_} jobs of yours wait or run; with {len(grid.cells)} more it is above {limit}.")
    jobs: dict[int, str] = {}
    try:
        for k in grid.by_model:
            jobs[k] = queue.submit(wanted[k], model=models[k], client=client, **more).id
    except BaseException:
        for job in jobs.values():
            work.drop(queue, job)
        raise
    return [jobs[k] for k in range(len(grid.cells))]


def read_sheet(queue: JobQueue, layout: Layout, jobs: Sequence[str], metadata: str = "none") -> bytes:
    """The labelled sheet of the pictures that there are, as a PNG; ``metadata`` is how much it says of itself.

    Raises:
        JobStateError: there is none yet.
    """
    drawn: dict[int, Job] = {}
    for number, id in enumerate(jobs):
        with contextlib.suppress(UnknownJobError):
            job = queue.get(id, whole=False)
            if job.pictures and job.pictures[0].path.is_file():
                drawn[number] = job
    if not drawn:
        raise JobStateError("The grid has no picture yet; there is nothing to put on a sheet.")
    infos = {number: job.pictures[0].info for number, job in drawn.items()}
    room = cell_size([(each.width, each.height) for each in infos.values()], len(jobs))
    found = {number: _small(job.pictures[0].path, room) for number, job in drawn.items()}
    return files.describe(draw_sheet(layout, found), describe(layout, infos[min(infos)]), metadata=metadata)


def _small(path: Path, room: tuple[int, int]) -> Image.Image:
    with Image.open(path) as picture:
        plain = picture.convert("RGB")
    plain.thumbnail(room)
    return plain


class Grids:
    """The grids of a queue, in the folder ``grids`` beside its database."""

    def __init__(self, services: Services) -> None:
        self._services, self._folder = services, services.queue.folder / "grids"
        self._lock = threading.Lock()

    def create(self, grid: Grid, body: str, key: str | None, *, client: str, save: bool, metadata: str | None) -> Kept:
        """Submit a grid and keep it. The same ``key`` with the same ``body`` again gives the same grid.

        Raises:
            IdempotencyError: the key was used with another body. What :func:`submit` raises.
        """
        digest = hashlib.sha256(body.encode()).hexdigest()
        id = secrets.token_hex(16) if key is None else hashlib.sha256(f"grid {key}".encode()).hexdigest()[:32]
        with self._lock:
            with contextlib.suppress(UnknownJobError):
                known = self.get(id)
                if known.digest != digest:
                    raise IdempotencyError(f"The key {key!r} was used before with another grid; give a new key.")
                return known
            jobs = submit(self._services, grid, client=client, limited=True, save=save, metadata=metadata)
            layout = Layout(x=grid.x, y=grid.y, z=grid.z)
            kept = Kept(id=id, created=time.time(), layout=layout, jobs=tuple(jobs), digest=digest, metadata=metadata)
            write_whole(self._path(id), json.dumps(_plain(kept)).encode())
        return kept

    def get(self, id: str) -> Kept:
        """A grid. Raises UnknownJobError: there is none of this id."""
        try:
            plain = json.loads(self._path(id).read_bytes())
        except FileNotFoundError:
            raise UnknownJobError(f"There is no grid {id!r}.") from None
        axes = {name: _axis(plain["axes"][name]) for name in ("x", "y", "z")}
        same = {name: plain[name] for name in ("created", "digest", "metadata")}
        return Kept(id=id, layout=Layout(**axes), jobs=tuple(plain["jobs"]), **same)

    def all(self) -> list[Kept]:
        """Every grid, the newest first."""
        found = []
        for path in self._folder.glob("*.json"):
            with contextlib.suppress(UnknownJobError):  # forgotten in this moment
                found.append(self.get(path.stem))
        return sorted(found, key=lambda kept: kept.created, reverse=True)

    def jobs(self, kept: Kept) -> list[Job | None]:
        """The cells' jobs as they are now; None for one that is forgotten."""
        found: list[Job | None] = []
        for id in kept.jobs:
            try:
                found.append(self._services.queue.get(id, pixels=False))
            except UnknownJobError:
                found.append(None)
        return found

    def cancel(self, kept: Kept) -> None:
        """End every job of a grid that has not ended."""
        for job in kept.jobs:
            with contextlib.suppress(JobStateError, UnknownJobError):
                self._services.queue.cancel(job)

    def forget(self, kept: Kept) -> None:
        """Drop a grid and its jobs; pictures in the gallery stay.

        Raises:
            JobStateError: a job of it has not ended.
        """
        if any(job is not None and not job.state.ended for job in self.jobs(kept)):
            raise JobStateError(f"grid {kept.id} is being drawn; cancel it before it can be forgotten.")
        for job in kept.jobs:
            with contextlib.suppress(UnknownJobError):
                self._services.queue.forget(job)
        self._path(kept.id).unlink(missing_ok=True)

    def sheet(self, kept: Kept) -> bytes:
        """See :func:`read_sheet`."""
        usual = self._services.settings.get("output.metadata", ("full", ""))[0]
        return read_sheet(self._services.queue, kept.layout, kept.jobs, kept.metadata or str(usual))

    def _path(self, id: str) -> Path:
        return self._folder / f"{id}.json"


def state_of(jobs: Sequence[Job | None]) -> str:
    """A grid's state: that of its jobs together."""
    states = [State.CANCELLED if job is None else job.state for job in jobs]
    if not all(state.ended for state in states):
        begun = any(state.ended or state is State.RUNNING for state in states)
        return State.RUNNING.value if begun else State.QUEUED.value
    worst = (State.FAILED, State.CANCELLED)
    return next((state.value for state in worst if state in states), State.DONE.value)


def _plain(kept: Kept) -> Mapping[str, Any]:
    axes = {name: getattr(kept.layout, name) for name in ("x", "y", "z")}
    return {
        "created": kept.created,
        "axes": {name: {"field": axis.field, "values": axis.values} for name, axis in axes.items()},
        "jobs": kept.jobs,
        "digest": kept.digest,
        "metadata": kept.metadata,
    }


def _axis(plain: Mapping[str, Any]) -> Axis:
    values = (tuple(value) if isinstance(value, list) else value for value in plain["values"])
    return Axis(plain["field"], tuple(values))
