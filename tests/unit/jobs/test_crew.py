"""The crew over workers that are played: who is given what, and what becomes of jobs whose worker is lost."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sfumato.errors import OutputError, QueueBusyError
from sfumato.jobs import slot
from sfumato.jobs.crew import Crew
from sfumato.jobs.delivery import deliver
from sfumato.jobs.messages import Drawn, Failed, Kept, Order, Ready, Report, Stepped, Stopped, Token, WorkerLostError
from sfumato.jobs.queue import JobQueue
from sfumato.jobs.states import State
from sfumato.jobs.types import Cause, Job, Progress
from sfumato.request import ImageInfo, Txt2ImgRequest

KILLED = WorkerLostError(Cause(kind="WorkerLost", message="The worker was killed."), blamed=False)
CRASHED = WorkerLostError(Cause(kind="WorkerCrash", message="The worker crashed."), blamed=True)
INFO = ImageInfo(
    prompt="", negative_prompt="", seed=1, width=8, height=8, steps=4, sampler="Euler", scheduler="Karras",
    cfg_scale=7.0, clip_skip=1, eta=None, model="m", model_hash="0", device="cpu", dtype="float32",
)  # fmt: skip


class Folder:
    """Saves as ``0``, ``1``, ``2``, ... in a folder."""

    extension = "bin"

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()

    def place(self, data: bytes, info: ImageInfo) -> Path:
        path = self.path / str(len(list(self.path.iterdir())))
        path.write_bytes(data)
        return path

    def placed(self, data: bytes, since: float) -> list[Path]:
        return [path for path in sorted(self.path.iterdir()) if path.read_bytes() == data]


class Stage:
    """Workers that do what prompts say: ``slow`` goes on until it is stopped, ``killed`` and ``crash`` at step 1."""

    def __init__(self, devices: int = 1) -> None:
        self.devices, self.orders, self.started, self.stops = devices, list[Order](), itertools.count(1), set[Token]()
        self.kills = 10**6

    def __call__(self, index: int) -> Player:
        return Player(self)


class Player:
    """One worker of a stage."""

    def __init__(self, stage: Stage) -> None:
        self.stage, self.closed = stage, threading.Event()

    def start(self) -> Ready:
        return Ready(devices=self.stage.devices, pid=next(self.stage.started))

    def draw(self, order: Order) -> Iterator[Report]:
        self.stage.orders.append(order)
        prompt = order.request.prompt
        yield Stepped(progress=Progress(step=1, steps=4))
        if "keep" in prompt:
            yield Kept(checkpoint=order.token[0].encode(), step=1, steps=4)
        if "killed" in prompt and self.stage.kills > 0:
            self.stage.kills -= 1
            raise KILLED
        if "crash" in prompt:
            raise CRASHED
        if "wrong" in prompt:
            yield Failed(cause=Cause(kind="RequestError", message="No."))
            return
        while "slow" in prompt and order.token not in self.stage.stops:
            if self.closed.wait(0.01):
                raise KILLED
        if order.token in self.stage.stops and "deaf" not in prompt:
            yield Kept(checkpoint=b"stopped", step=2, steps=4)
            yield Stopped()
            return
        yield Drawn(pictures=tuple((f"{prompt} {k}".encode(), INFO) for k in range(order.request.batch_size)))

    def stop(self, token: Token) -> None:
        self.stage.stops.add(token)

    def close(self, patience: float) -> None:
        self.closed.set()


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[JobQueue]:
    made = JobQueue(tmp_path / "queue")
    yield made
    made.close()


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "out")


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setattr(slot, "FIRST_DELAY", 0.01)
    return Stage()


def _submit(queue: JobQueue, *prompts: str, **more: object) -> list[str]:
    return [queue.submit(Txt2ImgRequest(prompt=prompt, seed=1), **more).id for prompt in prompts]  # type: ignore[arg-type]


def _until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.01)


def _ended(queue: JobQueue, *jobs: str) -> list[Job]:
    _until(lambda: all(queue.get(job).state.ended for job in jobs))
    return [queue.get(job) for job in jobs]


def test_jobs_are_drawn_in_order_and_saved(queue: JobQueue, folder: Folder, stage: Stage) -> None:
    jobs = _submit(queue, "a", "b", "c")
    queue.move(jobs[2], before=jobs[0])
    with Crew(queue, stage, folder):
        done = _ended(queue, *jobs)

    assert [order.request.prompt for order in stage.orders] == ["c", "a", "b"]
    assert [job.pictures[0].path.read_text() for job in done] == ["a 0", "b 0", "c 0"]
    assert done[0].pictures[0].info == INFO
    assert done[0].progress == Progress(step=4, steps=4)
    assert list((queue.folder / "results").iterdir()) == []


def test_unsaved_pictures_stay_with_the_job(queue: JobQueue, folder: Folder, stage: Stage) -> None:
    (job,) = _submit(queue, "a", save=False)
    with Crew(queue, stage, folder):
        (done,) = _ended(queue, job)

    assert done.pictures[0].path == queue.folder / "results" / f"{job}-0.bin"
    assert list(folder.path.iterdir()) == []
    queue.forget(job)
    assert not done.pictures[0].path.exists()


def test_a_killed_worker_is_replaced_and_its_job_goes_on(queue: JobQueue, folder: Folder, stage: Stage) -> None:
    stage.kills = 3
    jobs = _submit(queue, "killed", "b")
    with Crew(queue, stage, folder) as crew:
        done = _ended(queue, *jobs)
        assert crew.workers()[0].starts == 4

    assert [job.state for job in done] == [State.DONE, State.DONE]
    assert [order.token[1] for order in stage.orders] == [1, 2, 3, 4, 1]


def test_a_job_goes_on_from_its_checkpoint(queue: JobQueue, folder: Folder, stage: Stage) -> None:
    stage.kills = 20  # far more than a job may be interrupted that gets no further
    (job,) = _submit(queue, "killed keep")
    with Crew(queue, stage, folder):
        assert _ended(queue, job)[0].state is State.DONE

    assert [order.checkpoint for order in stage.orders] == [None] + [job.encode()] * 20


def test_what_is_always_killed_or_crashes_ends_alone(queue: JobQueue, folder: Folder, stage: Stage) -> None:
    jobs = _submit(queue, "killed", "crash", "wrong", "d")
    with Crew(queue, stage, folder):
        done = _ended(queue, *jobs)

    causes = [None if job.cause is None else job.cause.kind for job in done]
    assert causes == ["WorkerLost", "WorkerCrash", "RequestError", None]
    assert done[0].attempt == slot.MAX_INTERRUPTIONS
    assert done[1].attempt == 1
    assert done[3].pictures[0].path.read_text() == "d 0"


@pytest.mark.parametrize("prompt", ["slow", "slow deaf"])
def test_a_cancelled_job_is_stopped_and_not_saved(prompt: str, queue: JobQueue, folder: Folder, stage: Stage) -> None:
    first, second = _submit(queue, prompt, "b")
    with Crew(queue, stage, folder):
        _until(lambda: queue.get(first).progress.step == 1)
        assert queue.cancel(first).state is State.CANCELLED
        assert _ended(queue, second)[0].state is State.DONE

    assert (first, 1) in stage.stops
    assert queue.get(first).pictures == ()
    assert [path.read_text() for path in folder.path.iterdir()] == ["b 0"]


def test_a_paused_job_goes_on_from_where_it_was(queue: JobQueue, folder: Folder, stage: Stage) -> None:
    first, second = _submit(queue, "slow", "b")
    with Crew(queue, stage, folder):
        _until(lambda: queue.get(first).progress.step == 1)
        queue.pause(first)
        assert _ended(queue, second)[0].state is State.DONE
        assert queue.get(first).progress == Progress(step=2, steps=4)
        queue.resume(first)
        _until(lambda: len(stage.orders) == 3)
        queue.cancel(first)

    assert (stage.orders[2].token, stage.orders[2].checkpoint) == ((first, 2), b"stopped")


def test_another_process_may_cancel(queue: JobQueue, folder: Folder, stage: Stage) -> None:
    (job,) = _submit(queue, "slow")
    with Crew(queue, stage, folder):
        _until(lambda: queue.get(job).progress.step == 1)
        other = JobQueue(queue.folder)
        other.cancel(job)
        other.close()
        _until(lambda: stage.stops == {(job, 1)})


@pytest.mark.parametrize(("prompt", "kept"), [("slow", b"stopped"), ("slow deaf", None)])
def test_closing_puts_jobs_back(prompt: str, kept: bytes | None, queue: JobQueue, folder: Folder, stage: Stage) -> None:
    (job,) = _submit(queue, prompt)
    if "deaf" in prompt:
        stage.stops = type("Deaf", (set,), {"__contains__": lambda *_: False})()
    crew = Crew(queue, stage, folder)
    crew.start()
    _until(lambda: queue.get(job).progress.step == 1)
    began = time.monotonic()
    crew.close(patience=0.5)

    assert time.monotonic() - began < 5
    after = queue.get(job)
    assert (after.state, queue.checkpoint(after), queue.interruptions(after)) == (State.QUEUED, kept, 0)
    assert [each.state for each in crew.workers()] == ["ended"]


def test_what_a_crash_of_the_server_left_running_is_drawn(queue: JobQueue, folder: Folder, stage: Stage) -> None:
    _submit(queue, "a")
    claimed = queue.claim()
    assert claimed is not None
    queue.keep(claimed, b"kept", 1, 4)
    queue.close()
    again = JobQueue(queue.folder)
    with Crew(again, stage, folder):
        assert _ended(again, claimed.id)[0].attempt == 2
    again.close()

    assert stage.orders[0].checkpoint == b"kept"


def test_each_device_has_its_worker(queue: JobQueue, folder: Folder, stage: Stage) -> None:
    stage.devices = 3
    jobs = _submit(queue, "slow", "slow", "slow")
    with Crew(queue, stage, folder) as crew:
        _until(lambda: {each.job for each in crew.workers()} == set(jobs))
        assert {each.pid for each in crew.workers()} == {1, 2, 3}


def test_a_folder_has_one_crew(queue: JobQueue, folder: Folder, stage: Stage) -> None:
    with Crew(queue, stage, folder), pytest.raises(QueueBusyError, match="another process"):
        Crew(JobQueue(queue.folder), stage, folder).start()
    with Crew(queue, stage, folder):
        pass


def test_what_can_not_be_saved_fails_the_job(
    queue: JobQueue, folder: Folder, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(data: bytes, info: ImageInfo) -> Path:
        raise OutputError("The disk is full.")

    monkeypatch.setattr(folder, "place", full)
    with Crew(queue, stage, folder):
        (job,) = _ended(queue, *_submit(queue, "a"))

    assert job.cause == Cause(kind="OutputError", message="The disk is full.")


@pytest.mark.parametrize("moment", ["before the first", "between", "before the end"])
def test_a_crash_at_any_moment_of_saving_saves_each_picture_once(
    moment: str, queue: JobQueue, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    _submit(queue, "a", "a twin of it")
    drawn = [(b"one", INFO), (b"two", INFO)]
    twin = queue.claim()
    assert twin is not None
    deliver(queue, folder, twin, drawn)  # the same bytes, and another job's
    job = queue.claim()
    assert job is not None
    count = {"before the first": 0, "between": 1, "before the end": 2}[moment]
    with monkeypatch.context() as patch:
        calls = itertools.count()
        place = folder.place

        def dying(data: bytes, info: ImageInfo) -> Path:
            if next(calls) == count:
                raise KeyboardInterrupt
            return place(data, info)

        patch.setattr(folder, "place", dying)
        patch.setattr(queue, "finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            deliver(queue, folder, job, drawn)

    queue.interrupt(job, counted=True)
    again = queue.claim()
    assert again is not None
    deliver(queue, folder, again, drawn)

    assert sorted(path.read_bytes() for path in folder.path.iterdir()) == [b"one", b"one", b"two", b"two"]
    paths = [picture.path for each in queue.list() for picture in each.pictures]
    assert sorted(paths) == sorted(folder.path.iterdir())
    assert list((queue.folder / "results").iterdir()) == []
