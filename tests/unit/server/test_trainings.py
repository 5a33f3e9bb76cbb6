"""Training through the routes: real processes on a tiny model, and what is refused."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2]))
from checkpoints import make_networks, write_ldm

from sfumato.gallery.album import Gallery
from sfumato.server.access import Access
from sfumato.server.application import create
from sfumato.server.services import Services
from sfumato.server.trainings import Trainings, Wanted
from sfumato.training import status

HERE = "/api/v1/trainings"
QUICK = {"upload": "walls", "resolution": 32, "rank": 2, "sample_every": 0, "save_every": 2, "class_pictures": 0}
SOURCE = Path(__file__).parents[3] / "src"


@pytest.fixture
def trainings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trainings]:
    base = write_ldm(tmp_path / "tiny.safetensors", *make_networks(seed=5))
    settings = {"MODEL__TYPE": base, "MODELS_DIR": tmp_path / "models", "DEVICE": "cpu", "THREADS": 1}
    monkeypatch.setenv("PYTHONPATH", str(SOURCE))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made = Trainings(
        folder=tmp_path / "outputs" / "training",
        uploads=tmp_path / "uploads",
        environment={f"SFUMATO_{name}": str(value) for name, value in settings.items()},
    )
    yield made
    for run in made.list():
        if process := status.process_of(status.read(made.folder / run.name)):
            process.kill()


@pytest.fixture
def client(services: Services, trainings: Trainings) -> Iterator[TestClient]:
    app = create(replace(services, trainings=trainings), Access())
    with TestClient(app, base_url="http://localhost:7860") as made:
        yield made


def _send(client: TestClient) -> None:
    files = []
    for name in ("red", "green", "blue"):
        out = io.BytesIO()
        Image.new("RGB", (40, 40), name).save(out, "PNG")
        files.append(("files", (f"a {name} wall.png", out.getvalue(), "image/png")))
    assert client.post(f"{HERE}/uploads/walls", files=files).json() == {"upload": "walls", "files": 3}


def _wait(client: TestClient, name: str, until: object) -> dict:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        found = client.get(f"{HERE}/{name}").json()
        if until(found):
            return found
        time.sleep(0.1)
    raise AssertionError(found)


@pytest.mark.slow
def test_pictures_are_sent_planned_trained_stopped_and_gone_on_with(
    client: TestClient, trainings: Trainings, tmp_path: Path
) -> None:
    _send(client)
    plan = client.post(f"{HERE}/plan", json={"name": "a wall", "epochs": 2, **QUICK}).json()
    assert (plan["pictures"], plan["steps"], plan["sizes"][0]["pictures"]) == (3, 6, 3)
    assert plan["captions"][0] == "a blue wall"
    assert 0 < plan["memory_bytes"] < plan["memory_free"] * 100
    assert not trainings.folder.exists()

    made = client.post(HERE, json={"name": "a wall", "max_steps": 40, **QUICK})
    assert (made.status_code, made.json()["state"]) == (201, "starting")
    second = client.post(HERE, json={"name": "other", **QUICK})
    assert (second.status_code, second.json()["error"]["kind"]) == (409, "JobStateError")
    _wait(client, "a wall", lambda run: run["step"] >= 3)
    found = Trainings(folder=trainings.folder, uploads=trainings.uploads).get("a wall")  # as after a restart
    assert (found.state, found.steps) == ("running", 40)
    client.post(f"{HERE}/a wall/stop")
    stopped = _wait(client, "a wall", lambda run: run["state"] != "running")
    assert (stopped["state"], stopped["resumable"]) == ("stopped", True)
    rows = client.get(f"{HERE}/a wall/metrics?since=1").json()["steps"]
    assert [row["step"] for row in rows] == list(range(2, stopped["step"] + 1))
    sheet = trainings.folder / "a wall" / "samples" / "step-00000002.png"
    sheet.parent.mkdir()
    Image.new("RGB", (8, 8)).save(sheet)
    assert client.get(f"{HERE}/a wall").json()["samples"] == [2]
    assert client.get(f"{HERE}/a wall/samples/2").content == sheet.read_bytes()
    assert client.post(HERE, json={"name": "a wall", **QUICK}).status_code == 409

    client.post(f"{HERE}/a wall/resume")
    done = _wait(client, "a wall", lambda run: run["state"] not in ("starting", "running"))
    assert (done["state"], done["output"], done["step"]) == ("done", "a wall.safetensors", 40)
    assert (tmp_path / "models" / "loras" / "a wall.safetensors").is_file()
    assert [run["name"] for run in client.get(HERE).json()["trainings"]] == ["a wall"]
    assert Gallery(tmp_path / "outputs").scan() == 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"upload": "none"}, "There is no upload 'none'"),
        (
            {"upload": None, "data_dir": "/"},
            "lets training read no folder; send pictures, or start it with --train_dir",
        ),
        ({"data_dir": "/"}, "one of them"),
        ({"upload": "../walls"}, "is no name for it"),
        ({"name": ".."}, "is no name for it"),
        ({"method": "lorra"}, "nearest: 'lora'"),
        ({"learning_rate": -1}, "--learning_rate -1.0 is out of range"),
    ],
)
def test_what_may_not_be_trained_is_refused(client: TestClient, changes: dict, words: str) -> None:
    _send(client)
    answer = client.post(HERE, json={"name": "wall", **QUICK, **changes})
    assert answer.status_code == 400
    assert words in answer.json()["error"]["message"]


def test_a_folder_must_lie_in_one_that_is_allowed(tmp_path: Path) -> None:
    inside, outside = tmp_path / "mine" / "cats", tmp_path / "other"
    for folder in (inside, outside):
        folder.mkdir(parents=True)
    (tmp_path / "mine" / "link").symlink_to(outside)
    made = Trainings(folder=tmp_path / "runs", uploads=tmp_path / "u", allowed=(tmp_path / "mine",))
    flags = made._flags(Wanted(name="cat", data_dir=str(inside), instance_prompt="--plan"))
    assert {f"--data_dir={inside}", "--instance_prompt=--plan"} <= set(flags)
    for folder in (outside, tmp_path / "mine" / "link", tmp_path / "mine" / ".." / "other"):
        with pytest.raises(Exception, match="lets training read only"):
            made._flags(Wanted(name="cat", data_dir=str(folder)))


@pytest.mark.parametrize("name", ["../a.png", ".hidden.png", "a.exe", "a\n.png"])
def test_a_file_that_training_does_not_read_is_not_kept(trainings: Trainings, name: str) -> None:
    with pytest.raises(Exception, match=r"no plain file name|training reads"):
        trainings.upload("walls", name, b"x")
    assert not trainings.uploads.exists()


def test_a_process_that_was_killed_left_a_run_that_is_stopped(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        now = status.Status(state="running", pid=process.pid, born=status.born(process.pid))
        status.write(tmp_path, now)
        assert status.read(tmp_path) == now
        process.kill()
        process.wait()
    assert status.read(tmp_path).state == "stopped"
    (tmp_path / status.LOG).write_text("step 1\nTraceback\nValueError: what\n  it was\n")
    assert (status.read(tmp_path).state, status.read(tmp_path).message) == ("failed", "what it was")


def test_another_process_of_the_same_number_is_not_the_run(tmp_path: Path) -> None:
    status.write(tmp_path, status.Status(state="running", pid=os.getpid(), born=1.0))
    assert status.read(tmp_path).state == "stopped"
