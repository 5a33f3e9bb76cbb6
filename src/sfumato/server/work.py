"""Requests through the queue for clients that wait: submitted, followed, and cancelled if the client goes away."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from sfumato.errors import JobStateError, UnknownJobError
from sfumato.jobs.queue import JobQueue
from sfumato.jobs.states import State
from sfumato.jobs.types import Event, Job, Progress
from sfumato.request import ImageInfo, Txt2ImgRequest, UpscaleRequest
from sfumato.server.failures import DrawingError, StoppedError
from sfumato.server.services import Services

#: How often it is looked whether the client is still there, in seconds.
_LOOK = 1.0
Gone = Callable[[], Awaitable[bool]]


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """One picture: the bytes of its file, and how it was made."""

    data: bytes
    info: ImageInfo


@dataclass(eq=False, kw_only=True)
class Task:
    """One call of a waiting client: jobs that follow each other."""

    jobs: list[Job]
    began: float = field(default_factory=time.time)
    number: int = 0
    stopping: bool = False
    interrupted: bool = False
    skipped: bool = False


class Tasks:
    """The calls that are being served, oldest first; for progress, interrupt and skip."""

    def __init__(self, services: Services) -> None:
        self._services, self._lock = services, threading.Lock()
        self.open: list[Task] = []

    async def run(
        self,
        requests: Sequence[Txt2ImgRequest | UpscaleRequest],
        *,
        model: str | None,
        save: bool,
        client: str,
        gone: Gone,
        metadata: str | None = None,
    ) -> list[Drawn]:
        """The pictures of all requests; those of jobs that were skipped are left out.

        Raises:
            QueueFullError: the client is at its limit. DrawingError: a job failed. StoppedError: there is no picture.
        """
        task = Task(jobs=[])
        with self._lock:
            self.open.append(task)
        try:
            submit = functools.partial(
                self._services.queue.submit,
                model=model,
                save=save,
                metadata=metadata,
                client=client,
                limit=self._services.limits.jobs,
            )
            for request in requests:
                task.jobs.append(await asyncio.to_thread(submit, request))
            return await self._collect(task, gone)
        finally:
            await asyncio.shield(asyncio.to_thread(self._clear, task, save))

    async def _collect(self, task: Task, gone: Gone) -> list[Drawn]:
        drawn: list[Drawn] = []
        for number, job in enumerate(task.jobs):
            task.number = number
            done = task.jobs[number] = await follow(self._services, job.id, gone)
            if done.state is State.FAILED and done.cause is not None:
                raise DrawingError(done.cause.kind, done.cause.message)
            drawn += await asyncio.to_thread(read_pictures, done)
        if not drawn:
            raise StoppedError("The job was interrupted before there was a picture.")
        return drawn

    def _clear(self, task: Task, save: bool) -> None:
        with self._lock:
            self.open.remove(task)
        for job in task.jobs:
            if not job.state.ended:
                self.cancel(job.id)
            if not save:
                with contextlib.suppress(JobStateError, UnknownJobError):
                    self._services.queue.forget(job.id, synced=False)

    def cancel(self, job: str) -> bool:
        """End a job; False if it has ended already."""
        try:
            self._services.queue.cancel(job)
        except (JobStateError, UnknownJobError):
            return False
        return True

    def look(self, job: str) -> Progress:
        """How far a job is; of one that is gone, nothing."""
        try:
            return self._services.queue.get(job, whole=False).progress
        except UnknownJobError:
            return Progress()

    def interrupt(self) -> None:
        """End the oldest call that is being served."""
        for task in self.open[:1]:
            task.interrupted = True
            for job in task.jobs:
                self.cancel(job.id)

    def skip(self) -> None:
        """End the job that the oldest call is at; the ones after it are drawn."""
        for task in self.open[:1]:
            task.skipped = True
            if task.jobs:
                self.cancel(task.jobs[task.number].id)


async def follow(services: Services, job: str, gone: Gone) -> Job:
    """Wait until a job has ended.

    Raises:
        StoppedError: the client is gone. UnknownJobError: the job is gone.
    """
    async for event in events(services, job, gone=gone):
        if event is not None and event.kind == "progress":
            continue
        if (ended := await asyncio.to_thread(services.queue.ended, job)) is not None:
            return ended
    raise StoppedError("The client has gone.")


async def events(
    services: Services, job: str | None, *, since: int | None = None, gone: Gone
) -> AsyncIterator[Event | None]:
    """Events as they come, until the client is gone; None first, and now and then when there is none."""
    loop, flag = asyncio.get_running_loop(), asyncio.Event()

    def wake() -> None:
        loop.call_soon_threadsafe(flag.set)

    subscription = await asyncio.to_thread(services.queue.subscribe, since, job, wake)
    try:
        yield None
        while not subscription.closed and not await gone():
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(flag.wait(), _LOOK)
            flag.clear()
            found = await asyncio.to_thread(subscription.take, 0)
            for event in found:
                yield event
            if not found:
                yield None
    finally:
        subscription.close()


def drop(queue: JobQueue, job: str) -> None:
    """End a job, if it has not ended, and forget it."""
    for act in (queue.cancel, queue.forget):
        with contextlib.suppress(JobStateError, UnknownJobError):
            act(job)


def read_pictures(job: Job) -> list[Drawn]:
    """The pictures of a done job; none of one that was cancelled."""
    return [Drawn(data=each.path.read_bytes(), info=each.info) for each in job.pictures]
