"""Workers on the nodes of a Ray cluster: the same worker processes, each started and spoken to by an actor there."""

from __future__ import annotations

import contextlib
import importlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sfumato.errors import DeviceError
from sfumato.jobs.messages import Order, Prepare, Ready, Report, Token, Tools, WorkerLostError
from sfumato.jobs.process import ProcessWorker
from sfumato.jobs.types import Cause


@dataclass(frozen=True)
class Lost:
    """A :class:`WorkerLostError` as a value: Ray would wrap it if it were raised."""

    cause: Cause
    blamed: bool


class RemoteWorker:
    """The actor: on its node what :class:`ProcessWorker` is here."""

    def __init__(self, tools: Tools) -> None:
        self._worker = ProcessWorker(tools)

    def start(self) -> Ready | Lost:
        """Waits until its process takes orders."""
        try:
            return self._worker.start()
        except WorkerLostError as lost:
            return Lost(lost.cause, lost.blamed)

    def draw(self, order: Order) -> Iterator[Report | Lost]:
        """Its reports as they come."""
        try:
            yield from self._worker.draw(order)
        except WorkerLostError as lost:
            yield Lost(lost.cause, lost.blamed)

    def stop(self, token: Token) -> None:
        """See :class:`sfumato.jobs.messages.Worker`."""
        self._worker.stop(token)

    def prepare(self, wish: Prepare) -> None:
        """See :class:`sfumato.jobs.messages.Worker`."""
        self._worker.prepare(wish)


class RayWorker:
    """An actor as its supervisor sees it. See :class:`sfumato.jobs.messages.Worker`."""

    def __init__(self, tools: Tools, needs: dict[str, float]) -> None:
        self._ray = ray = _import_ray()
        # One thread draws, one hears that it should stop. Ray puts actors on different nodes where it can.
        kind: Any = ray.remote(max_concurrency=2, scheduling_strategy="SPREAD", **needs)(RemoteWorker)
        self._actor = kind.remote(tools)

    def start(self) -> Ready:
        """Waits for a node that has what it needs, however long that takes."""
        with self._losses():
            return _given(self._ray.get(self._actor.start.remote()))

    def draw(self, order: Order) -> Iterator[Report]:
        """See :class:`sfumato.jobs.messages.Worker`."""
        with self._losses():
            for reference in self._actor.draw.options(num_returns="streaming").remote(order):
                yield _given(self._ray.get(reference))

    def stop(self, token: Token) -> None:
        """See :class:`sfumato.jobs.messages.Worker`."""
        self._actor.stop.remote(token)

    def prepare(self, wish: Prepare) -> None:
        """See :class:`sfumato.jobs.messages.Worker`."""
        self._actor.prepare.remote(wish)

    def close(self, patience: float) -> None:
        """See :class:`sfumato.jobs.messages.Worker`."""
        self._ray.kill(self._actor)  # its process ends with it

    @contextlib.contextmanager
    def _losses(self) -> Iterator[None]:
        """What Ray says when a node or an actor is gone, as the loss of a worker."""
        try:
            yield
        except self._ray.exceptions.RayError as error:
            message = f"The worker's node was lost ({type(error).__name__})."
            raise WorkerLostError(Cause(kind="WorkerLost", message=message), blamed=False) from error


def _import_ray() -> Any:
    """The package, which is an extra and has no types that fit."""
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise DeviceError("--ray needs Ray on every machine: pip install 'sfumato[ray]'.") from error


def _given(message: Any) -> Any:
    if isinstance(message, Lost):
        raise WorkerLostError(message.cause, blamed=message.blamed)
    return message


@dataclass(frozen=True)
class Cluster:
    """A cluster that this process is connected to: ``places`` has what the worker of each place needs of a node."""

    tools: Tools
    places: Sequence[dict[str, float]]

    def worker(self, index: int) -> RayWorker:
        """A new worker, somewhere on the cluster."""
        return RayWorker(self.tools, self.places[index % len(self.places)])


@contextlib.contextmanager
def open_cluster(address: str, tools: Tools) -> Iterator[Cluster]:
    """Connect to a Ray cluster; at the end only the connection ends.

    Raises:
        DeviceError: Ray is not installed, or there is no cluster at ``address``.
    """
    ray = _import_ray()
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise DeviceError(
            f"--ray {address}: no cluster answers there; start one with `ray start --head --disable-usage-stats`,"
            " and join the others with `ray start --address=ADDRESS`."
        ) from error
    try:
        places = find_places([node["Resources"] for node in ray.nodes() if node["Alive"]])
        if not places:
            raise DeviceError(f"--ray {address}: no node of the cluster has a processor to spare.")
        yield Cluster(tools, places)
    finally:
        ray.shutdown()


def find_places(nodes: Sequence[dict[str, float]]) -> list[dict[str, float]]:
    """What workers to have: one for each GPU of the cluster, or if it has none, one for each node with all its cores.

    >>> find_places([{"CPU": 8.0, "GPU": 2.0}, {"CPU": 4.0}])
    [{'num_gpus': 1}, {'num_gpus': 1}]
    >>> find_places([{"CPU": 8.0}, {"CPU": 4.0}])
    [{'num_cpus': 8.0}, {'num_cpus': 4.0}]
    """
    gpus = int(sum(node.get("GPU", 0) for node in nodes))
    if gpus:
        return [{"num_gpus": 1}] * gpus
    return [{"num_cpus": node["CPU"]} for node in nodes if node.get("CPU", 0) >= 1]
