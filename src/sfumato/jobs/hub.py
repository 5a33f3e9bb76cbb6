"""Who wants to hear of events, and what each has not taken yet."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

from sfumato.jobs.types import Event

#: How often another process's changes are looked for while waiting, in seconds.
POLL = 0.5
#: Events that wait for a slow listener; beyond that it is told to begin anew.
LIMIT = 10_000


class Subscription:
    """The events of one job, or of all, from a number on: first the stored ones, then each as it happens.

    Of progress that was not taken yet only the newest for each job is kept, so that a slow listener costs no memory.
    Use it as a context manager, or call :meth:`close`.
    """

    def __init__(self, hub: Hub, job: str | None, wake: Callable[[], None] | None) -> None:
        self._hub, self._job, self._wake = hub, job, wake
        self._ready = threading.Condition()
        self._stored: list[Event] = []
        self._progress: dict[str, Event] = {}
        self.closed = False

    def take(self, timeout: float | None = None) -> list[Event]:
        """All events that came since the last call, in order; waits for the first one.

        Returns an empty list after ``timeout`` seconds (0 does not wait), or when the subscription was closed.
        """
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            self._hub.poll()
            with self._ready:
                if self._stored or self._progress or self.closed:
                    return self._drain()
                left = POLL if end is None else min(POLL, end - time.monotonic())
                if left <= 0:
                    return []
                self._ready.wait(left)

    def _drain(self) -> list[Event]:
        taken = [*self._stored, *self._progress.values()]
        self._stored, self._progress = [], {}
        return taken

    def offer(self, event: Event) -> None:
        """Called by the hub, from any thread."""
        if self._job is not None and event.job not in (self._job, ""):
            return
        with self._ready:
            if event.kind == "progress":
                self._progress[event.job] = event
            else:
                self._progress.pop(event.job, None)
                self._stored.append(event)
                if len(self._stored) > LIMIT:
                    self.closed = True
            self._ready.notify_all()
        if self._wake is not None:
            self._wake()

    def close(self) -> None:
        """No more events; whoever waits is woken."""
        self._hub.drop(self)
        with self._ready:
            self.closed = True
            self._ready.notify_all()

    def __iter__(self) -> Iterator[Event]:
        while not self.closed:
            yield from self.take()

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Hub:
    """Gives each event to each subscription once, in order.

    Stored events are read from ``newer`` (a number to the events after it), so those of other processes come too.
    """

    def __init__(self, newer: Callable[[int], list[Event]], last: int) -> None:
        self._newer, self._last = newer, last
        self._lock = threading.RLock()
        self._subscriptions: list[Subscription] = []

    @property
    def last(self) -> int:
        """The number of the newest stored event that was given out."""
        return self._last

    def poll(self) -> None:
        """Give out what was stored since the last call."""
        with self._lock:
            for event in self._newer(self._last):
                self._last = event.number
                self._give(event)

    def tell(self, event: Event) -> None:
        """Give out an event that is not stored."""
        with self._lock:
            self.poll()
            self._give(event)

    def _give(self, event: Event) -> None:
        for subscription in tuple(self._subscriptions):
            subscription.offer(event)

    def subscribe(self, since: int | None, job: str | None, wake: Callable[[], None] | None) -> Subscription:
        """See :meth:`sfumato.jobs.queue.JobQueue.subscribe`."""
        subscription = Subscription(self, job, wake)
        with self._lock:
            self.poll()
            for event in [] if since is None else self._newer(since):
                subscription.offer(event)
            self._subscriptions.append(subscription)
        return subscription

    def drop(self, subscription: Subscription) -> None:
        """Forget a subscription."""
        with self._lock:
            if subscription in self._subscriptions:
                self._subscriptions.remove(subscription)

    def close(self) -> None:
        """Close every subscription."""
        for subscription in tuple(self._subscriptions):
            subscription.close()
