"""``/api/v1``: shapes, states, events, the gallery, and limits."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from sfumato.server.services import Services

CAT = {"request": {"prompt": "a cat", "width": 32, "height": 16, "seed": 7}}


def _ended(client: TestClient, job: str) -> dict:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        found = client.get(f"/api/v1/jobs/{job}").json()
        if found["state"] in ("done", "failed", "cancelled"):
            return found
        time.sleep(0.02)
    raise AssertionError(found)


def test_a_job_becomes_a_picture_in_the_gallery(client: TestClient) -> None:
    made = client.post("/api/v1/jobs", json=CAT, headers={"Idempotency-Key": "k"})
    again = client.post("/api/v1/jobs", json=CAT, headers={"Idempotency-Key": "k"})

    assert made.status_code == 201
    assert made.headers["location"] == f"/api/v1/jobs/{made.json()['id']}"
    assert again.json()["id"] == made.json()["id"]
    job = _ended(client, made.json()["id"])
    assert job["state"] == "done"
    assert job["request"]["seed"] == 7
    result = client.get(f"/api/v1/jobs/{job['id']}/result").json()
    picture = client.get(result["pictures"][0]["url"])
    assert picture.headers["content-type"] == "image/png"
    end = time.monotonic() + 10
    while (found := client.get("/api/v1/gallery?words=cat").json())["total"] == 0 and time.monotonic() < end:
        time.sleep(0.02)
    assert client.post("/api/v1/gallery/scan").json() == {"changed": 0}
    entry = found["pictures"][0]
    assert client.get(entry["url"]).content == picture.content
    assert client.get(entry["thumbnail"]).headers["content-type"] == "image/webp"
    here = f"/api/v1/gallery/{entry['id']}"
    assert client.patch(here, json={"rating": 3, "tags": ["b", "a"]}).json()["tags"] == ["a", "b"]
    assert client.get("/api/v1/gallery", params={"rating": 3, "tag": "a"}).json()["total"] == 1
    trashed = client.delete(here).json()
    assert client.get("/api/v1/gallery").json()["total"] == 0
    assert client.get("/api/v1/gallery/trash").json() == [trashed]
    assert client.post(f"/api/v1/gallery/trash/{trashed['id']}/restore").json()["rating"] == 3


def test_the_same_key_with_another_request_is_a_conflict(client: TestClient) -> None:
    client.post("/api/v1/jobs", json=CAT, headers={"Idempotency-Key": "k"})
    answer = client.post("/api/v1/jobs", json={"request": {"prompt": "x"}}, headers={"Idempotency-Key": "k"})

    assert answer.status_code == 409
    assert answer.json()["error"]["kind"] == "IdempotencyError"


def test_jobs_move_as_their_states_allow(client: TestClient) -> None:
    first, *rest = [client.post("/api/v1/jobs", json={"request": {"prompt": "wait"}}).json()["id"] for _ in range(3)]
    moved = client.post(f"/api/v1/jobs/{rest[1]}/move", json={"before": rest[0]})

    assert moved.status_code == 200
    order = [job["id"] for job in client.get("/api/v1/jobs", params={"state": "queued"}).json()["jobs"]]
    assert [job for job in order if job in rest] == rest[::-1]
    assert client.post(f"/api/v1/jobs/{rest[0]}/pause").json()["state"] == "paused"
    assert client.post(f"/api/v1/jobs/{rest[0]}/resume").json()["state"] == "queued"
    for job in (*rest, first):
        assert client.post(f"/api/v1/jobs/{job}/cancel").json()["state"] == "cancelled"
    assert client.post(f"/api/v1/jobs/{first}/cancel").status_code == 409
    assert client.get(f"/api/v1/jobs/{first}/result").status_code == 409
    assert client.post(f"/api/v1/jobs/{first}/retry").json()["state"] in ("queued", "running")
    client.post(f"/api/v1/jobs/{first}/cancel")
    assert client.delete(f"/api/v1/jobs/{first}").status_code == 204
    assert client.get(f"/api/v1/jobs/{first}").status_code == 404


def test_events_tell_a_job_from_its_beginning_to_its_end(client: TestClient) -> None:
    job = client.post("/api/v1/jobs", json=CAT).json()["id"]
    with client.stream("GET", f"/api/v1/jobs/{job}/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in answer.iter_lines() if line.startswith("data: ")]

    states = [json.loads(line[6:]).get("state") for line in lines]
    assert [state for state in states if state] == ["queued", "running", "done"]


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ({"prompt": "x", "steps": 0}, 422), ({"prompt": "x", "steps": 1001}, 422), ({"prompt": "x", "odd": 1}, 422),
        ({"prompt": "x", "sampler": "odd"}, 400), ({"prompt": "x", "width": 8192, "height": 8192}, 400),
        ({"prompt": "x", "batch_size": 5}, 400), ({}, 422), ({"prompt": "x", "cfg_scale": "much"}, 422),
        ({"prompt": "x" * 100_001}, 422),
    ],
)  # fmt: skip
def test_what_can_not_be_drawn_is_refused_at_the_door(client: TestClient, request_: dict, status: int) -> None:
    assert client.post("/api/v1/jobs", json={"request": request_}).status_code == status
    assert client.get("/api/v1/jobs").json()["jobs"] == []


@pytest.mark.parametrize("model", ["nothing", "/etc/passwd", "../own.safetensors", ""])
def test_models_are_names_and_no_paths(client: TestClient, model: str) -> None:
    answer = client.post("/api/v1/jobs", json={**CAT, "model": model})

    assert (answer.status_code, answer.json()["error"]["kind"]) == (404, "CheckpointError")


def test_a_client_has_a_limit(client: TestClient, services: Services) -> None:
    services.queue.hold(True)
    codes = [client.post("/api/v1/jobs", json=CAT).status_code for _ in range(51)]

    assert codes == [201] * 50 + [429]


def test_bodies_have_a_limit(client: TestClient) -> None:
    assert client.post("/api/v1/jobs", content=b"x" * (1 << 21)).status_code == 413
    pieces = (b"x" * 65536 for _ in range(40))
    assert client.post("/api/v1/jobs", content=pieces).status_code == 413


@pytest.mark.parametrize("id", ["..%2f..%2fetc%2fpasswd", "x" * 32, "..", "%00"])
def test_no_path_leaves_its_folder(client: TestClient, id: str, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "secret.png")
    for path in (f"gallery/{id}/file", f"gallery/{id}", f"jobs/{id}", f"jobs/{id}/pictures/0"):
        assert client.get(f"/api/v1/{path}").status_code in (400, 404, 200 if id == ".." else 404)


def test_facts(client: TestClient) -> None:
    job = client.post("/api/v1/jobs", json=CAT).json()["id"]
    failed = client.post("/api/v1/jobs", json={"request": {"prompt": "fail"}}).json()["id"]
    _ended(client, job)
    assert _ended(client, failed)["cause"] == {"kind": "RequestError", "message": "width is 65 pixels"}

    assert client.get("/api/v1/health").json()["jobs"]["done"] == 1
    assert client.get("/api/v1/models").json()["models"][0]["name"] == "stable-universe"
    assert client.get("/api/v1/adapters").json() == {"loras": [], "embeddings": []}
    assert client.get("/api/v1/samplers").json()["samplers"][0]["name"] == "DPM++ 2M"
    assert client.get("/api/v1/settings").json()["device"] == {"value": "cpu", "source": "default"}
    plan = client.post("/api/v1/plan", json=CAT).json()
    assert (plan["sampler"], plan["scheduler"], plan["model_bytes"]) == ("DPM++ 2M", "Karras", 8)
    end = time.monotonic() + 10
    while "sfumato_pictures_total 1.0" not in (text := client.get("/metrics").text) and time.monotonic() < end:
        time.sleep(0.05)
    for line in ('sfumato_jobs{state="done"} 1.0', 'sfumato_failures_total{cause="RequestError"} 1.0',
                 'sfumato_memory_bytes{process="server"}', 'sfumato_stage_seconds_total{stage="sample"}'):  # fmt: skip
        assert line in text


def test_the_reference_loads_nothing_from_afar(client: TestClient) -> None:
    answer = client.get("/docs")
    assert answer.status_code == 200
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "http://" not in answer.text
    assert "https://" not in answer.text
    assert "/api/v1/jobs" in answer.text
    assert len(client.get("/openapi.json").json()["paths"]) > 60


def test_a_job_s_files_say_as_much_as_it_wishes(client: TestClient, services: Services) -> None:
    made = [client.post("/api/v1/jobs", json={**CAT, "metadata": level}) for level in ("none", "ai-flag", "full", None)]

    assert [services.queue.get(each.json()["id"]).metadata for each in made] == ["none", "ai-flag", "full", None]
    assert client.post("/api/v1/jobs", json={**CAT, "metadata": "some"}).status_code == 422
    for level, status in (("none", 201), ("full", 409)):
        answer = client.post("/api/v1/jobs", json={**CAT, "metadata": level}, headers={"Idempotency-Key": "k"})
        assert answer.status_code == status
