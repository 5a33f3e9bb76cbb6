"""One worker's place: a thread that gives it jobs, hears its reports, and starts another one when it is lost."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass

from sfumato.errors import SfumatoError
from sfumato.jobs.hub import POLL
from sfumato.jobs.messages import Drawn, Failed, Kept, Order, Prepare, Report, Stepped, Worker, WorkerLostError
from sfumato.jobs.queue import JobQueue
from sfumato.jobs.types import Cause, Job

logger = logging.getLogger(__name__)

#: How often in a row a job may lose its worker, or the server, without getting any further.
MAX_INTERRUPTIONS = 5
#: Seconds before the second try to start a worker; doubled each time, and never more than the last.
FIRST_DELAY, LAST_DELAY = 0.5, 30.0


@dataclass(frozen=True, kw_only=True)
class WorkerStatus:
    """One worker: ``state`` is ``starting``, ``idle``, ``drawing``, ``lost`` (a new one comes soon) or ``ended``.

    ``job`` is what it draws, ``starts`` how many workers this place has had, ``cause`` why the last one was lost.
    """

    index: int
    state: str
    pid: int | None
    job: str | None
    starts: int
    cause: Cause | None


class Slot:
    """See the module. ``make`` gives a new worker, ``ready`` is told of its devices, ``deliver`` gets pictures."""

    def __init__(
        self,
        index: int,
        queue: JobQueue,
        make: Callable[[int], Worker],
        every: int,
        ready: Callable[[int], None],
        deliver: Callable[[Job, tuple], None],
    ) -> None:
        self._index, self._queue, self._make, self._every = index, queue, make, every
        self._ready, self._deliver = ready, deliver
        self._ending, self._work = threading.Event(), threading.Event()
        self._worker: Worker | None = None
        self._job: Job | None = None
        self._state, self._starts, self._failures = "starting", 0, 0
        self._pid: int | None = None
        self._cause: Cause | None = None
        self._thread = threading.Thread(target=self._run, name=f"sfumato-worker-{index}", daemon=True)
        self.start = self._thread.start

    def status(self) -> WorkerStatus:
        """What the worker does now."""
        job = self._job
        return WorkerStatus(
            index=self._index,
            state=self._state,
            pid=self._pid,
            job=None if job is None else job.id,
            starts=self._starts,
            cause=self._cause,
        )

    def look(self) -> None:
        """Something happened in the queue: take a job, or stop the one that is not to be drawn any more."""
        self._work.set()
        job, worker = self._job, self._worker
        if job is not None and worker is not None and not self._queue.current(job):
            worker.stop((job.id, job.attempt))

    def prepare(self, wish: Prepare) -> None:
        """Have a model loaded or let go, when the worker is there."""
        worker = self._worker
        if worker is not None and self._state in ("idle", "drawing"):
            worker.prepare(wish)

    def ask_to_end(self) -> None:
        """Take no job any more, and say where the running one is."""
        self._ending.set()
        self._work.set()
        job, worker = self._job, self._worker
        if worker is not None:
            if job is not None:
                worker.stop((job.id, job.attempt))
            elif self._state == "starting":
                worker.close(0)

    def join(self, patience: float) -> None:
        """Wait for the end; after ``patience`` seconds the worker is ended by force."""
        self._thread.join(patience)
        if self._thread.is_alive() and self._worker is not None:
            self._worker.close(0)
        self._thread.join()

    def _run(self) -> None:
        while not self._ending.is_set():
            self._state, self._pid = "starting", None
            worker = self._worker = self._make(self._index)
            try:
                self._starts += 1
                ready = worker.start()
                self._pid = ready.pid
                self._ready(ready.devices)
                self._serve(worker)
            except WorkerLostError as lost:
                self._failures += 1
                self._cause = lost.cause
                if not self._ending.is_set():
                    logger.warning("worker %d: %s", self._index, lost.cause.message)
            except sqlite3.Error as error:
                self._failures += 1
                logger.error("worker %d: the queue's database: %s", self._index, error)
            finally:
                self._pause_lost(worker)
        self._state = "ended"

    def _pause_lost(self, worker: Worker) -> None:
        """Close what is left of a worker; before the next one, wait the longer the more were lost in a row."""
        self._state = "lost"
        if self._job is not None:
            with contextlib.suppress(sqlite3.Error):
                self._queue.interrupt(self._job, counted=not self._ending.is_set())
            self._job = None
        worker.close(2.0)
        self._worker = None
        if self._failures > 1:
            self._ending.wait(min(LAST_DELAY, FIRST_DELAY * 2 ** (self._failures - 2)))

    def _serve(self, worker: Worker) -> None:
        while not self._ending.is_set():
            self._state = "idle"
            self._work.clear()
            job = self._queue.claim()
            if job is None:
                self._work.wait(POLL)
            else:
                self._draw(worker, job)

    def _draw(self, worker: Worker, job: Job) -> None:
        self._job, self._state = job, "drawing"
        if not self._queue.current(job):  # cancelled before anyone could know whom to stop
            self._job = None
            return
        if self._ending.is_set():
            worker.stop((job.id, job.attempt))
        if job.request is None:
            message = "Another version of Sfumato stored this job, and this one can't read it; submit it again."
            self._queue.fail(job, Cause(kind="JobError", message=message))
            self._job = None
            return
        order = Order(
            token=(job.id, job.attempt),
            request=job.request,
            model=job.model,
            metadata=job.metadata,
            checkpoint=self._queue.checkpoint(job),
            every=self._every,
        )
        try:
            for report in worker.draw(order):
                self._hear(job, report)
        except WorkerLostError as lost:
            if not self._ending.is_set():
                lose(self._queue, job, lost)
            raise
        if self._queue.current(job):  # stopped, because the server ends
            self._queue.interrupt(job, counted=False)
        self._job, self._failures = None, 0

    def _hear(self, job: Job, report: Report) -> None:
        try:
            if isinstance(report, Stepped):
                self._queue.report(job, report.progress)
            elif isinstance(report, Kept):
                self._queue.keep(job, report.checkpoint, report.step, report.steps)
                self._failures = 0
            elif isinstance(report, Drawn):
                self._deliver(job, report.pictures)
            elif isinstance(report, Failed):
                self._queue.fail(job, report.cause)
        except SfumatoError as error:  # the disk is full, or the output folder can't be written
            self._queue.fail(job, Cause(kind=type(error).__name__, message=str(error)))


def lose(queue: JobQueue, job: Job, lost: WorkerLostError) -> None:
    """What becomes of a job whose worker was lost: if it is to blame it fails, otherwise it waits again."""
    if lost.blamed:
        queue.fail(job, lost.cause)
    else:
        give_back(queue, job, lost.cause)


def give_back(queue: JobQueue, job: Job, cause: Cause | None = None) -> None:
    """Let a job wait again, unless it was interrupted too often without getting any further."""
    if queue.interruptions(job) + 1 < MAX_INTERRUPTIONS:
        queue.interrupt(job, counted=True)
        return
    why = "The server was killed while it ran." if cause is None else cause.message
    message = f"{why} That came {MAX_INTERRUPTIONS} times, and the job got no further."
    queue.fail(job, Cause(kind="WorkerLost", message=message))
