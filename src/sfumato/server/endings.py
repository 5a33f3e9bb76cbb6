"""What is done when a job ends, whoever submitted it: it is counted, and its pictures go into the gallery's index."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from sfumato.errors import RequestError, UnknownJobError
from sfumato.jobs.queue import JobQueue
from sfumato.jobs.states import State
from sfumato.jobs.types import Job
from sfumato.server.services import Services


@contextlib.contextmanager
def heard(queue: JobQueue, *hear: Callable[[Job], None]) -> Iterator[None]:
    """In the block, each of ``hear`` is given every job that is done or has failed, from a thread of its own."""
    subscription = queue.subscribe()

    def listen() -> None:
        for event in subscription:
            if event.state in (State.DONE, State.FAILED):
                with contextlib.suppress(UnknownJobError):  # forgotten by now
                    job = queue.get(event.job)
                    for each in hear:
                        each(job)

    thread = threading.Thread(target=listen, name="sfumato-endings", daemon=True)
    thread.start()
    try:
        yield
    finally:
        subscription.close()
        thread.join()


def shelve(services: Services, job: Job) -> None:
    """Put a job's saved pictures into the gallery's index."""
    for picture in job.pictures if job.save else ():
        with contextlib.suppress(RequestError):  # deleted by now, or saved to another folder
            services.gallery.add(picture.path)
