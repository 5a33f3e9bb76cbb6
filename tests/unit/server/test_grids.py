"""``/api/v1/grids``: axes, jobs, the sheet, and what is refused."""

from __future__ import annotations

import io
import time
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from sfumato.gallery import files
from sfumato.server.access import Access
from sfumato.server.application import create
from sfumato.server.services import Services

CAT = {"prompt": "a cat", "width": 32, "height": 16, "seed": 7}
BODY = {"request": CAT, "x": {"field": "steps", "values": [1, 2, 3]}, "y": {"field": "Sampler", "values": "Euler,Heun"}}


def _ended(client: TestClient, grid: str) -> dict:
    end = time.monotonic() + 30
    while (found := client.get(f"/api/v1/grids/{grid}").json())["ended"] < found["total"]:
        assert time.monotonic() < end, found
        time.sleep(0.02)
    return found


def test_a_grid_becomes_jobs_and_a_labelled_sheet(client: TestClient) -> None:
    made = client.post("/api/v1/grids", json=BODY)
    assert made.status_code == 201
    grid = _ended(client, made.json()["id"])

    assert (grid["state"], grid["total"], grid["z"]) == ("done", 6, None)
    assert grid["x"] == {"field": "steps", "labels": ["steps: 1", "steps: 2", "steps: 3"]}
    assert [(each["x"], each["y"]) for each in grid["cells"]] == [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1)]
    jobs = [client.get(f"/api/v1/jobs/{each['job']}").json() for each in grid["cells"]]
    drawn = [(each["request"]["steps"], each["request"]["sampler"], each["request"]["seed"]) for each in jobs]
    assert drawn == [(steps, sampler, 7) for sampler in ("Euler", "Heun") for steps in (1, 2, 3)]
    data = client.get(grid["sheet"]).content
    with Image.open(io.BytesIO(data)) as sheet:
        assert sheet.width > 3 * 32
        assert sheet.height > 2 * 16
    assert "Script: X/Y/Z plot, X Type: steps" in (files.read_bytes(data) or "")
    assert client.get("/api/v1/grids").json()["grids"][0]["id"] == grid["id"]


def test_it_is_there_after_a_restart_and_can_be_forgotten(client: TestClient, services: Services) -> None:
    body = {**BODY, "x": {"field": "size", "values": [[32, 16], "16x32"]}, "y": None, "save": False, "metadata": "none"}
    grid = _ended(client, client.post("/api/v1/grids", json=body).json()["id"])

    with TestClient(create(services, Access()), base_url="http://localhost:7860") as again:
        assert again.get(f"/api/v1/grids/{grid['id']}").json() == grid
        assert files.read_bytes(again.get(grid["sheet"]).content) is None
        assert again.delete(f"/api/v1/grids/{grid['id']}").status_code == 204
        assert again.get(f"/api/v1/grids/{grid['id']}").status_code == 404
    assert services.queue.list() == ()


def test_the_same_key_gives_the_same_grid(client: TestClient, services: Services) -> None:
    key = {"Idempotency-Key": "k"}
    body = {**BODY, "request": {"prompt": "a cat", "width": 32, "height": 16}}
    first, again = (client.post("/api/v1/grids", json=body, headers=key).json() for _ in range(2))

    assert first["id"] == again["id"]
    seeds = {job.request.seed for job in services.queue.list()}
    assert len(services.queue.list()) == 6
    assert len(seeds) == 1
    assert client.post("/api/v1/grids", json=BODY, headers=key).status_code == 409


def test_cancel_ends_what_is_left(client: TestClient) -> None:
    body = {**BODY, "request": {**CAT, "prompt": "wait"}, "y": None}
    grid = client.post("/api/v1/grids", json=body).json()
    assert client.delete(f"/api/v1/grids/{grid['id']}").status_code == 409
    assert client.get(grid["sheet"]).status_code == 409

    ended = client.post(f"/api/v1/grids/{grid['id']}/cancel").json()
    assert (ended["state"], ended["ended"]) == ("cancelled", 3)


def test_a_matrix_and_models(client: TestClient) -> None:
    matrix = client.post("/api/v1/grids", json={"request": {**CAT, "prompt": "a cat|red|wet"}, "matrix": True}).json()
    assert (matrix["total"], matrix["x"]["labels"], matrix["y"]["labels"]) == (4, ["–", "red"], ["–", "wet"])
    models = {"request": CAT, "z": {"field": "model", "values": ["own", "stable-universe"]}}
    cells = _ended(client, client.post("/api/v1/grids", json=models).json()["id"])["cells"]
    assert [client.get(f"/api/v1/jobs/{each['job']}").json()["model"] for each in cells] == ["own", "stable-universe"]


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [({"x": None, "y": None}, 400, "axes"), ({"matrix": True}, 400, "matrix"),
     ({"x": {"field": "stepz", "values": "1"}}, 400, "steps"),
     ({"x": {"field": "steps", "values": "1-9999"}}, 400, "at most 1000"),
     ({"x": {"field": "steps", "values": ["9" * 400]}}, 400, "too large"),
     ({"x": {"field": "steps", "values": [0]}}, 400, "steps is '0' in one of the pictures"),
     ({"x": {"field": "cfg_scale", "values": "0-500 [2]"}}, 400, "cfg_scale is '500.0'"),
     ({"x": {"field": "cfg_scale", "values": "0-1 (+." + "0" * 322 + "1)"}}, 400, "at most 1000"),
     ({"x": {"field": "size", "values": ["9000x9000"]}}, 400, "this server takes"),
     ({"x": {"field": "hires.scale", "values": [2]}}, 400, "nothing"),
     ({"x": {"field": "init.extended", "values": [True]}}, 400, "no field"),
     ({"x": {"field": "model", "values": ["odd"]}}, 404, "odd"),
     ({"x": {"field": "prompt", "values": []}}, 422, "values"),
     ({"request": {**CAT, "batch_size": 2}}, 400, "one picture a cell")],
)  # fmt: skip
def test_what_cannot_be_drawn_is_said_before_anything_is_queued(
    client: TestClient, services: Services, change: dict, status: int, words: str
) -> None:
    answer = client.post("/api/v1/grids", json={**BODY, **change})

    assert answer.status_code == status, answer.text
    assert words in answer.text
    assert services.queue.list() == ()


def test_a_grid_that_is_too_many_jobs_is_refused_whole(services: Services) -> None:
    few = replace(services, limits=replace(services.limits, jobs=5))
    with TestClient(create(few, Access()), base_url="http://localhost:7860") as client:
        assert client.post("/api/v1/grids", json=BODY).status_code == 429
    assert services.queue.list() == ()
