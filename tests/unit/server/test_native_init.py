"""Pictures to start from in ``/api/v1``."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from sfumato.server.services import Services


def _picture(level: int = 255) -> str:
    out = io.BytesIO()
    Image.new("L", (16, 8), level).save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()


def _job(init: dict[str, Any]) -> dict[str, Any]:
    return {"request": {"prompt": "a cat", "seed": 7, "init": {"picture": _picture(), **init}}}


def test_a_job_starts_from_a_picture_with_a_mask(client: TestClient, services: Services) -> None:
    mask = {"picture": _picture(), "fill": "fill", "blur": 2}
    made = client.post("/api/v1/jobs", json=_job({"denoising_strength": 0.5, "mask": mask}))
    init = services.queue.get(made.json()["id"]).request.init

    assert made.status_code == 201
    assert (init.picture.size, init.denoising_strength, init.mask.fill, init.mask.blur) == ((16, 8), 0.5, "fill", 2)
    assert made.json()["request"]["init"]["mask"]["fill"] == "fill"
    assert _picture() not in made.text


def test_jobs_are_looked_at_without_decoding_their_pictures(client: TestClient, services: Services) -> None:
    client.post("/api/v1/jobs", json={"request": {"prompt": "wait"}})  # the painter is at it, and reads no other
    init = {"picture": _picture(), "mask": {"picture": _picture()}}
    made = client.post("/api/v1/jobs", json={"request": {"prompt": "a cat", "seed": 7, "init": init}}).json()
    for path in (services.queue.folder / "pictures").iterdir():
        path.write_bytes(path.read_bytes()[:45])  # the header alone

    listed = client.get("/api/v1/jobs").json()["jobs"]
    assert [job["request"] for job in listed if job["id"] == made["id"]] == [made["request"]]
    assert client.get(f"/api/v1/jobs/{made['id']}").json()["request"] == made["request"]
    assert services.queue.get(made["id"]).request is None


def test_a_picture_is_extended_and_planned_at_its_new_size(client: TestClient) -> None:
    answer = client.post("/api/v1/plan", json=_job({"extend": [8, 0, 8, 0]}))

    assert answer.status_code == 200
    assert answer.json()["request"]["init"]["size"] == [32, 8]


def test_a_picture_is_extended_with_a_mask_of_its_own(client: TestClient, services: Services) -> None:
    init = {"extend": [8, 0, 8, 0], "mask": {"picture": _picture(), "fill": "latent noise"}}
    made = client.post("/api/v1/jobs", json=_job(init))
    found = services.queue.get(made.json()["id"]).request.init

    assert found.mask.picture.size == found.picture.size == (32, 8)
    assert found.mask.picture.getextrema() == (255, 255)
    assert found.mask.fill == "latent noise"


@pytest.mark.parametrize(
    ("init", "status"),
    [
        ({"picture": "x"}, 400),
        ({"mask": {"picture": _picture(0)}}, 400),
        ({"mask": {"picture": _picture(), "fill": "sand"}}, 422),
        ({"extend": [0, 0, 0, 0]}, 400),
        ({"extend": [8, 8]}, 422),
        ({"denoising_strength": 2}, 422),
        ({"wings": 2}, 422),
    ],
)
def test_what_cant_be_drawn_is_refused_at_the_door(client: TestClient, init: dict[str, Any], status: int) -> None:
    answer = client.post("/api/v1/jobs", content=json.dumps(_job(init)), headers={"content-type": "application/json"})

    assert answer.status_code == status
