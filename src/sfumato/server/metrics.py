"""``/metrics`` for Prometheus: what waits, what was drawn and how long it took, what failed, and memory."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator

import psutil
from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from sfumato.jobs.states import State
from sfumato.jobs.types import Job
from sfumato.server.services import Services


class Metrics:
    """Counts jobs as they end; what can be asked for is asked when it is looked at."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._registry = CollectorRegistry()
        self._seconds = Counter(
            "sfumato_stage_seconds", "Seconds of drawing, by stage.", ["stage"], registry=self._registry
        )
        self._pictures = Counter("sfumato_pictures", "Pictures drawn.", registry=self._registry)
        self._failures = Counter("sfumato_failures", "Failed jobs, by cause.", ["cause"], registry=self._registry)
        self._registry.register(_Now(services))

    def count(self, job: Job) -> None:
        """One job that has ended."""
        if job.state is State.FAILED and job.cause is not None:
            self._failures.labels(job.cause.kind).inc()
        if job.pictures:
            self._pictures.inc(len(job.pictures))
            for stage, seconds in dataclasses.asdict(job.pictures[0].info.seconds).items():
                if stage != "total":
                    self._seconds.labels(stage).inc(seconds)

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self._registry)


class _Now(Collector):
    def __init__(self, services: Services) -> None:
        self._services = services

    def collect(self) -> Iterator[GaugeMetricFamily]:
        jobs = GaugeMetricFamily("sfumato_jobs", "Jobs by state; queued is the queue's depth.", labels=["state"])
        for state, count in self._services.queue.counts().items():
            jobs.add_metric([state.value], count)
        yield jobs
        memory = GaugeMetricFamily("sfumato_memory_bytes", "Resident memory.", labels=["process"])
        memory.add_metric(["server"], psutil.Process(os.getpid()).memory_info().rss)
        for number, pid in enumerate(self._services.pids()):
            with contextlib.suppress(psutil.Error):
                memory.add_metric([f"worker-{number}"], psutil.Process(pid).memory_info().rss)
        yield memory
