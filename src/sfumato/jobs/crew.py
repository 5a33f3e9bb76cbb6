"""The workers of a queue and those who watch over them: one thread for each worker, and none of them ever gives up."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from sfumato.errors import QueueBusyError
from sfumato.jobs import delivery
from sfumato.jobs.messages import Prepare, Saver, Worker
from sfumato.jobs.queue import JobQueue
from sfumato.jobs.slot import Slot, WorkerStatus, give_back
from sfumato.runtime.atomic import remove_unfinished

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

#: Seconds that a close waits for running jobs to say where they are.
PATIENCE = 6.0


class Crew:
    """Draws what a queue holds, with one worker for each device.

    A worker that dies is replaced, sooner or later (see :mod:`sfumato.jobs.slot`); its job waits again and goes on from
    its last checkpoint, unless it is to blame. Closing lets each worker finish its step, stores where its job is, and
    puts the job back: the next start goes on with the same bits.
    """

    def __init__(
        self,
        queue: JobQueue,
        make_worker: Callable[[int], Worker],
        saver: Saver,
        *,
        every: int = 5,
        count: int | None = None,
    ) -> None:
        """
        Args:
            make_worker: a new worker, not started, for a device's number.
            saver: where finished pictures go.
            every: after how many steps a checkpoint is stored.
            count: how many workers; None is as many as the first one's machine has devices.
        """
        self.queue = queue
        self._make, self._saver, self._every, self._count = make_worker, saver, every, count
        self._slots: list[Slot] = []
        self._locked: contextlib.ExitStack | None = None
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._listener: threading.Thread | None = None

    def start(self) -> None:
        """Take the folder, put back what a crash left running, and start the workers; does not wait for them.

        Raises:
            QueueBusyError: another process has the workers of this folder.
        """
        self._locked = contextlib.ExitStack()
        self._locked.enter_context(_alone(self.queue.folder))
        for name in ("", "checkpoints", "pictures", "results"):
            remove_unfinished(self.queue.folder / name)
        for job in self.queue.leftovers():
            give_back(self.queue, job)
        self._subscription = self.queue.subscribe()
        self._listener = threading.Thread(target=self._listen, name="sfumato-crew", daemon=True)
        self._listener.start()
        self._grow(1 if self._count is None else self._count)

    def workers(self) -> Sequence[WorkerStatus]:
        """What each worker does now."""
        return tuple(slot.status() for slot in tuple(self._slots))

    def prepare(self, wish: Prepare) -> None:
        """Have every worker load a model, or let go of the one that it has, after the job that it draws."""
        for slot in tuple(self._slots):
            slot.prepare(wish)

    def close(self, patience: float = PATIENCE) -> None:
        """Stop in order: within ``patience`` seconds running jobs say where they are; then nothing runs any more."""
        self._closing.set()
        end = time.monotonic() + patience
        for slot in self._slots:
            slot.ask_to_end()
        for slot in self._slots:
            slot.join(max(0.0, end - time.monotonic()))
        if self._listener is not None:
            self._subscription.close()
            self._listener.join()
        if self._locked is not None:
            self._locked.close()

    def __enter__(self) -> Crew:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _grow(self, count: int) -> None:
        with self._lock:
            while len(self._slots) < count and not self._closing.is_set():
                deliver = functools.partial(delivery.deliver, self.queue, self._saver)
                slot = Slot(len(self._slots), self.queue, self._make, self._every, self._ready, deliver)
                self._slots.append(slot)
                slot.start()

    def _ready(self, devices: int) -> None:
        if self._count is None:
            self._grow(devices)

    def _listen(self) -> None:
        """Wakes workers for new jobs, and stops those whose job is not to be drawn any more."""
        for event in self._subscription:
            for slot in () if event.kind == "progress" else tuple(self._slots):
                slot.look()


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Holds the folder's lock, which the system takes away when the process ends, however it does."""
    with (folder / "workers.lock").open("w") as file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise QueueBusyError(
                    f"{folder}: another process draws this queue; stop it, or choose another folder (jobs.dir)."
                ) from error
        yield
