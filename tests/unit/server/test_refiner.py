"""A second model for the last steps, in the dialects."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from sfumato.errors import CheckpointError
from sfumato.server.checks import check_request
from sfumato.server.services import Services
from sfumato.server.ui.create_form import CreateForm

PATH = "../own.safetensors"
SMALL = {"prompt": "a cat", "width": 32, "height": 16, "steps": 2, "seed": 7}


def _asked(client: TestClient) -> tuple[str | None, float]:
    request = client.get("/api/v1/jobs").json()["jobs"][0]["request"]
    return request["refiner"], request["refiner_switch_at"]


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ({"refiner_checkpoint": "own.safetensors [0123456789]", "refiner_switch_at": 0.6}, ("own", 0.6)),
        ({"refiner_checkpoint": "own"}, (None, 0.8)),
        ({"refiner_checkpoint": "None", "refiner_switch_at": 0.6}, (None, 0.8)),
        ({}, (None, 0.8)),
    ],
)
def test_a_web_ui_client_names_it(client: TestClient, given: dict, asked: tuple[str | None, float]) -> None:
    client.post("/sdapi/v1/txt2img", json={**SMALL, **given, "save_images": True})

    assert _asked(client) == asked


def test_the_native_dialect_takes_it_and_knows_its_models(client: TestClient) -> None:
    wish = {**SMALL, "refiner": "own", "refiner_switch_at": 0.6}

    assert client.post("/api/v1/jobs", json={"request": wish}).status_code == 201
    assert _asked(client) == ("own", 0.6)
    assert client.post("/api/v1/plan", json={"request": wish}).status_code == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/v1/jobs", {"request": {**SMALL, "refiner": PATH}}),
        ("/api/v1/jobs", {"request": {**SMALL, "vae": PATH}}),
        ("/api/v1/grids", {"request": SMALL, "x": {"field": "refiner", "values": ["own", PATH]}}),
        ("/api/v1/grids", {"request": SMALL, "x": {"field": "vae", "values": [PATH]}}),
        ("/sdapi/v1/txt2img", {**SMALL, "refiner_checkpoint": PATH, "refiner_switch_at": 0.5}),
    ],
)
def test_a_path_is_no_name(client: TestClient, path: str, body: dict) -> None:
    answer = client.post(path, json=body)

    assert (answer.status_code, "There is no" in answer.text) == (404, True)
    assert client.get("/api/v1/jobs").json()["jobs"] == []


def test_a_form_filled_from_a_foreign_picture_names_no_path(services: Services) -> None:
    form = CreateForm(prompt="a cat", refiner=PATH)

    with pytest.raises(CheckpointError, match="There is no model"):
        check_request(form.request(), services)
