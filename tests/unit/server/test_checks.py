"""The second pass in the dialects of the API: which request their fields become."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from sfumato.request import LATENT_UPSCALERS, Hires, Txt2ImgRequest
from sfumato.server.access import Access
from sfumato.server.application import create
from sfumato.server.services import Services

CAT = {"prompt": "a cat", "width": 64, "height": 64, "steps": 2}


@pytest.fixture
def queued(services: Services, monkeypatch: pytest.MonkeyPatch) -> list[Txt2ImgRequest]:
    """The requests that were queued, as they came."""
    found: list[Txt2ImgRequest] = []
    submit = services.queue.submit

    def keep(request: Txt2ImgRequest, **how: Any) -> Any:
        found.append(request)
        return submit(request, **how)

    monkeypatch.setattr(services.queue, "submit", keep)
    return found


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, Hires(denoising_strength=0.75)),
        (
            {"hr_scale": 1.5, "hr_upscaler": "Lanczos", "hr_second_pass_steps": 3, "denoising_strength": 0.4},
            Hires(scale=1.5, upscaler="Lanczos", steps=3, denoising_strength=0.4),
        ),
        (
            {"hr_resize_x": 96, "hr_resize_y": 0, "hr_sampler_name": "Euler", "hr_scheduler": "Use same scheduler"},
            Hires(width=96, sampler="Euler", denoising_strength=0.75),
        ),
        (
            {"hr_prompt": "a dog", "hr_negative_prompt": "grass", "hr_upscaler": "Latent (nearest)"},
            Hires(prompt="a dog", negative_prompt="grass", upscaler="Latent (nearest)", denoising_strength=0.75),
        ),
    ],
)
def test_the_web_uis_fields(
    client: TestClient, queued: list[Txt2ImgRequest], given: dict[str, Any], expected: Hires
) -> None:
    assert client.post("/sdapi/v1/txt2img", json={**CAT, "enable_hr": True, **given}).status_code == 200

    assert queued[0].hires == expected
    assert (queued[0].width, queued[0].height) == (64, 64)


def test_without_enable_hr_its_fields_ask_for_nothing(client: TestClient, queued: list[Txt2ImgRequest]) -> None:
    client.post("/sdapi/v1/txt2img", json={**CAT, "hr_upscaler": "Latent", "hr_scale": 2})

    assert queued[0].hires is None


def test_latent_modes_are_listed(client: TestClient) -> None:
    modes = client.get("/sdapi/v1/latent-upscale-modes").json()

    assert [each["name"] for each in modes] == list(LATENT_UPSCALERS)


def test_the_native_field(client: TestClient, queued: list[Txt2ImgRequest]) -> None:
    wish = {"scale": 1.5, "upscaler": "Nearest", "cfg_scale": 3.0}
    assert client.post("/api/v1/jobs", json={"request": {**CAT, "hires": wish}}).status_code == 201

    assert queued[0].hires == Hires(**wish)


@pytest.mark.parametrize(
    ("wish", "status"),
    [({"upscaler": "odd"}, 400), ({"scale": 0}, 422), ({"odd": 1}, 422), ({"denoising_strength": 0}, 422),
     ({"scale": 16}, 400), ({"sampler": "odd"}, 400)],
)  # fmt: skip
def test_what_can_not_be_drawn_is_refused_at_the_door(client: TestClient, wish: dict[str, Any], status: int) -> None:
    assert client.post("/api/v1/jobs", json={"request": {**CAT, "hires": wish}}).status_code == status
    assert client.get("/api/v1/jobs").json()["jobs"] == []


def test_memory_is_told_for_the_larger_picture(client: TestClient) -> None:
    first, both = (
        client.post("/api/v1/plan", json={"request": {**CAT, **more}}).json()
        for more in ({"width": 128, "height": 128}, {"hires": {"scale": 2}})
    )

    assert both["needed"] == first["needed"]


def test_networks_are_upscalers_everywhere(client: TestClient, services: Services, tmp_path: Path) -> None:
    served = replace(services, upscalers=lambda: {"esrgan": tmp_path / "own.safetensors"})
    with TestClient(create(served, Access()), base_url="http://localhost:7860") as other:
        hires = {"upscaler": "esrgan"}
        assert other.post("/api/v1/jobs", json={"request": {**CAT, "hires": hires}}).status_code == 201
        web = {**CAT, "enable_hr": True, "hr_upscaler": "esrgan"}
        assert other.post("/sdapi/v1/txt2img", json=web).status_code == 200
        listed = other.get("/api/v1/upscalers").json()
        assert listed["networks"] == [{"name": "esrgan", "kind": "file", "bytes": 8}]
        assert "Latent (nearest)" in listed["latent"]
        assert "esrgan" in [each["name"] for each in other.get("/sdapi/v1/upscalers").json()]
        wrong = other.post("/api/v1/jobs", json={"request": {**CAT, "hires": {"upscaler": "esrgam"}}})
        assert wrong.status_code == 400
        assert "esrgan" in wrong.text
    assert client.post("/api/v1/jobs", json={"request": {**CAT, "hires": hires}}).status_code == 400
