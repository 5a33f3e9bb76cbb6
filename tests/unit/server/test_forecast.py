"""What a request will take: memory by the planner, time by jobs like it."""

from __future__ import annotations

import time

import pytest
from fastapi.testclient import TestClient

from sfumato.errors import CheckpointError
from sfumato.request import Hires, Txt2ImgRequest
from sfumato.server.forecast import forecast
from sfumato.server.services import Services

SMALL = {"prompt": "a cat", "width": 64, "height": 64, "steps": 4}


def _draw(client: TestClient, **more: object) -> None:
    job = client.post("/api/v1/jobs", json={"request": {**SMALL, **more}}).json()["id"]
    end = time.monotonic() + 20
    while client.get(f"/api/v1/jobs/{job}").json()["state"] != "done":
        assert time.monotonic() < end
        time.sleep(0.02)


def test_time_goes_with_steps_and_pixels(client: TestClient, services: Services) -> None:
    assert forecast(services, Txt2ImgRequest(**SMALL)).seconds is None
    _draw(client)  # the painter says that it took two seconds a step, and one for all else

    same = forecast(services, Txt2ImgRequest(**SMALL))
    assert (same.seconds, same.like) == (pytest.approx(9), 1)
    assert forecast(services, Txt2ImgRequest(**{**SMALL, "steps": 8})).seconds == pytest.approx(17)
    assert forecast(services, Txt2ImgRequest(**{**SMALL, "width": 128})).seconds == pytest.approx(18)
    assert forecast(services, Txt2ImgRequest(**SMALL, batch_size=2)).seconds == pytest.approx(18)
    assert forecast(services, Txt2ImgRequest(**{**SMALL, "width": 1024})).seconds is None
    assert forecast(services, Txt2ImgRequest(**SMALL), "own").seconds is None


def test_a_second_pass_takes_its_own_steps_at_its_own_size(client: TestClient, services: Services) -> None:
    _draw(client)
    second = Txt2ImgRequest(**SMALL, hires=Hires(scale=2.0, steps=2))

    plain, told = forecast(services, Txt2ImgRequest(**SMALL)), forecast(services, second)
    assert told.seconds == pytest.approx(8 + 4 * 4 + 4)
    assert sum(told.stages.values()) > sum(plain.stages.values())
    assert forecast(services, Txt2ImgRequest(**SMALL, hires=Hires(scale=2.0))).seconds == pytest.approx(8 + 32 + 4)


def test_a_drawn_second_pass_says_how_long_the_next_takes(client: TestClient, services: Services) -> None:
    _draw(client, hires={"scale": 2.0})  # 8 seconds for 4 steps of a part, and 4 of four parts

    like = forecast(services, Txt2ImgRequest(**SMALL, hires=Hires(scale=2.0)))
    assert (like.seconds, like.like) == (pytest.approx(9), 1)
    assert forecast(services, Txt2ImgRequest(**SMALL)).seconds == pytest.approx(8 / 5 + 0.25)


def test_jobs_of_the_same_sampler_say_more(client: TestClient, services: Services) -> None:
    _draw(client, sampler="Euler")
    _draw(client, sampler="Heun", width=128)

    assert forecast(services, Txt2ImgRequest(**SMALL, sampler="Heun")).seconds == pytest.approx(4.5)
    assert forecast(services, Txt2ImgRequest(**SMALL, sampler="Euler")).like == 1
    assert forecast(services, Txt2ImgRequest(**SMALL, sampler="DDIM")).like == 2


def test_what_does_not_fit_comes_with_what_does(client: TestClient) -> None:
    told = client.post("/api/v1/plan", json={"request": SMALL}).json()
    assert (told["fits"], told["memory"], told["nearest"]) == (True, "balanced", None)
    assert 0 < told["needed"] <= told["free"] == 3_600_000_000
    assert max(told["stages"].values()) == told["needed"]

    limit = {"request": {**SMALL, "width": 256, "height": 256, "batch_size": 4}}
    assert client.post("/api/v1/plan", json=limit).json()["fits"]


def test_the_nearest_that_fits_does(services: Services) -> None:
    wanted = Txt2ImgRequest(prompt="a cat", width=4096, height=2048, batch_size=4)
    told = forecast(services, wanted)

    assert not told.fits
    assert told.nearest is not None
    size = {name: told.nearest[name] for name in ("width", "height", "batch_size")}
    assert size["batch_size"] == 1
    assert told.nearest["memory"] == "minimal"
    assert forecast(services, Txt2ImgRequest(prompt="a cat", **size)).fits


def test_an_unknown_model_is_named(client: TestClient, services: Services) -> None:
    assert client.post("/api/v1/plan", json={"request": SMALL, "model": "none"}).status_code == 404
    with pytest.raises(CheckpointError, match="none"):
        services.find_model("none")
