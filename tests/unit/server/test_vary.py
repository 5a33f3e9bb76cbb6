"""Varied noise, edges that fit and rescaled guidance in the dialects."""

from __future__ import annotations

import json

import pytest
from fastapi.testclient import TestClient

SMALL = {"prompt": "a cat", "width": 32, "height": 16, "steps": 2, "seed": 7}


def _asked(client: TestClient) -> list[dict]:
    return [job["request"] for job in client.get("/api/v1/jobs").json()["jobs"]]


def test_a_web_ui_client_varies_a_seed(client: TestClient) -> None:
    change = {"subseed": 3, "subseed_strength": 0.2, "seed_resize_from_w": 64, "seed_resize_from_h": 48, "tiling": True}
    answer = client.post("/sdapi/v1/txt2img", json={**SMALL, **change, "n_iter": 2, "save_images": True})

    assert json.loads(answer.json()["info"])["subseed_strength"] == 0.2
    assert [(one["seed"], one["subseed"]) for one in _asked(client)] == [(7, 3), (7, 4)]
    for one in _asked(client):
        assert {name: one[name] for name in change} == {**change, "subseed": one["subseed"]}


def test_what_a_web_ui_client_does_not_ask_for_is_off(client: TestClient) -> None:
    client.post("/sdapi/v1/txt2img", json={**SMALL, "n_iter": 2, "seed_resize_from_w": 64, "save_images": True})

    assert [one["seed"] for one in _asked(client)] == [7, 8]
    off = {"subseed_strength": 0, "seed_resize_from_w": None, "seed_resize_from_h": None, "tiling": False}
    assert {name: _asked(client)[0][name] for name in off} == off


def test_a_seed_to_vary_by_is_drawn_when_the_job_is_stored(client: TestClient) -> None:
    for path, given in (
        ("/api/v1/jobs", {"request": {**SMALL, "subseed_strength": 0.2}}),
        ("/sdapi/v1/txt2img", {**SMALL, "subseed_strength": 0.2, "save_images": True}),
    ):
        client.post(path, json=given)

    assert all(0 <= one["subseed"] < 2**32 for one in _asked(client))


def test_the_native_dialect_takes_the_fields(client: TestClient) -> None:
    fields = {"subseed": 3, "subseed_strength": 0.2, "tiling": True, "guidance_rescale": 0.7}
    made = client.post("/api/v1/jobs", json={"request": {**SMALL, **fields}}).json()

    assert {name: made["request"][name] for name in fields} == fields


@pytest.mark.parametrize("change", [{"subseed_strength": 2}, {"guidance_rescale": -1}, {"subseed": -1}])
def test_numbers_out_of_range_are_refused(client: TestClient, change: dict) -> None:
    assert client.post("/api/v1/jobs", json={"request": {**SMALL, **change}}).status_code == 422
