"""The queue's tables, the moves in them, and what workers call."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from sfumato.errors import UnknownJobError
from sfumato.jobs import records
from sfumato.jobs.hub import Hub
from sfumato.jobs.states import Move, State, after
from sfumato.jobs.store import Store
from sfumato.jobs.types import Cause, Event, Job, Picture, Progress
from sfumato.runtime.atomic import write_whole


class Ledger:
    """The part of :class:`sfumato.jobs.queue.JobQueue` that workers use."""

    def __init__(self, folder: Path) -> None:
        """``folder`` gets ``queue.sqlite``, the requests' ``pictures``, ``checkpoints`` and unsaved ``results``.

        Raises:
            JobError: the folder can't be used, or a newer version of the program made it.
        """
        self.folder = folder
        self._pictures, self._checkpoints = folder / "pictures", folder / "checkpoints"
        self._store = Store(folder / "queue.sqlite")
        last = self._store.read("SELECT coalesce(max(number), 0) AS last FROM events")[0]["last"]
        self._hub = Hub(self._newer, last)
        self._live: dict[str, Progress] = {}
        self._pictures_lock = threading.Lock()

    def close(self) -> None:
        """Ends all subscriptions and closes the database."""
        self._hub.close()
        self._store.close()

    def get(self, job: str, *, whole: bool = True, pixels: bool = True) -> Job:
        """A job as it is now. Without ``whole`` its request is only :class:`sfumato.jobs.types.Asked`: its pictures,
        which may be large, are not read. Without ``pixels`` they have a mode and a size, but are not decoded.

        Raises:
            UnknownJobError: there is none of this id.
        """
        return self._job(self._row(job), whole=whole, pixels=pixels)

    def state(self, job: str) -> State:
        """A job's state as it is now.

        Raises:
            UnknownJobError: there is none of this id.
        """
        return State(self._row(job)["state"])

    def ended(self, job: str) -> Job | None:
        """The job if nothing more happens to it; its request is not read before.

        Raises:
            UnknownJobError: there is none of this id.
        """
        row = self._row(job)
        return self._job(row) if State(row["state"]).ended else None

    @property
    def held(self) -> bool:
        """Whether the whole queue is held."""
        return any(row["value"] == "1" for row in self._store.read("SELECT value FROM switches WHERE name = 'held'"))

    def claim(self) -> Job | None:
        """Begin the first job that waits and is not held; None when there is none.

        The disk is not waited for: a job whose beginning a power cut undoes is one that waits.
        """
        with self._store.transaction(synced=False) as connection:
            if self.held:
                return None
            first = "SELECT * FROM jobs WHERE state = ? ORDER BY position LIMIT 1"
            row = connection.execute(first, (State.QUEUED.value,)).fetchone()
            if row is None:
                return None
            self._apply(connection, row, Move.START, started=time.time(), attempt=row["attempt"] + 1)
        self._hub.poll()
        return self.get(row["id"])

    def current(self, job: Job) -> bool:
        """Whether a claimed job is still to be drawn: not cancelled, paused or begun anew since."""
        rows = self._store.read("SELECT state, attempt FROM jobs WHERE id = ?", (job.id,))
        return bool(rows) and rows[0]["state"] == State.RUNNING.value and rows[0]["attempt"] == job.attempt

    def finish(self, job: Job, pictures: Sequence[Picture]) -> bool:
        """The claimed job is done. False, and no change, if it is not :meth:`current` any more."""
        text = records.pictures_text(pictures)
        steps = self._live.get(job.id, job.progress).steps
        return self._end(job, Move.FINISH, ended=time.time(), pictures=text, cause=None, step=steps, steps=steps)

    def fail(self, job: Job, cause: Cause) -> bool:
        """The claimed job has failed. False, and no change, if it is not :meth:`current` any more."""
        return self._end(job, Move.FAIL, ended=time.time(), cause=records.cause_text(cause))

    def interrupt(self, job: Job, *, counted: bool) -> bool:
        """The claimed job waits again, at its old place. ``counted`` if it may be its own fault."""
        return self._end(job, Move.INTERRUPT, interrupted=self.interruptions(job) + int(counted))

    def interruptions(self, job: Job) -> int:
        """How often in a row the job was interrupted without getting any further."""
        rows = self._store.read("SELECT interrupted FROM jobs WHERE id = ?", (job.id,))
        return rows[0]["interrupted"] if rows else 0

    def keep(self, job: Job, checkpoint: bytes, step: int, steps: int) -> None:
        """Store where a claimed job is, whole or not at all; of one that has ended or was begun anew, nothing."""
        rows = self._store.read("SELECT state, attempt FROM jobs WHERE id = ?", (job.id,))
        if not rows or State(rows[0]["state"]).ended or rows[0]["attempt"] != job.attempt:
            return
        write_whole(self._checkpoints / job.id, checkpoint)
        with self._store.transaction() as connection:
            connection.execute(
                "UPDATE jobs SET interrupted = 0, step = ?, steps = ? WHERE id = ? AND attempt = ?",
                (step, steps, job.id, job.attempt),
            )

    def checkpoint(self, job: Job) -> bytes | None:
        """What :meth:`keep` stored last."""
        path = self._checkpoints / job.id
        return path.read_bytes() if path.exists() else None

    def report(self, job: Job, progress: Progress) -> None:
        """Tell how far a claimed job is; not stored."""
        if self.current(job):
            self._live[job.id] = progress
            self._hub.tell(self._progress_event(job.id, progress))

    def has_picture(self, path: Path) -> bool:
        """Whether the file is a done job's."""
        return bool(self._store.read("SELECT 1 FROM jobs WHERE instr(pictures, ?)", (json.dumps(str(path)),)))

    def leftovers(self) -> Sequence[Job]:
        """Running jobs; to the one process that has the workers, at its start, those that a crash left."""
        rows = self._store.read("SELECT * FROM jobs WHERE state = ? ORDER BY position", (State.RUNNING.value,))
        return tuple(self._job(row) for row in rows)

    # The database.

    def _row(self, job: str) -> sqlite3.Row:
        rows = self._store.read("SELECT * FROM jobs WHERE id = ?", (job,))
        if not rows:
            raise UnknownJobError(f"There is no job {job!r}.")
        return rows[0]

    def _job(self, row: sqlite3.Row, *, whole: bool = True, pixels: bool = True) -> Job:
        return records.job(row, self._pictures if whole else None, self._live.get(row["id"]), pixels=pixels)

    def _newer(self, number: int) -> list[Event]:
        rows = self._store.read("SELECT * FROM events WHERE number > ? ORDER BY number", (number,))
        return [records.event(row) for row in rows]

    def _progress_event(self, job: str, progress: Progress) -> Event:
        return Event(number=self._hub.last, kind="progress", job=job, at=time.time(), progress=progress)

    def _moved(self, job: str, move: Move, **values: object) -> Job:
        with self._store.transaction() as connection:
            state = self._apply(connection, self._row(job), move, **values)
        self._settle(job, state)
        return self.get(job)

    def _end(self, job: Job, move: Move, **values: object) -> bool:
        with self._store.transaction() as connection:
            if not self.current(job):
                return False
            state = self._apply(connection, self._row(job.id), move, **values)
        self._settle(job.id, state)
        return True

    def _apply(self, connection: sqlite3.Connection, row: sqlite3.Row, move: Move, **values: object) -> State:
        state = after(row["id"], State(row["state"]), move)
        names = "".join(f", {name} = ?" for name in values)
        connection.execute(f"UPDATE jobs SET state = ?{names} WHERE id = ?", (state.value, *values.values(), row["id"]))
        record_event(connection, "state", row["id"], state)
        return state

    def _settle(self, job: str, state: State) -> None:
        """After a move: what a job that does not run any more leaves behind is put away."""
        if state is not State.RUNNING:
            self._live.pop(job, None)
        if state.ended:
            (self._checkpoints / job).unlink(missing_ok=True)
        self._hub.poll()


def record_event(connection: sqlite3.Connection, kind: str, job: str, state: State | None) -> None:
    connection.execute(
        "INSERT INTO events (kind, job, at, state) VALUES (?, ?, ?, ?)",
        (kind, job, time.time(), None if state is None else state.value),
    )
