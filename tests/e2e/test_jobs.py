"""The queue as processes: killed without warning, ended politely, and always the same pictures in the end."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from sfumato.jobs.queue import JobQueue
from sfumato.jobs.states import State

SAMPLERS = ("DPM++ 2M SDE", "UniPC")
STEPS = 60
PROGRAM = (sys.executable, "-c", "import sys; from sfumato.cli import main; sys.exit(main())", "queue")


class Place:
    """A folder with a queue of two jobs, one for each sampler."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.folder = folder
        folder.mkdir()
        flags = ["--ckpt", str(model), "--steps", str(STEPS), "--resolution", "32x32", "--seed", "5"]
        self.jobs = [
            subprocess.run(
                [*PROGRAM, "add", "--prompt", "a [cat:dog:20]", "--sampler", sampler, "--key", sampler, *flags],
                cwd=folder, check=True, capture_output=True, text=True, timeout=120,
            ).stdout.strip()
            for sampler in SAMPLERS
        ]  # fmt: skip
        self.queue = JobQueue(folder / "jobs")

    def run(self, *flags: str) -> subprocess.Popen[str]:
        return subprocess.Popen([*PROGRAM, "run", *flags], cwd=self.folder, stdout=subprocess.PIPE, text=True)

    def checkpoint(self, job: int) -> Path:
        return self.folder / "jobs" / "checkpoints" / self.jobs[job]

    def pictures(self) -> list[bytes]:
        found = [self.queue.get(job) for job in self.jobs]
        assert [job.state for job in found] == [State.DONE, State.DONE]
        assert len(list((self.folder / "outputs").rglob("*.png"))) == len(SAMPLERS)
        return [job.pictures[0].path.read_bytes() for job in found]


@pytest.fixture
def place(tiny_model: Path, clean: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Place]]:
    for name, value in {"THREADS": "1", "DEVICE": "cpu", "JOBS__CHECKPOINT_STEPS": "2"}.items():
        monkeypatch.setenv(f"SFUMATO_{name}", value)
    places: list[Place] = []

    def make(name: str) -> Place:
        places.append(Place(clean / name, tiny_model))
        return places[-1]

    yield make
    for each in places:
        each.queue.close()


def _until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 200
    while not condition():
        assert process.poll() is None, "it ended too early"
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.005)


def _worker_of(process: subprocess.Popen[str]) -> psutil.Process:
    children = psutil.Process(process.pid).children()
    return next(child for child in children if "spawn_main" in " ".join(child.cmdline()))


def _kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_kills_change_no_bit(place: Callable[[str], Place]) -> None:
    calm, rough = place("calm"), place("rough")
    undisturbed = calm.run("--once")
    undisturbed.communicate(timeout=300)
    assert undisturbed.returncode == 0

    # The worker is killed in the first job, then the whole program.
    server = rough.run()
    _until(rough.checkpoint(0).exists, server)
    worker = _worker_of(server)
    worker.kill()
    _until(lambda: rough.queue.get(rough.jobs[0]).attempt == 2, server)
    first = rough.checkpoint(0).read_bytes()
    _until(lambda: not rough.checkpoint(0).exists() or rough.checkpoint(0).read_bytes() != first, server)
    orphan = _worker_of(server)
    _kill(server)
    orphan.wait(60)  # a worker does not outlive the program that it works for
    # In the second job the program is asked to end, and then killed once more.
    server = rough.run()
    _until(rough.checkpoint(1).exists, server)
    began = time.monotonic()
    server.send_signal(signal.SIGTERM)
    server.communicate(timeout=60)
    assert (server.returncode, time.monotonic() - began < 10) == (0, True)
    after = rough.queue.get(rough.jobs[1])
    assert (after.state, after.progress.step > 0) == (State.QUEUED, True)
    server = rough.run()
    _until(lambda: rough.queue.get(rough.jobs[1]).state is State.RUNNING, server)
    _kill(server)
    last = rough.run("--once")
    last.communicate(timeout=300)

    assert last.returncode == 0
    assert rough.pictures() == calm.pictures()
    assert rough.queue.get(rough.jobs[0]).attempt >= 2
    assert rough.queue.get(rough.jobs[1]).attempt >= 3
