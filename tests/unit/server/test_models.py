"""Models through the routes: their pictures, in and out of memory, and smaller ones by real processes."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from gguf import GGUFReader
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2]))
from checkpoints import make_networks, write_ldm

from sfumato.gallery import files
from sfumato.jobs.messages import Prepare
from sfumato.server.access import Access
from sfumato.server.application import create
from sfumato.server.quantizations import Quantizations
from sfumato.server.services import Services

from ..gallery.test_infotext import INFO

HERE = "/api/v1/quantizations"
SOURCE = Path(__file__).parents[3] / "src"


@pytest.fixture
def wishes() -> list[Prepare]:
    return []


@pytest.fixture
def client(
    services: Services, wishes: list[Prepare], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[TestClient]:
    (tmp_path / "models").mkdir()
    tiny = write_ldm(tmp_path / "models" / "tiny.safetensors", *make_networks(seed=5))
    monkeypatch.setenv("PYTHONPATH", str(SOURCE))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    models = {**services.models(), "tiny": tiny, "<b>broken": tmp_path / "own.safetensors"}
    with closing(Quantizations(folder=tmp_path / "models")) as made:
        given = replace(services, quantizations=made, models=lambda: models, prepare=wishes.append)
        with TestClient(create(given, Access()), base_url="http://localhost:7860") as client:
            yield client


def _end(client: TestClient, name: str) -> dict:
    until = time.monotonic() + 120
    while (found := client.get(f"{HERE}/{name}").json())["state"] == "running" and time.monotonic() < until:
        time.sleep(0.1)
    return found


def test_models_are_loaded_and_let_go_of(client: TestClient, wishes: list[Prepare]) -> None:
    assert client.post("/api/v1/models/load", json={"model": "tiny.safetensors"}).json() == {"model": "tiny"}
    assert client.post("/api/v1/models/load", json={}).json() == {"model": "stable-universe"}
    assert client.post("/api/v1/models/unload").status_code == 202
    assert wishes == [Prepare(model="tiny"), Prepare(model="stable-universe"), Prepare(loaded=False)]
    assert client.post("/api/v1/models/load", json={"model": "/etc/passwd"}).status_code == 404


def test_a_models_picture_is_the_one_beside_it_or_the_newest_that_it_made(
    client: TestClient, services: Services, tmp_path: Path
) -> None:
    def colour() -> tuple[int, int, int]:
        data = client.get("/api/v1/models/tiny/picture").content
        return Image.open(io.BytesIO(data)).convert("RGB").getpixel((4, 4))

    assert client.get("/api/v1/models/tiny/picture").status_code == 204
    made = files.save(Image.new("RGB", (16, 16), "white"), replace(INFO, model="tiny"), services.gallery.folder)
    services.gallery.add(made)
    assert min(colour()) > 250
    Image.new("RGB", (600, 16), "red").save(tmp_path / "models" / "tiny.png")
    assert colour()[0] > 200 > 60 > colour()[1]
    Image.new("RGB", (16, 16), "black").save(tmp_path / "models" / "tiny.preview.png")
    assert max(colour()) < 5
    (tmp_path / "models" / "tiny.preview.png").write_bytes(b"nothing")
    assert client.get("/api/v1/models/tiny/picture").status_code == 400
    assert client.get("/api/v1/models/tiny").json()["name"] == "tiny"


@pytest.mark.slow
def test_a_model_is_made_smaller_with_a_report(client: TestClient, tmp_path: Path) -> None:
    made = client.post(HERE, json={"model": "tiny", "type": "q8_0", "layout": "compact"})
    assert (made.status_code, made.json()["name"], made.json()["state"]) == (201, "tiny-q8_0-compact", "running")
    second = client.post(HERE, json={"model": "tiny"})
    assert (second.status_code, second.json()["error"]["kind"]) == (409, "JobStateError")

    found = _end(client, "tiny-q8_0-compact")
    assert (found["state"], found["message"]) == ("done", "")
    assert found["done"] == found["total"] > 0
    output = tmp_path / "models" / "tiny-q8_0-compact.gguf"
    reader = GGUFReader(output)
    assert sum(group["tensors"] for group in found["report"]["groups"]) == len(reader.tensors)
    assert found["report"]["bytes"] == output.stat().st_size < found["report"]["bytes_before"]
    assert client.post(HERE, json={"model": "tiny", "type": "q8_0", "layout": "compact"}).status_code == 409


@pytest.mark.slow
def test_what_fails_says_why_and_leaves_nothing(client: TestClient, tmp_path: Path) -> None:
    assert client.post(HERE, json={"model": "<b>broken"}).json()["name"] == "b-broken-q4_0"
    found = _end(client, "b-broken-q4_0")
    assert found["state"] == "failed"
    assert "own.safetensors" in found["message"]

    client.post(HERE, json={"model": "tiny", "name": "ended early"})
    assert client.delete(f"{HERE}/ended early").json()["state"] == "cancelled"
    assert client.delete(f"{HERE}/ended early").status_code == 409
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["tiny.safetensors"]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"type": "q3_0"}, "q3_0"),
        ({"layout": "odd"}, "portable or compact"),
        ({"name": "../out"}, "no name for a file"),
    ],
)
def test_wrong_wishes_are_refused(client: TestClient, wrong: dict, words: str) -> None:
    answer = client.post(HERE, json={"model": "tiny", **wrong})
    assert answer.status_code == 400
    assert words in answer.text
    assert client.post(HERE, json={"model": "none"}).status_code == 404
