"""The queue: what every face calls to have something drawn, and what every worker takes its work from."""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sfumato.errors import IdempotencyError, JobStateError, QueueFullError
from sfumato.jobs import wire
from sfumato.jobs.hub import Subscription
from sfumato.jobs.ledger import Ledger, record_event
from sfumato.jobs.states import Move, State
from sfumato.jobs.types import Job

_SEED_BITS = 32


def _seeded(request: Any) -> Any:
    """The request with seeds for those that it needs and has not."""
    needed = ("seed", "subseed") if getattr(request, "subseed_strength", 0) else ("seed",)
    given = {name: secrets.randbits(_SEED_BITS) for name in needed if getattr(request, name, 0) is None}
    return replace(request, **given) if given else request


class JobQueue(Ledger):
    """A durable queue of requests in a folder.

    Whatever a method has returned has happened: it outlives ``kill -9`` and, but for :meth:`claim` and a
    :meth:`forget` that does not wait for the disk, a power cut. Every method may be called
    from any thread, and several processes may open the same folder; but only one may have the workers
    (:class:`sfumato.jobs.crew.Crew`). No method waits for a picture: :meth:`submit` returns at once, and what comes of
    it is told by :meth:`subscribe` and :meth:`get`.

    For the HTTP API: :meth:`submit`, :meth:`get`, :meth:`list`, :meth:`counts`, :meth:`waiting`, :meth:`move`,
    :meth:`cancel`, :meth:`pause`, :meth:`resume`, :meth:`retry`, :meth:`forget`, :meth:`subscribe`. The methods take
    milliseconds, a submit with pictures some tens; from a coroutine call them with ``asyncio.to_thread``. For the
    workers: :meth:`claim`, :meth:`finish`, :meth:`fail`, :meth:`interrupt`, :meth:`keep`, :meth:`report`.

    >>> import pathlib, tempfile
    >>> from sfumato.request import Txt2ImgRequest
    >>> queue = JobQueue(pathlib.Path(tempfile.mkdtemp()))
    >>> job = queue.submit(Txt2ImgRequest(prompt="a cat", seed=7), key="once")
    >>> queue.submit(Txt2ImgRequest(prompt="a cat", seed=7), key="once").id == job.id
    True
    >>> queue.cancel(job.id).state.value, queue.retry(job.id).state.value
    ('cancelled', 'queued')
    >>> [event.state.value for event in queue.subscribe(since=0).take(0)]
    ['queued', 'cancelled', 'queued']
    >>> queue.close()
    """

    def submit(
        self,
        request: Any,
        *,
        key: str | None = None,
        model: str | None = None,
        save: bool = True,
        metadata: str | None = None,
        client: str = "",
        limit: int | None = None,
    ) -> Job:
        """Put a request at the end of the queue. A seed that is None is drawn now, so the job always has
        the same.

        Args:
            request: a frozen value of :mod:`sfumato.request`; its pictures are stored with it.
            key: an idempotency key. With one that was used before, the job of then is returned and none is added.
            model: a model's name or path; None is the settings'.
            save: False keeps the pictures out of the output folder.
            metadata: how much the files say of themselves: ``full``, ``ai-flag`` or ``none``; None is the settings'.
            client: whose job it is.
            limit: how many unfinished jobs the client may have, this one counted.

        Raises:
            IdempotencyError: the key was used with another request. QueueFullError: the client is at its limit.
            RequestError: a picture can't be stored. OutputError: the disk is full.
        """
        with self._pictures_lock:  # so that no forget deletes a picture between its writing and the commit
            text = wire.dump(request, self._pictures)
            digest = json.dumps([text, model, save, *filter(None, [metadata])])
            if (seeded := _seeded(request)) is not request:
                text = wire.dump(seeded, self._pictures)
            with self._store.transaction() as connection:
                known = connection.execute("SELECT id, digest FROM jobs WHERE key = ?", (key,)).fetchone()
                if known is not None:
                    if known["digest"] != digest:
                        raise IdempotencyError(f"The key {key!r} was used before with another request; give a new key.")
                    return self.get(known["id"])
                self._check_limit(client, limit)
                job = secrets.token_hex(16)
                connection.execute(
                    "INSERT INTO jobs (id, position, state, request, digest, key, client, model, save, metadata,"
                    " created) VALUES"
                    " (?, (SELECT coalesce(max(position), 0) + 1 FROM jobs), ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (job, State.QUEUED.value, text, digest, key, client, model, int(save), metadata, time.time()),
                )
                record_event(connection, "state", job, State.QUEUED)
        self._hub.poll()
        return self.get(job)

    def find(self, key: str) -> Job | None:
        """The job of an idempotency key."""
        rows = self._store.read("SELECT * FROM jobs WHERE key = ?", (key,))
        return self._job(rows[0]) if rows else None

    def list(
        self,
        states: Collection[State] = tuple(State),
        *,
        client: str | None = None,
        limit: int = 100,
        offset: int = 0,
        newest_first: bool = False,
        whole: bool = True,
        pixels: bool = True,
    ) -> Sequence[Job]:
        """Jobs in these states in the order of the queue, or the newest first; at most ``limit``, after ``offset``.

        Without ``whole`` their requests are only :class:`sfumato.jobs.types.Asked`, and no picture is read; without
        ``pixels`` the pictures have a mode and a size, but are not decoded.
        """
        marks = ", ".join("?" * len(states))
        whose, order = ("" if client is None else "AND client = ?"), ("DESC" if newest_first else "ASC")
        rows = self._store.read(
            f"SELECT * FROM jobs WHERE state IN ({marks}) {whose} ORDER BY position {order} LIMIT ? OFFSET ?",
            (*(state.value for state in states), *([] if client is None else [client]), limit, offset),
        )
        return tuple(self._job(row, whole=whole, pixels=pixels) for row in rows)

    def glance(self, ids: Collection[str]) -> Mapping[str, Job]:
        """Those of these jobs that there are, as :meth:`list` has them without ``whole``: for who looks often."""
        marks = ", ".join("?" * len(ids))
        rows = self._store.read(f"SELECT * FROM jobs WHERE id IN ({marks})", tuple(ids)) if ids else ()
        return {row["id"]: self._job(row, whole=False) for row in rows}

    def counts(self, client: str | None = None) -> Mapping[State, int]:
        """How many jobs are in each state."""
        whose = "" if client is None else "WHERE client = ?"
        rows = self._store.read(
            f"SELECT state, count(*) AS n FROM jobs {whose} GROUP BY state", [] if client is None else [client]
        )
        found = {row["state"]: row["n"] for row in rows}
        return {state: found.get(state.value, 0) for state in State}

    def waiting(self) -> Sequence[str]:
        """The ids of the jobs that wait, paused ones too, in the order in which they begin."""
        waits = (State.QUEUED.value, State.PAUSED.value)
        rows = self._store.read("SELECT id FROM jobs WHERE state IN (?, ?) ORDER BY position", waits)
        return tuple(row["id"] for row in rows)

    def move(self, job: str, *, before: str | None = None) -> Job:
        """Put a waiting job right before another waiting one, or with None at the end.

        Raises:
            UnknownJobError: there is no such job. JobStateError: one of them does not wait.
        """
        with self._store.transaction() as connection:
            for each in (job, *([] if before is None else [before])):
                state = State(self._row(each)["state"])
                if state not in (State.QUEUED, State.PAUSED):
                    raise JobStateError(f"job {each} is {state.value}; only jobs that wait have a place in the queue.")
            waiting = "SELECT id, position FROM jobs WHERE state IN ('queued', 'paused') ORDER BY position"
            rows = connection.execute(waiting).fetchall()
            order = [row["id"] for row in rows if row["id"] != job]
            order.insert(len(order) if before in (None, job) else order.index(before), job)
            if before != job:
                places = [(row["position"], one) for row, one in zip(rows, order, strict=True)]
                connection.executemany("UPDATE jobs SET position = ? WHERE id = ?", places)
                record_event(connection, "order", job, None)
        self._hub.poll()
        return self.get(job)

    def cancel(self, job: str) -> Job:
        """End a job that has not ended; if it is running, its worker stops within one sampling step.

        Raises:
            UnknownJobError: there is none. JobStateError: it has ended already.
        """
        return self._moved(job, Move.CANCEL, ended=time.time())

    def pause(self, job: str) -> Job:
        """Hold a job back. If it is running, its worker saves where it is and stops within one step.

        Raises:
            UnknownJobError: there is none. JobStateError: it is paused or has ended.
        """
        return self._moved(job, Move.PAUSE)

    def resume(self, job: str) -> Job:
        """Let a paused job go on from where it was, at its old place in the queue.

        Raises:
            UnknownJobError: there is none. JobStateError: it is not paused.
        """
        return self._moved(job, Move.RESUME, interrupted=0)

    def retry(self, job: str) -> Job:
        """Begin a failed or cancelled job anew, with the same seed.

        Raises:
            UnknownJobError: there is none. JobStateError: it neither failed nor was cancelled.
        """
        return self._moved(job, Move.RETRY, interrupted=0, step=0, steps=0, cause=None, ended=None)

    def forget(self, job: str, *, synced: bool = True) -> None:
        """Drop a job that has ended, with what the queue keeps of it. Pictures in the output folder stay.

        Without ``synced`` the disk is not waited for, and a power cut may bring the job back.

        Raises:
            UnknownJobError: there is none. JobStateError: it has not ended.
        """
        with self._pictures_lock:
            with self._store.transaction(synced=synced) as connection:
                row = self._row(job)
                if not State(row["state"]).ended:
                    raise JobStateError(f"job {job} is {row['state']}; cancel it before it can be forgotten.")
                connection.execute("DELETE FROM events WHERE job = ?", (job,))
                connection.execute("DELETE FROM jobs WHERE id = ?", (job,))
                record_event(connection, "forgotten", job, None)
            self._drop_files(row)
        self._live.pop(job, None)
        self._hub.poll()

    def hold(self, held: bool) -> None:
        """Hold the whole queue, or release it: what runs goes on, but nothing new is begun."""
        with self._store.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO switches VALUES ('held', ?)", (str(int(held)),))
            record_event(connection, "order", "", None)
        self._hub.poll()

    def subscribe(
        self, since: int | None = None, job: str | None = None, wake: Callable[[], None] | None = None
    ) -> Subscription:
        """Hear of events.

        Args:
            since: begin with the stored events after this number: 0 for all, the highest number seen to go on after a
                lost connection; None for only what comes. Of running jobs the newest progress comes too.
            job: only this job's.
            wake: called, from any thread, when there is something to take; it must return at once. For coroutines:
                ``lambda: loop.call_soon_threadsafe(flag.set)``, and then ``take(0)``.
        """
        subscription = self._hub.subscribe(since, job, wake)
        for each, progress in tuple(self._live.items()):
            subscription.offer(self._progress_event(each, progress))
        return subscription

    def _check_limit(self, client: str, limit: int | None) -> None:
        if limit is None:
            return
        unfinished = sum(count for state, count in self.counts(client).items() if not state.ended)
        if unfinished >= limit:
            raise QueueFullError(
                f"{unfinished} jobs of yours wait or run, and {limit} are allowed; wait for one to end."
            )

    def _drop_files(self, row: sqlite3.Row) -> None:
        results = self.folder / "results"
        for entry in os.scandir(results) if results.exists() else ():
            if entry.name.startswith(f"{row['id']}-"):
                Path(entry).unlink(missing_ok=True)
        for name in wire.named_pictures(row["request"]):
            if not self._store.read("SELECT 1 FROM jobs WHERE instr(request, ?) LIMIT 1", (name,)):
                (self._pictures / name).unlink(missing_ok=True)
