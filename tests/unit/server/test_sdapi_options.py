"""``/sdapi/v1``: the web UI's options: what can be had is had, and what can't is said."""

from __future__ import annotations

import base64
import io
import json

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from sfumato.gallery import files, provenance

SMALL = {"prompt": "a cat", "width": 32, "height": 16, "steps": 2, "seed": 7}


def _sixty_four() -> str:
    out = io.BytesIO()
    Image.new("RGB", (64, 64)).save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()


def _drawn(client: TestClient, **change: object) -> Image.Image:
    answer = client.post("/sdapi/v1/txt2img", json={**SMALL, **change})
    assert answer.status_code == 200, answer.text
    return Image.open(io.BytesIO(base64.b64decode(answer.json()["images"][0])))


@pytest.mark.parametrize("upscaler", ["Lanczos", "plain"])
def test_larger_pictures_are_sent_as_the_options_say(client: TestClient, upscaler: str) -> None:
    client.post("/sdapi/v1/options", json={"samples_format": "webp", "enable_pnginfo": False})
    given = {"image": _sixty_four(), "upscaler_1": upscaler, "upscaling_resize": 2}
    answer = client.post("/sdapi/v1/extra-single-image", json=given).json()["image"]

    with Image.open(io.BytesIO(base64.b64decode(answer))) as image:
        assert (image.format, image.size, image.getexif().get_ifd(0x8769)) == ("WEBP", (128, 128), {})


def test_options_say_what_pictures_are_sent_as_and_what_they_say(client: TestClient) -> None:
    assert client.get("/sdapi/v1/options").json()["enable_pnginfo"] is True
    assert "parameters" in _drawn(client).info
    quiet = _drawn(client, override_settings={"enable_pnginfo": False, "samples_format": "jpeg"})
    assert (quiet.format, quiet.getexif().get_ifd(0x8769)) == ("JPEG", {})
    assert provenance.is_marked(quiet)
    told = _drawn(client, override_settings={"samples_format": "webp"})
    assert "Steps: " in str(files.read_bytes(_bytes(told)))
    assert _drawn(client).format == "PNG"  # an override is for its request alone

    client.post("/sdapi/v1/options", json={"enable_pnginfo": False, "samples_format": "webp"})
    now = client.get("/sdapi/v1/options").json()
    assert (now["enable_pnginfo"], now["samples_format"]) == (False, "webp")
    later = _drawn(client)
    assert (later.format, later.getexif().get_ifd(0x8769)) == ("WEBP", {})
    saved = client.post("/sdapi/v1/txt2img", json={**SMALL, "save_images": True})
    assert (saved.status_code, "saves as png" in saved.text) == (400, True)


def _bytes(image: Image.Image) -> bytes:
    image.fp.seek(0)  # type: ignore[attr-defined]
    return image.fp.read()  # type: ignore[attr-defined]


def test_overrides_stay_where_the_request_wishes_that(client: TestClient) -> None:
    changed = {"override_settings": {"CLIP_stop_at_last_layers": 2}}
    assert client.post("/sdapi/v1/txt2img", json={**SMALL, **changed}).status_code == 200
    assert client.get("/sdapi/v1/options").json()["CLIP_stop_at_last_layers"] == 1
    changed |= {"override_settings_restore_afterwards": False}
    assert client.post("/sdapi/v1/txt2img", json={**SMALL, **changed}).status_code == 200
    assert client.get("/sdapi/v1/options").json()["CLIP_stop_at_last_layers"] == 2


@pytest.mark.parametrize(
    ("option", "value"),
    [("eta_noise_seed_delta", 31337), ("send_seed", False), ("enable_pnginfo", "no"), ("samples_format", "gif"),
     ("samples_format", 3), ("randn_source", "NV"), ("CLIP_stop_at_last_layers", True), ("sd_vae", None)],
)  # fmt: skip
def test_an_option_that_can_not_be_had_is_named(client: TestClient, option: str, value: object) -> None:
    for path, body in (("options", {option: value}), ("txt2img", {**SMALL, "override_settings": {option: value}})):
        answer = client.post(f"/sdapi/v1/{path}", json=body)
        assert (answer.status_code, option in answer.json()["detail"]) == (400, True)
    current = client.get("/sdapi/v1/options").json()
    assert client.post("/sdapi/v1/options", json=current | {"sd_checkpoint_hash": ""}).status_code == 200


def test_extra_networks_can_be_left_out(client: TestClient) -> None:
    words = {"prompt": "a cat <lora:odd:1>", "negative_prompt": "<lora:odd:1>dog"}
    given = {**SMALL, **words, "disable_extra_networks": True}
    info = json.loads(client.post("/sdapi/v1/txt2img", json=given).json()["info"])
    assert (info["prompt"], info["negative_prompt"]) == ("a cat ", "dog")


def test_a_picture_to_start_from_and_a_second_pass_do_not_go_together(client: TestClient) -> None:
    init = {"picture": _sixty_four()}
    request = {"prompt": "a cat", "init": init, "hires": {"scale": 2}}
    for path, body in (("jobs", {"request": request}), ("plan", {"request": request})):
        answer = client.post(f"/api/v1/{path}", json=body)
        assert (answer.status_code, "leave out init or hires" in answer.text) == (400, True)
    # The web UI's img2img has no second pass: its fields are unknown there, and unknown fields are ignored.
    given = {**SMALL, "init_images": [init["picture"]], "enable_hr": True, "hr_scale": 2}
    answer = client.post("/sdapi/v1/img2img", json=given)
    assert (answer.status_code, json.loads(answer.json()["info"])["width"]) == (200, 32)
