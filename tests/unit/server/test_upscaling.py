"""Larger pictures as jobs of ``/api/v1``."""

from __future__ import annotations

import base64
import time

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from sfumato.gallery import files

TEXT = "a cat\nSteps: 3, Sampler: Euler, Seed: 9"


def _body(size: tuple[int, int] = (8, 4), **wish: object) -> dict:
    data = files.encode(Image.new("RGB", size, "red"), "png", TEXT)
    return {"kind": "upscale", "request": {"picture": base64.b64encode(data).decode(), **wish}}


def _done(client: TestClient, body: dict) -> dict:
    job = client.post("/api/v1/jobs", json=body).json()
    end = time.monotonic() + 20
    while (found := client.get(f"/api/v1/jobs/{job['id']}").json())["state"] != "done":
        assert time.monotonic() < end, found
        time.sleep(0.02)
    return found


@pytest.mark.parametrize(
    ("wish", "size"),
    [({}, (16, 8)), ({"scale": 3}, (24, 12)), ({"width": 32}, (32, 16)), ({"height": 2}, (4, 2)),
     ({"width": 10, "height": 10}, (10, 10)), ({"scale": 0.01}, (1, 1))],
)  # fmt: skip
def test_a_job_makes_a_picture_larger(client: TestClient, wish: dict, size: tuple[int, int]) -> None:
    job = _done(client, _body(upscaler="plain", **wish))

    info = job["pictures"][0]["info"]
    assert (info["width"], info["height"]) == size
    assert (job["kind"], job["model"], job["request"]["size"]) == ("upscale", None, [8, 4])
    assert (job["request"]["upscaler"], job["request"]["prompt"], job["request"]["seed"]) == ("plain", "a cat", 9)


def test_the_file_says_what_the_small_one_said(client: TestClient) -> None:
    job = _done(client, _body())
    data = client.get(job["pictures"][0]["url"]).content

    assert files.read_bytes(data) == f"{TEXT}, Postprocess upscale by: 2, Postprocess upscaler: Lanczos"
    end = time.monotonic() + 10
    while (found := client.get("/api/v1/gallery?words=cat").json())["total"] == 0 and time.monotonic() < end:
        time.sleep(0.02)
    assert (found["pictures"][0]["width"], found["pictures"][0]["height"]) == (16, 8)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [(_body(upscaler="plian"), 400, "plain"), (_body(upscaler="Latent"), 400, "unknown upscaler"),
     (_body((200, 200), scale=16), 400, "this server takes"), (_body(scale=0), 422, "scale"),
     ({"kind": "odd", "request": {}}, 422, "kind is txt2img or upscale"), ({"kind": [], "request": {}}, 422, "kind"),
     ({**_body(), "model": "own"}, 422, "model")],
)  # fmt: skip
def test_what_cannot_be_made_is_said(client: TestClient, body: dict, status: int, words: str) -> None:
    answer = client.post("/api/v1/jobs", json=body)

    assert answer.status_code == status
    assert words in answer.text


def test_what_was_enlarged_is_no_measure_of_what_is_drawn(client: TestClient) -> None:
    _done(client, _body())

    plan = client.post("/api/v1/plan", json={"request": {"prompt": "a cat", "width": 64, "height": 64}})
    assert plan.json()["seconds"] is None
