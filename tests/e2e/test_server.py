"""The server as a process, with the built-in model and clients that are not ours."""

from __future__ import annotations

import base64
import io
import json
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import openai
import pytest
import websockets.sync.client
import webuiapi
from PIL import Image, ImageChops, ImageStat

ROOT = Path(__file__).parents[2]
AUTH = ("ann", "secret word")
pytestmark = pytest.mark.slow


@contextmanager
def _served(folder: Path, *flags: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The server in a folder, and the address that it says it has."""
    command = [sys.executable, str(ROOT / "webui.py"), "--precision", "autocast", "--port", "0", "--threads", "1"]
    with subprocess.Popen([*command, *flags], cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"https?://[\w.]+:\d+", line)
        assert found, line
        try:
            yield found[0].replace("0.0.0.0", "127.0.0.1"), process
        finally:
            process.kill()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("served")
    with _served(folder, "--listen", "--api-auth", ":".join(AUTH)) as (address, process):
        yield address
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def _web(address: str) -> webuiapi.WebUIApi:
    api = webuiapi.WebUIApi(baseurl=f"{address}/sdapi/v1", steps=2)
    api.set_auth(*AUTH)
    return api


def test_webuiapi_draws_reads_and_switches(address: str) -> None:
    api = _web(address)
    result = api.txt2img(prompt="a red apple", negative_prompt="blur", seed=7, width=64, height=64, cfg_scale=7)

    assert result.image.size == (64, 64)
    assert result.info["all_seeds"] == [7]
    again = api.txt2img(prompt="a red apple", negative_prompt="blur", seed=7, width=64, height=64, cfg_scale=7)
    assert again.image.tobytes() == result.image.tobytes()
    assert "Negative prompt: blur" in api.png_info(result.image).info
    assert api.util_get_model_names()[0] == "stable-universe"
    api.util_set_model("stable-universe")
    assert api.util_get_current_model() == "stable-universe"
    api.util_wait_for_ready()
    assert api.extra_single_image(result.image, upscaler_1="Lanczos", upscaling_resize=2).image.size == (128, 128)
    batch = api.extra_batch_images([result.image] * 2, upscaler_1="Nearest", upscaling_resize=2)
    assert [image.size for image in batch.images] == [(128, 128)] * 2
    assert api.get_progress()["progress"] == 0
    assert {"name", "label"} <= set(api.get_schedulers()[0])
    for read in (api.get_options, api.get_cmd_flags, api.get_samplers, api.get_upscalers, api.get_sd_models,
                 api.get_sd_vae, api.get_loras, api.get_hypernetworks, api.get_face_restorers, api.get_scripts,
                 api.get_realesrgan_models, api.get_prompt_styles, api.get_embeddings, api.get_memory,
                 api.get_latent_upscale_modes, api.refresh_checkpoints, api.interrupt, api.skip):  # fmt: skip
        read()
    near = api.img2img([result.image], prompt="a red apple", denoising_strength=0.0, seed=1, width=64, height=64)
    shift = ImageStat.Stat(ImageChops.difference(near.image.convert("RGB"), result.image.convert("RGB"))).mean
    assert max(shift) < 30
    with pytest.raises(RuntimeError, match="not supported"):
        api.txt2img(prompt="a face", restore_faces=True, width=64, height=64)


def test_the_official_openai_package_draws(address: str) -> None:
    api = openai.OpenAI(base_url=f"{address}/v1", api_key=":".join(AUTH), max_retries=0)
    answer = api.images.generate(prompt="a cat", size="64x64", n=2, extra_body={"seed": 3, "steps": 2})

    assert answer.data is not None
    images = [Image.open(io.BytesIO(base64.b64decode(each.b64_json or ""))) for each in answer.data]
    assert [image.size for image in images] == [(64, 64)] * 2
    assert images[0].tobytes() != images[1].tobytes()
    stream = api.images.generate(prompt="a cat", size="64x64", stream=True, partial_images=1, extra_body={"steps": 3})
    assert [event.type for event in stream][-1] == "image_generation.completed"
    assert next(model.id for model in api.models.list()) == "stable-universe"
    with pytest.raises(openai.BadRequestError, match="65"):
        api.images.generate(prompt="a cat", size="65x64", extra_body={"steps": 1})


def test_a_model_is_let_go_and_loaded_again(address: str) -> None:
    def taken(client: httpx.Client) -> float:
        found = re.search(r'sfumato_memory_bytes{process="worker-0"} (\S+)', client.get("/metrics").text)
        assert found
        return float(found[1])

    small = {"prompt": "a cat", "width": 64, "height": 64, "steps": 1}
    with httpx.Client(base_url=address, auth=AUTH, timeout=120) as client:
        assert client.post("/sdapi/v1/txt2img", json=small).status_code == 200
        before, weights = taken(client), client.get("/api/v1/models").json()["models"][0]["bytes"]
        assert client.post("/sdapi/v1/unload-checkpoint").status_code == 200
        end = time.monotonic() + 30
        while taken(client) > before - weights / 3:
            assert time.monotonic() < end
            time.sleep(0.2)
        assert client.post("/sdapi/v1/reload-checkpoint").status_code == 200
        assert client.post("/sdapi/v1/txt2img", json=small).status_code == 200


def test_a_native_job_ends_in_the_gallery(address: str) -> None:
    with httpx.Client(base_url=address, auth=AUTH, timeout=120) as client:
        given = {"request": {"prompt": "a blue rocket", "width": 64, "height": 64, "steps": 6, "seed": 1}}
        job = client.post("/api/v1/jobs", json=given, headers={"Idempotency-Key": "once"}).json()["id"]
        with client.stream("GET", f"/api/v1/jobs/{job}/events") as answer:
            text = answer.read().decode()
        assert '"state": "done"' in text
        end = time.monotonic() + 10
        while (found := client.get("/api/v1/gallery?words=rocket").json())["total"] == 0 and time.monotonic() < end:
            time.sleep(0.1)
        assert client.get(found["pictures"][0]["url"]).content[:4] == b"\x89PNG"
        assert "sfumato_pictures_total" in client.get("/metrics").text


def test_a_comfyui_client_draws_and_hears_of_it(address: str) -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    found = re.search(r"/prompt -d '(.*)'", page)
    assert found is not None
    login = {"Authorization": "Basic " + base64.b64encode(":".join(AUTH).encode()).decode()}
    types: list[str] = []
    with websockets.sync.client.connect(
        address.replace("http", "ws") + "/ws?clientId=me", additional_headers=login
    ) as ws:
        prompt = httpx.post(f"{address}/prompt", auth=AUTH, content=found[1]).json()["prompt_id"]
        while True:
            message = ws.recv(timeout=120)
            if isinstance(message, str):
                told = json.loads(message)
                types.append(told["type"])
                if told["type"] == "executing" and told["data"]["node"] is None:
                    break
    assert types.count("progress") == 2
    entry = httpx.get(f"{address}/history/{prompt}", auth=AUTH).json()[prompt]
    (image,) = entry["outputs"]["7"]["images"]
    data = httpx.get(f"{address}/view", params=image, auth=AUTH).content
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.size == (64, 64)
    assert "text/html" in httpx.get(f"{address}/queue", auth=AUTH).headers["content-type"]  # a page of the studio
    assert httpx.get(f"{address}/api/queue", auth=AUTH).json() == {"queue_running": [], "queue_pending": []}


def test_nobody_comes_in_without_the_password_or_by_another_name(address: str) -> None:
    for path in ("/", "/docs", "/openapi.json", "/metrics", "/api/v1/health", "/sdapi/v1/options", "/v1/models"):
        assert httpx.get(address + path).status_code == 401
        assert httpx.get(address + path, auth=AUTH).status_code == 200
        assert httpx.get(address + path, auth=AUTH, headers={"Host": "evil.example"}).status_code == 403
    answer = httpx.post(f"{address}/sdapi/v1/interrupt", auth=AUTH, headers={"Origin": "http://evil.example"})
    assert answer.status_code == 403


def test_the_documented_calls_work(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    calls = [line for block in re.findall(r"```curl\n(.*?)```", page, re.DOTALL) for line in _lines(block)]

    assert len(calls) == 14
    with _served(tmp_path) as (address, process):
        for call in calls:
            command = shlex.split(call.replace("http://localhost:7860", address))
            done = subprocess.run(command, capture_output=True, text=True, timeout=100)
            assert done.returncode == 0, call + done.stderr
            assert done.stdout
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def _lines(block: str) -> list[str]:
    return block.replace("\\\n", " ").strip().splitlines()


@pytest.mark.parametrize(
    ("flags", "message"),
    [(("--listen",), "--api_auth"), (("--listen", "--api-auth", "short"), "too short"), (("--port", "99999"), "--port"),
     (("--tls-keyfile", "x"), "go together"), (("--cors-allow-origins", "*"), "https://example.org")],
)  # fmt: skip
def test_unsafe_flags_are_refused(flags: tuple[str, ...], message: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "webui.py"), *flags], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
