"""Workers on a cluster, with a Ray that runs its actors here: what each word becomes, and what is told without it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from sfumato.errors import DeviceError
from sfumato.jobs import ray_worker
from sfumato.jobs.messages import Order, Prepare, Ready, Report, Stopped, Token, Tools, WorkerLostError
from sfumato.jobs.ray_worker import RayWorker
from sfumato.jobs.types import Cause

TOOLS = Tools(open_studio=cast(Any, None), encode=cast(Any, None))
ORDER = Order(token=("j", 1), request=None, model=None, metadata=None, checkpoint=None, every=5)


class Process:
    """In the place of a worker process: notes what it was told."""

    told: list[object]

    def __init__(self, tools: Tools) -> None:
        assert tools is TOOLS
        Process.told = []

    def start(self) -> Ready:
        return Ready(devices=1, pid=7)

    def draw(self, order: Order) -> Iterator[Report]:
        self.told.append(order)
        yield Stopped()
        raise WorkerLostError(Cause(kind="WorkerCrash", message="gone"), blamed=True)

    def stop(self, token: Token) -> None:
        self.told.append(token)

    def prepare(self, wish: Prepare) -> None:
        self.told.append(wish)


class RayError(Exception):
    """What Ray raises when an actor is gone."""


class Method:
    """An actor's method: ``remote`` calls it at once."""

    def __init__(self, call: Any) -> None:
        self.remote = call

    def options(self, *, num_returns: str) -> Method:
        assert num_returns == "streaming"
        return self


class Ray:
    """Actors as objects of this process, whose references are the values themselves."""

    exceptions = SimpleNamespace(RayError=RayError)

    def __init__(self) -> None:
        self.wanted: dict[str, Any] = {}
        self.killed: list[object] = []
        self.broken = False

    def remote(self, **needs: Any) -> Any:
        self.wanted = needs

        def make(kind: Any) -> Any:
            def actor(*arguments: Any) -> Any:
                inside = kind(*arguments)
                names = ("start", "draw", "stop", "prepare")
                return SimpleNamespace(**{name: Method(getattr(inside, name)) for name in names})

            return SimpleNamespace(remote=actor)

        return make

    def get(self, reference: Any) -> Any:
        if self.broken:
            raise RayError("the node is gone")
        return reference

    def kill(self, actor: object) -> None:
        self.killed.append(actor)


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Ray:
    made = Ray()
    monkeypatch.setitem(sys.modules, "ray", cast(Any, made))
    monkeypatch.setattr(ray_worker, "ProcessWorker", Process)
    return made


def test_what_a_worker_is_told_reaches_its_process(ray: Ray) -> None:
    worker = RayWorker(TOOLS, {"num_cpus": 2.0})
    assert ray.wanted == {"max_concurrency": 2, "scheduling_strategy": "SPREAD", "num_cpus": 2.0}
    assert worker.start() == Ready(devices=1, pid=7)

    worker.prepare(Prepare(model="own"))
    worker.prepare(Prepare(loaded=False))
    reports = worker.draw(ORDER)
    assert next(reports) == Stopped()
    worker.stop(("j", 1))
    with pytest.raises(WorkerLostError, match="gone") as lost:
        next(reports)

    assert lost.value.blamed
    assert Process.told == [Prepare(model="own"), Prepare(loaded=False), ORDER, ("j", 1)]
    worker.close(1.0)
    assert len(ray.killed) == 1


def test_a_lost_node_is_a_lost_worker_and_nobody_s_fault(ray: Ray) -> None:
    worker = RayWorker(TOOLS, {"num_gpus": 1})
    ray.broken = True

    for wait in (worker.start, lambda: next(worker.draw(ORDER))):
        with pytest.raises(WorkerLostError, match="node was lost") as lost:
            wait()
        assert (lost.value.cause.kind, lost.value.blamed) == ("WorkerLost", False)


def test_without_ray_there_is_one_line_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(DeviceError, match=r"^--ray needs Ray on every machine: pip install 'sfumato\[ray\]'\.$"):
        RayWorker(TOOLS, {})
