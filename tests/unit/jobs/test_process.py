"""Worker processes: what they draw, that they have no network, and how their ends are told apart."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))
import worker_tools
from checkpoints import make_networks, write_ldm
from PIL import Image
from upscalers import write_plain

from sfumato.jobs import process
from sfumato.jobs.messages import Drawn, Failed, Kept, Order, Prepare, Report, Stepped, Stopped, WorkerLostError
from sfumato.jobs.process import ProcessWorker, visible_device
from sfumato.request import Txt2ImgRequest, UpscaleRequest

REQUEST = Txt2ImgRequest(prompt="a cat", width=32, height=32, steps=4, seed=5)
Start = Callable[[], ProcessWorker]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ldm(tmp_path_factory.mktemp("m") / "tiny.safetensors", *make_networks(seed=1))


@pytest.fixture
def start(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts workers, and ends them after the test."""
    monkeypatch.setenv("SFUMATO_TEST_SOCKETS", str(tmp_path / "sockets"))
    workers: list[ProcessWorker] = []

    def new() -> ProcessWorker:
        workers.append(ProcessWorker(worker_tools.tools(model)))
        assert workers[-1].start().devices >= 1
        return workers[-1]

    yield new
    for each in workers:
        each.close(5)
        assert not each.process.is_alive()


def _draw(worker: ProcessWorker, model: str | None = None, **change: object) -> list[Report]:
    order = {"token": ("j", 1), "request": REQUEST, "model": model, "metadata": None, "checkpoint": None, "every": 2}
    return list(worker.draw(Order(**{**order, **change})))  # type: ignore[arg-type]


def test_an_order_is_drawn_and_opens_no_socket(start: Start, tmp_path: Path) -> None:
    worker = start()
    reports = _draw(worker)

    assert [type(each) for each in reports] == [Stepped, Stepped, Kept, Stepped, Stepped, Kept, Drawn]
    steps = [each.progress for each in reports if isinstance(each, Stepped)]
    assert [(each.step, each.steps) for each in steps] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert steps[0].eta is not None
    assert steps[0].eta > 0 == steps[-1].eta
    assert steps[0].preview is not None
    assert steps[0].preview.startswith(b"\xff\xd8")
    kept = next(each for each in reports if isinstance(each, Kept))
    assert _draw(worker, checkpoint=kept.checkpoint)[-1].pictures[0][0] == reports[-1].pictures[0][0]
    # A library tries one when it is imported, and is refused: nothing but the trying was heard, and none is open.
    notes = tmp_path / "sockets"
    assert {line.split()[0] for line in (notes.read_text() if notes.exists() else "").splitlines()} <= {
        "socket.__new__"
    }
    if (files := Path(f"/proc/{worker.process.pid}/fd")).exists():
        opened = [str(each.readlink()) for each in files.iterdir()]
        assert any(each.startswith("pipe:") for each in opened)
        assert not any(each.startswith("socket:") for each in opened)

    for model in ("talk", "look up"):
        (failed,) = _draw(worker, model)
        assert isinstance(failed, Failed)
        assert failed.cause.kind == "Defect"
        assert "A worker has no network" in failed.cause.message
    assert "socket.getaddrinfo" in notes.read_text()  # so the hook does hear of them


def test_a_worker_lets_others_go_first(start: Start) -> None:
    mine, its = psutil.Process().nice(), psutil.Process(start().process.pid).nice()

    assert its == (psutil.BELOW_NORMAL_PRIORITY_CLASS if sys.platform == "win32" else min(19, mine + 5))


def test_a_worker_holds_the_model_that_it_was_told_to(start: Start) -> None:
    worker = start()
    first = _draw(worker)[-1]
    worker.prepare(Prepare(loaded=False))
    again = _draw(worker)[-1]
    assert isinstance(first, Drawn)
    assert isinstance(again, Drawn)
    assert again.pictures[0][0] == first.pictures[0][0]

    worker.prepare(Prepare(model="crash"))  # loads it, and so falls
    with pytest.raises(WorkerLostError):
        _draw(worker)


def test_a_stop_is_heard_within_a_step_and_what_can_not_be_drawn_is_said(start: Start) -> None:
    worker = start()
    reports: list[Report] = []
    order = Order(token=("j", 1), request=REQUEST, model=None, metadata=None, checkpoint=None, every=100)
    for report in worker.draw(order):
        reports.append(report)
        worker.stop(("another", 1))
        if len(reports) == 1:
            worker.stop(("j", 1))

    # The step that the worker was in when it was told may have ended; no more than one was begun after.
    assert [type(each) for each in reports][-2:] == [Kept, Stopped]
    assert len(reports) <= 5
    (failed,) = _draw(worker, request=Txt2ImgRequest(prompt="", sampler="Eular"))
    assert isinstance(failed, Failed)
    assert (failed.cause.kind, failed.cause.detail) == ("RequestError", "")


@pytest.mark.parametrize(
    ("mischief", "kind", "blamed"),
    [("crash", "WorkerCrash", True), ("exit", "WorkerCrash", True), ("be killed", "WorkerLost", False)],
)
def test_how_a_worker_ended(mischief: str, kind: str, blamed: bool, start: Start) -> None:
    with pytest.raises(WorkerLostError) as lost:
        _draw(start(), mischief)

    assert (lost.value.cause.kind, lost.value.blamed) == (kind, blamed)


def test_a_kill_for_want_of_memory_is_told_by_the_kernels_count(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    worker, counts = start(), iter([3, 4])
    monkeypatch.setattr(process, "oom_kills", lambda: next(counts))

    with pytest.raises(WorkerLostError, match="ran out of memory") as lost:
        _draw(worker, "be killed")

    assert (lost.value.cause.kind, lost.value.blamed) == ("OutOfMemoryKill", True)


def test_the_kernels_count_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "vmstat").write_text("oom_kill 7\n")
    monkeypatch.setattr(process, "_CGROUP", tmp_path / "none")
    monkeypatch.setattr(process, "_VMSTAT", tmp_path / "vmstat")
    assert process.oom_kills() == 7

    (tmp_path / "none").write_text("oom 3\noom_kill 2\n")
    assert process.oom_kills() == 2


def test_each_worker_sees_its_own_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible_device(1) == "1"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    assert (visible_device(1), visible_device(5)) == ("6", "4,6")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_device(0) == ""


def test_a_picture_is_made_larger(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_plain(tmp_path / "models/upscalers")
    monkeypatch.chdir(tmp_path)  # where the worker looks for models
    picture = Image.effect_noise((400, 20), 60).convert("RGB")
    request = UpscaleRequest(picture=picture, width=800, height=40, upscaler="plain")
    worker = start()
    reports = _draw(worker, request=request)

    assert [type(each) for each in reports] == [Stepped, Stepped, Stepped, Drawn]
    assert isinstance(reports[-1], Drawn)
    data, info = reports[-1].pictures[0]
    with Image.open(io.BytesIO(data)) as image:
        assert image.tobytes() == picture.resize((800, 40), Image.Resampling.NEAREST).tobytes()
    assert info.text == "Postprocess upscale by: 2, Postprocess upscaler: plain"
