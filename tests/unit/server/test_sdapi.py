"""``/sdapi/v1``: shapes and status codes as AUTOMATIC1111's clients expect them."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from sfumato.request import Mask
from sfumato.server.access import Access
from sfumato.server.application import create
from sfumato.server.services import Services

SMALL = {"prompt": "a cat", "width": 32, "height": 16, "steps": 2, "seed": 7}


def _picture(width: int = 8, height: int = 4, format: str = "PNG") -> str:
    out = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(out, format)
    return base64.b64encode(out.getvalue()).decode()


def test_txt2img_gives_pictures_an_echo_and_info_as_text(client: TestClient) -> None:
    answer = client.post("/sdapi/v1/txt2img", json={**SMALL, "batch_size": 2, "n_iter": 2, "unknown": 1}).json()

    assert set(answer) == {"images", "parameters", "info"}
    info = json.loads(answer["info"])
    assert info["all_seeds"] == [7, 8, 9, 10]
    assert len(answer["images"]) == len(info["infotexts"]) == 4
    assert answer["parameters"]["steps"] == 2
    assert answer["parameters"]["denoising_strength"] == 0.75
    data = base64.b64decode(answer["images"][3], validate=True)
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == (32, 16)
        assert image.info["parameters"] == info["infotexts"][3]
    read = client.post("/sdapi/v1/png-info", json={"image": answer["images"][0]}).json()
    assert read["info"] == info["infotexts"][0]
    assert read["parameters"]["Seed"] == "7"
    assert client.get("/api/v1/jobs").json()["jobs"] == []
    assert client.get("/api/v1/gallery").json()["total"] == 0


def test_pictures_are_saved_when_asked(client: TestClient) -> None:
    answer = client.post("/sdapi/v1/txt2img", json={**SMALL, "save_images": True, "send_images": False}).json()

    assert answer["images"] == []
    client.post("/api/v1/gallery/scan")
    assert client.get("/api/v1/gallery").json()["total"] == 1


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"sampler_name": "odd"}, 400), ({"script_name": "odd"}, 422), ({"alwayson_scripts": {"odd": {}}}, 422),
        ({"steps": "many"}, 422), ({"steps": 100_000}, 400), ({"width": 16384, "height": 16384}, 400),
        ({"width": 0}, 400), ({"width": -8, "height": -8}, 400), ({"batch_size": 0}, 400), ({"n_iter": 99}, 400),
        ({"restore_faces": True}, 501),
        ({"enable_hr": True, "hr_upscaler": "odd"}, 400), ({"enable_hr": True, "denoising_strength": 0}, 400),
        ({"enable_hr": True, "hr_scale": 16}, 400), ({"enable_hr": True, "hr_resize_x": -1}, 400),
        ({"enable_hr": True, "hr_sampler_name": "odd"}, 400), ({"enable_hr": True, "hr_checkpoint_name": "x"}, 501),
        ({"subseed_strength": 1.5}, 400), ({"subseed": -5}, 400),
        ({"refiner_checkpoint": "x", "refiner_switch_at": 0.5}, 404), ({"refiner_switch_at": 2}, 400),
        ({"override_settings": {"sd_model_checkpoint": "odd"}}, 400), ({"override_settings": {"odd": 1}}, 400),
        ({"prompt": "fail"}, 400),
    ],
)  # fmt: skip
def test_what_can_not_be_done_is_said(client: TestClient, change: dict, status: int) -> None:
    answer = client.post("/sdapi/v1/txt2img", json={**SMALL, **change})

    assert answer.status_code == status
    if status != 422 or "loc" not in answer.text:
        assert set(answer.json()) == {"error", "detail", "body", "errors"}


@pytest.mark.parametrize(
    ("given", "sampler", "schedule"),
    [
        ({"sampler_name": "DPM++ 2M Karras"}, "DPM++ 2M", "Karras"),
        ({"sampler_name": "DPM++ 2M Karras", "scheduler": "Automatic"}, "DPM++ 2M", "Karras"),
        ({"sampler_name": "k_euler_a", "scheduler": "exponential"}, "Euler a", "Exponential"),
        ({"sampler_index": "Heun"}, "Heun", "Uniform"),
        ({}, "Euler", "Uniform"),
    ],
)
def test_samplers_in_old_and_new_spelling(client: TestClient, given: dict, sampler: str, schedule: str) -> None:
    info = json.loads(client.post("/sdapi/v1/txt2img", json={**SMALL, **given}).json()["info"])

    assert info["sampler_name"] == sampler
    assert info["extra_generation_params"]["Schedule type"] == schedule


def test_options_switch_the_vae(services: Services, tmp_path: Path) -> None:
    known = replace(services, vaes=lambda: {"soft": tmp_path / "soft.safetensors"})

    def asked() -> str | None:
        client.post("/sdapi/v1/txt2img", json={**SMALL, "save_images": True, "override_settings": override})
        return client.get("/api/v1/jobs").json()["jobs"][-1]["request"]["vae"]

    with TestClient(create(known, Access()), base_url="http://localhost:7860") as client:
        override: dict = {}
        assert (client.get("/sdapi/v1/options").json()["sd_vae"], asked()) == ("Automatic", None)
        client.post("/sdapi/v1/options", json={"sd_vae": "soft.safetensors"})
        assert (client.get("/sdapi/v1/options").json()["sd_vae"], asked()) == ("soft", "soft")
        override = {"sd_vae": "None"}
        assert asked() == ""
        made = client.post("/api/v1/jobs", json={"request": {"prompt": "a cat", "vae": "soft"}}).json()
        assert made["request"]["vae"] == "soft"
        odd = client.post("/api/v1/jobs", json={"request": {"prompt": "a cat", "vae": "../soft"}})
        assert (odd.status_code, "There is no VAE" in odd.text) == (404, True)


def test_options_switch_the_model(client: TestClient) -> None:
    assert client.get("/sdapi/v1/options").json()["sd_model_checkpoint"] == "stable-universe"
    assert client.post("/sdapi/v1/options", json={"sd_model_checkpoint": "own", "sd_vae": "Automatic"}).json() is None
    assert client.get("/sdapi/v1/options").json()["sd_model_checkpoint"] == "own"
    assert json.loads(client.post("/sdapi/v1/txt2img", json=SMALL).json()["info"])["sd_model_name"] == "own"
    for wrong in ({"sd_model_checkpoint": "odd"}, {"sd_vae": "x"}, {"odd": 1}, {"CLIP_stop_at_last_layers": 99}):
        assert client.post("/sdapi/v1/options", json=wrong).status_code == 400
    assert client.get("/sdapi/v1/options").json()["sd_model_checkpoint"] == "own"


def _later(client: TestClient, given: dict) -> tuple[threading.Thread, list]:
    answers: list = []
    thread = threading.Thread(target=lambda: answers.append(client.post("/sdapi/v1/txt2img", json=given)))
    thread.start()
    end = time.monotonic() + 20
    while client.get("/sdapi/v1/progress").json()["state"]["sampling_step"] == 0 and time.monotonic() < end:
        time.sleep(0.02)
    return thread, answers


def test_progress_and_interrupt(client: TestClient) -> None:
    idle = client.get("/sdapi/v1/progress").json()
    assert (idle["progress"], idle["state"]["job_count"], idle["current_image"]) == (0.0, 0, None)
    thread, answers = _later(client, {**SMALL, "prompt": "wait", "n_iter": 2})
    now = client.get("/sdapi/v1/progress").json()

    assert now["progress"] == 0.25
    assert now["state"]["job_count"] == 2
    assert base64.b64decode(now["current_image"])[:2] == b"\xff\xd8"
    assert client.get("/sdapi/v1/progress?skip_current_image=true").json()["current_image"] is None
    assert client.post("/sdapi/v1/interrupt").json() == {}
    thread.join(20)
    assert answers[0].status_code == 409
    assert client.get("/sdapi/v1/progress").json() == idle


def test_upscaling(client: TestClient) -> None:
    given = {"image": "data:image/png;base64," + _picture(), "upscaler_1": "Lanczos", "upscaling_resize": 2}
    answer = client.post("/sdapi/v1/extra-single-image", json=given).json()
    with Image.open(io.BytesIO(base64.b64decode(answer["image"]))) as image:
        assert image.size == (16, 8)
    batch = {"imageList": [{"data": _picture(), "name": "a"}], "resize_mode": 1, "upscaler_1": "Nearest",
             "upscaling_resize_w": 20, "upscaling_resize_h": 20}  # fmt: skip
    answer = client.post("/sdapi/v1/extra-batch-images", json=batch).json()
    with Image.open(io.BytesIO(base64.b64decode(answer["images"][0]))) as image:
        assert image.size == (20, 20)


def test_networks_make_pictures_larger_in_a_worker(client: TestClient, services: Services) -> None:
    names = [each["name"] for each in client.get("/sdapi/v1/upscalers").json()]
    assert "plain" in names
    given = {"upscaler_1": "plain", "resize_mode": 1, "upscaling_resize_w": 20, "upscaling_resize_h": 20}
    single = client.post("/sdapi/v1/extra-single-image", json={**given, "image": _picture()}).json()["image"]
    pictures = {"imageList": [{"data": _picture()}, {"data": _picture(4, 8)}]}
    batch = client.post("/sdapi/v1/extra-batch-images", json={**given, **pictures, "upscaling_crop": False}).json()

    sizes = [Image.open(io.BytesIO(base64.b64decode(each))).size for each in (single, *batch["images"])]
    assert sizes == [(20, 20), (20, 10), (10, 20)]
    assert services.queue.list() == ()
    assert client.post("/sdapi/v1/extra-batch-images", json={**given, "imageList": []}).json()["images"] == []


@pytest.mark.parametrize(
    ("change", "status"),
    [({"image": "http://localhost/x.png"}, 400), ({"image": "!"}, 400), ({"image": ""}, 400),
     ({"image": base64.b64encode(b"GIF89a").decode()}, 400), ({"image": _picture(300, 300)}, 400),
     ({"upscaler_1": "odd"}, 422), ({"upscaler_1": "plain", "image": "!"}, 400),
     ({"upscaler_1": "plain", "upscaling_resize": 16, "image": _picture(200, 200)}, 400),
     ({"gfpgan_visibility": 1}, 501), ({"upscaling_resize": 16}, 200),
     ({"image": _picture(200, 200), "upscaling_resize": 16}, 400)],
)  # fmt: skip
def test_odd_pictures_are_refused(client: TestClient, change: dict, status: int) -> None:
    given = {"image": _picture(), "upscaler_1": "Lanczos", **change}

    assert client.post("/sdapi/v1/extra-single-image", json=given).status_code == status


def test_img2img_starts_from_the_picture(client: TestClient, services: Services) -> None:
    seen = []
    submit = services.queue.submit
    services.queue.submit = lambda request, **more: seen.append(request) or submit(request, **more)  # type: ignore[method-assign]
    given = {**SMALL, "init_images": [_picture()], "denoising_strength": 0.5, "resize_mode": 1}
    answer = client.post("/sdapi/v1/img2img", json=given)

    assert answer.status_code == 200
    assert answer.json()["parameters"]["init_images"] is None
    assert (seen[0].init.picture.size, seen[0].init.denoising_strength) == ((8, 4), 0.5)
    assert seen[0].init.resize_mode == "crop"


def test_img2img_needs_a_picture_and_does_not_pretend(client: TestClient) -> None:
    assert client.post("/sdapi/v1/img2img", json=SMALL).status_code == 404
    assert client.post("/sdapi/v1/img2img", json={**SMALL, "init_images": ["x"]}).status_code == 400
    assert client.post("/sdapi/v1/img2img", json={**SMALL, "init_images": [_picture()] * 2}).status_code == 501
    assert (
        client.post("/sdapi/v1/img2img", json={**SMALL, "init_images": [_picture()], "resize_mode": 9}).status_code
        == 400
    )


def _mask(colour: tuple[int, ...] = (255, 255, 255), mode: str = "RGB") -> str:
    mask, out = Image.new(mode, (8, 4)), io.BytesIO()
    mask.paste(colour, (0, 0, 4, 4))
    mask.save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()


def _inpaint(client: TestClient, services: Services, **given: object) -> Mask:
    seen = []
    submit = services.queue.submit
    services.queue.submit = lambda request, **more: seen.append(request) or submit(request, **more)  # type: ignore[method-assign]
    answer = client.post("/sdapi/v1/img2img", json={**SMALL, "init_images": [_picture()], "mask": _mask(), **given})
    assert answer.status_code == 200, answer.text
    return seen[0].init.mask


def test_a_mask_is_drawn_with_the_web_uis_defaults(client: TestClient, services: Services) -> None:
    mask = _inpaint(client, services)

    assert [mask.picture.getpixel((x, 0)) for x in (0, 7)] == [255, 0]
    assert (mask.blur, mask.blur_y, mask.invert, mask.fill) == (4, 4, False, "fill")
    assert (mask.only_masked, mask.padding) == (True, 0)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"mask_blur": 2}, {"blur": 2, "blur_y": 2}),
        ({"mask_blur_x": 3, "mask_blur_y": 0}, {"blur": 3, "blur_y": 0}),
        ({"inpainting_fill": 3, "inpainting_mask_invert": 1}, {"fill": "latent nothing", "invert": True}),
        ({"inpaint_full_res": False, "inpaint_full_res_padding": 7}, {"only_masked": False, "padding": 7}),
    ],
)
def test_the_masks_fields_are_those_of_the_web_ui(
    client: TestClient, services: Services, given: dict, expected: dict
) -> None:
    mask = _inpaint(client, services, **given)

    assert {name: getattr(mask, name) for name in expected} == expected


def test_a_mask_is_read_by_its_transparency_and_rounded(client: TestClient, services: Services) -> None:
    clear = _inpaint(client, services, mask=_mask((0, 0, 0, 200), "RGBA"))
    soft = _inpaint(client, services, mask=_mask((200,), "L"), mask_round=False)

    assert [clear.picture.getpixel((x, 0)) for x in (0, 7)] == [255, 0]
    assert [soft.picture.getpixel((x, 0)) for x in (0, 7)] == [200, 0]


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({"mask": "x"}, 400),
        ({"mask": _mask((0, 0, 0))}, 400),
        ({"mask": _mask(), "init_images": None}, 404),
        ({"mask": _mask(), "inpainting_fill": 4}, 422),
        ({"mask": _mask(), "mask_blur": -1}, 422),
        ({"mask": _mask(), "latent_mask": "x"}, 501),
    ],
)
def test_a_mask_that_cant_be_drawn_with_is_refused(client: TestClient, given: dict, status: int) -> None:
    answer = client.post("/sdapi/v1/img2img", json={**SMALL, "init_images": [_picture()], **given})

    assert answer.status_code == status


NAMES = """options cmd-flags samplers schedulers upscalers latent-upscale-modes sd-models sd-vae hypernetworks
face-restorers realesrgan-models prompt-styles embeddings memory progress scripts script-info extensions loras"""


@pytest.mark.parametrize("name", NAMES.split())
def test_every_list_of_the_web_ui_is_there(client: TestClient, name: str) -> None:
    assert client.get(f"/sdapi/v1/{name}").status_code == 200


def test_items_have_the_web_uis_keys(client: TestClient) -> None:
    keys = {
        "samplers": {"name", "aliases", "options"},
        "schedulers": {"name", "label", "aliases", "default_rho", "need_inner_model"},
        "sd-models": {"title", "model_name", "hash", "sha256", "filename", "config"},
        "upscalers": {"name", "model_name", "model_path", "model_url", "scale"},
    }
    for name, expected in keys.items():
        assert set(client.get(f"/sdapi/v1/{name}").json()[0]) == expected
    for name in ("checkpoints", "vae", "loras", "embeddings"):
        assert client.post(f"/sdapi/v1/refresh-{name}").status_code == 200
    assert client.post("/sdapi/v1/reload-checkpoint").status_code == 200
    assert client.post("/sdapi/v1/interrogate", json={"image": "x"}).status_code == 501
