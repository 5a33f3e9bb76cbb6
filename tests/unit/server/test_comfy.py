"""ComfyUI's dialect, spoken as its own example clients speak: a graph is queued, heard of, and its pictures fetched."""

from __future__ import annotations

import base64
import copy
import io
import json
import socket
import struct
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import uvicorn
import websockets.sync.client
from fastapi.testclient import TestClient
from PIL import Image
from starlette.websockets import WebSocketDisconnect

from sfumato.request import Txt2ImgRequest
from sfumato.sampling import names
from sfumato.server.access import Access, read_credentials
from sfumato.server.api.comfy_graph import GraphError, Wanted, translate
from sfumato.server.api.comfy_inputs import KEPT, Inputs
from sfumato.server.api.comfy_nodes import NODES
from sfumato.server.application import create
from sfumato.server.services import Services

Graph = dict[str, Any]
#: A websocket's address names the server too.
HERE = {"host": "localhost:7860"}
GRAPH: Graph = {
    "3": {
        "class_type": "KSampler",
        "inputs": {
            "cfg": 8, "denoise": 1, "latent_image": ["5", 0], "model": ["4", 0], "negative": ["7", 0],
            "positive": ["6", 0], "sampler_name": "euler_ancestral", "scheduler": "normal", "seed": 5, "steps": 2,
        },
    },
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "own.safetensors"}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"batch_size": 2, "height": 32, "width": 48}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["4", 1], "text": "a cat"}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["4", 1], "text": "blurry"}},
    "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
    "9": {"class_type": "SaveImage", "inputs": {"filename_prefix": "ComfyUI", "images": ["8", 0]}},
}  # fmt: skip


def _graph(**changes: Any) -> Graph:
    """The graph with other inputs: ``s3_steps=4`` is input ``steps`` of node 3."""
    made = copy.deepcopy(GRAPH)
    for key, value in changes.items():
        node, _, name = key.removeprefix("s").partition("_")
        made[node]["inputs"][name] = value
    return made


def _picture(colour: str = "red", side: int = 32) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (side, side), colour).save(out, "PNG")
    return out.getvalue()


def _ended(client: TestClient, prompt: str, prefix: str = "") -> dict[str, Any]:
    end = time.monotonic() + 30
    while prompt not in (found := client.get(f"{prefix}/history/{prompt}").json()) and time.monotonic() < end:
        time.sleep(0.02)
    return found[prompt]


def _send(client: TestClient, graph: Graph, **more: Any) -> str:
    answer = client.post("/prompt", json={"prompt": graph, **more})
    assert answer.status_code == 200, answer.text
    return answer.json()["prompt_id"]


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_a_graph_is_drawn_and_its_pictures_are_fetched(client: TestClient, prefix: str) -> None:
    # The basic example sends JSON as urllib does, which calls it a form.
    body, kind = json.dumps({"prompt": GRAPH}).encode(), {"content-type": "application/x-www-form-urlencoded"}
    answer = client.post(f"{prefix}/prompt", content=body, headers=kind).json()

    assert answer == {"prompt_id": answer["prompt_id"], "number": 0, "node_errors": {}}
    entry = _ended(client, answer["prompt_id"], prefix)
    assert entry["status"]["status_str"] == "success"
    assert entry["status"]["completed"] is True
    assert entry["prompt"][:3] == [0, answer["prompt_id"], GRAPH]
    images = entry["outputs"]["9"]["images"]
    assert [image["type"] for image in images] == ["output", "output"]
    for image in images:
        got = client.get(f"{prefix}/view", params=image)
        assert got.headers["content-type"] == "image/png"
        with Image.open(io.BytesIO(got.content)) as picture:
            assert picture.size == (48, 32)
            assert "a cat\nNegative prompt: blurry\nSteps: 2, Sampler: Euler a" in picture.info["parameters"]
    client.post("/api/v1/gallery/scan")
    assert client.get("/api/v1/gallery?model=own").json()["total"] == 2


@pytest.fixture
def address(services: Services) -> Iterator[str]:
    server = uvicorn.Server(
        uvicorn.Config(create(services, Access()), log_level="critical", timeout_graceful_shutdown=1)
    )
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join()


def test_a_listener_hears_each_node_and_the_end(address: str) -> None:
    heard: list[dict[str, Any]] = []
    previews: list[bytes] = []
    with websockets.sync.client.connect(f"ws://{address}/ws?clientId=ann") as ws:
        body = json.dumps({"prompt": GRAPH, "client_id": "ann"}).encode()
        with urllib.request.urlopen(f"http://{address}/prompt", data=body) as answer:
            prompt = json.load(answer)["prompt_id"]
        while True:
            message = ws.recv(timeout=30)
            if isinstance(message, bytes):
                previews.append(message)
                continue
            heard.append(json.loads(message))
            data = heard[-1]["data"]
            if heard[-1]["type"] == "executing" and data["node"] is None and data["prompt_id"] == prompt:
                break
        assert heard[0]["data"]["sid"] == "ann"
        last = json.loads(ws.recv(timeout=30))
    assert last == {"type": "status", "data": {"status": {"exec_info": {"queue_remaining": 0}}}}
    nodes = [each["data"]["node"] for each in heard if each["type"] == "executing"]
    assert nodes == ["4", "6", "7", "5", "3", "8", "9", None]
    kinds = [each["type"] for each in heard if each["type"] not in ("executing", "status", "progress")]
    assert kinds == ["execution_start", "execution_cached", "executed", "execution_success"]
    progress = next(each["data"] for each in heard if each["type"] == "progress")
    assert progress == {"value": 1, "max": 2, "prompt_id": prompt, "node": "3"}
    assert [struct.unpack(">II", preview[:8]) for preview in previews] == [(1, 1)]
    with Image.open(io.BytesIO(previews[0][8:])) as preview:
        assert preview.format == "JPEG"
    made = next(each["data"]["output"] for each in heard if each["type"] == "executed")
    with urllib.request.urlopen(f"http://{address}/history/{prompt}") as answer:
        assert json.load(answer)[prompt]["outputs"] == {"9": made}


def test_others_hear_how_long_the_queue_is_and_no_more(client: TestClient) -> None:
    with client.websocket_connect("/api/ws?clientId=bob", headers=HERE) as ws:
        assert ws.receive_json()["data"]["status"]["exec_info"]["queue_remaining"] == 0
        _ended(client, _send(client, GRAPH, client_id="ann"))
        heard = [ws.receive_json() for _ in range(3)]
    assert {each["type"] for each in heard} == {"status"}
    assert heard[-1]["data"]["status"]["exec_info"]["queue_remaining"] == 0


def test_a_fault_and_an_interruption_are_heard_and_kept(client: TestClient) -> None:
    with client.websocket_connect("/ws?clientId=ann", headers=HERE) as ws:
        failed, waits = _send(client, _graph(s6_text="fail"), client_id="ann"), ""
        kinds: list[str] = []
        while len(ends := [kind for kind in kinds if kind.endswith(("error", "interrupted"))]) < 2:
            message = ws.receive()
            if message.get("text"):
                kinds.append(json.loads(message["text"])["type"])
            if ends and not waits:
                waits = _send(client, _graph(s6_text="wait"), client_id="ann")
                while not client.get("/api/queue").json()["queue_running"]:
                    time.sleep(0.01)
                assert client.post("/interrupt").status_code == 200
    assert ends == ["execution_error", "execution_interrupted"]
    wrong = _ended(client, failed)["status"]
    assert (wrong["status_str"], wrong["completed"]) == ("error", False)
    assert wrong["messages"][-1][1]["exception_message"] == "width is 65 pixels"
    assert _ended(client, waits)["outputs"] == {}
    assert list(client.get("/history?max_items=1").json()) == [waits]
    assert list(client.get("/history?max_items=3").json()) == [failed, waits]
    client.post("/history", json={"delete": [failed]})
    assert list(client.get("/history").json()) == [waits]
    client.post("/history", json={"clear": True})
    assert client.get("/history").json() == {}


def test_what_waits_is_listed_and_withdrawn(client: TestClient) -> None:
    first = _send(client, _graph(s6_text="wait"))
    while not client.get("/api/queue").json()["queue_running"]:
        time.sleep(0.01)
    second, third = _send(client, GRAPH), _send(client, GRAPH, front=True, extra_data={"a": 1})

    listed = client.get("/api/queue").json()
    assert [each[1] for each in listed["queue_running"]] == [first]
    assert sorted(each[1] for each in listed["queue_pending"]) == sorted([second, third])
    assert listed["queue_pending"][1][3:] == [{"a": 1}, ["9"]]
    jobs = client.get("/api/v1/jobs?state=queued").json()["jobs"]
    assert [job["id"] for job in jobs] == [third, second]
    assert client.get("/prompt").json() == {"exec_info": {"queue_remaining": 3}}
    client.post("/queue", json={"delete": [second, first]})
    assert [each[1] for each in client.get("/api/queue").json()["queue_pending"]] == [third]
    client.post("/queue", json={"clear": True})
    assert client.get("/api/queue").json()["queue_pending"] == []
    assert [each[1] for each in client.get("/api/queue").json()["queue_running"]] == [first]
    client.post("/interrupt")
    assert _ended(client, first)["status"]["messages"][-1][0] == "execution_interrupted"


def test_a_preview_is_not_kept(client: TestClient) -> None:
    graph = _graph()
    graph["9"] = {"class_type": "PreviewImage", "inputs": {"images": ["8", 0]}}
    prompt = _send(client, graph)
    image = _ended(client, prompt)["outputs"]["9"]["images"][0]
    assert (image["type"], client.get("/view", params=image).status_code) == ("temp", 200)
    assert client.get("/api/v1/gallery").json()["total"] == 0
    client.post("/history", json={"clear": True})
    assert client.get("/view", params=image).status_code == 404
    assert client.get(f"/api/v1/jobs/{prompt}").status_code == 404


def test_an_uploaded_picture_is_drawn_from(services: Services) -> None:
    with TestClient(create(services, Access()), base_url="http://localhost:7860") as client:
        sent = client.post("/upload/image", files={"image": ("../my.png", _picture(), "image/png")}).json()
        assert (sent["subfolder"], sent["type"]) == ("", "input")
        assert sent["name"] in client.get("/object_info/LoadImage").json()["LoadImage"]["input"]["required"]["image"][0]
        assert client.get("/view", params={**sent, "filename": sent["name"]}).headers["content-type"] == "image/png"
        graph = _graph(s3_denoise=0.5, s3_steps=10)
        graph["1"] = {"class_type": "LoadImage", "inputs": {"image": sent["name"]}}
        graph["5"] = {"class_type": "VAEEncode", "inputs": {"pixels": ["1", 0], "vae": ["4", 2]}}
        _ended(client, _send(client, graph))
        job = client.get("/api/v1/jobs").json()["jobs"][0]["request"]
    assert job["init"]["denoising_strength"] == 0.5
    assert job["steps"] == 18  # of which ten are taken


@pytest.fixture
def drawn(services: Services, tmp_path: Path) -> Callable[[Graph], Wanted]:
    known = replace(
        services,
        loras=lambda: {"fur": tmp_path / "fur.safetensors", "ink": tmp_path / "ink.safetensors"},
        vaes=lambda: {"soft": tmp_path / "soft.safetensors"},
    )
    return lambda graph: translate(graph, known, Inputs(tmp_path / "inputs", services.limits))


def test_the_example_says_what_it_asks_for(drawn: Callable[[Graph], Wanted]) -> None:
    wanted = drawn(GRAPH)
    assert wanted.request == Txt2ImgRequest(
        prompt="a cat", negative_prompt="blurry", width=48, height=32, batch_size=2, seed=5, steps=2, cfg_scale=8.0,
        sampler="euler_ancestral", scheduler="normal", clip_skip=1,
    )  # fmt: skip
    assert (wanted.model, wanted.save, wanted.sampler, wanted.outputs) == ("own", True, "3", ("9",))


def test_loras_layers_and_another_autoencoder_are_read(drawn: Callable[[Graph], Wanted]) -> None:
    graph = _graph(s3_model=["11", 0], s6_clip=["12", 0], s7_clip=["12", 0], s8_vae=["13", 0])
    strengths = {"strength_model": 0.8, "strength_clip": 0.5}
    graph["10"] = {
        "class_type": "LoraLoader",
        "inputs": {"model": ["4", 0], "clip": ["4", 1], "lora_name": "fur.safetensors", **strengths},
    }
    graph["11"] = {
        "class_type": "LoraLoader",
        "inputs": {"model": ["10", 0], "clip": ["10", 1], "lora_name": "ink", **strengths},
    }
    graph["12"] = {"class_type": "CLIPSetLastLayer", "inputs": {"clip": ["10", 1], "stop_at_clip_layer": -2}}
    graph["13"] = {"class_type": "VAELoader", "inputs": {"vae_name": "soft.safetensors"}}
    request = drawn(graph).request
    assert request.prompt == "a cat<lora:fur:0.5:0.8><lora:ink:0:0.8>"
    assert (request.negative_prompt, request.clip_skip, request.vae) == ("blurry", 2, "soft")


def test_one_autoencoder_encodes_and_decodes(drawn: Callable[[Graph], Wanted]) -> None:
    graph = _graph(s3_denoise=0.5, s8_vae=["13", 0])
    graph["1"] = {"class_type": "LoadImage", "inputs": {"image": "never looked for"}}
    graph["5"] = {"class_type": "VAEEncode", "inputs": {"pixels": ["1", 0], "vae": ["4", 2]}}
    graph["13"] = {"class_type": "VAELoader", "inputs": {"vae_name": "soft.safetensors"}}
    with pytest.raises(GraphError, match="must have the same autoencoder"):
        drawn(graph)


def _advanced(**changes: Any) -> Graph:
    graph = _graph()
    inputs = graph["3"]["inputs"]
    del inputs["seed"], inputs["denoise"]
    inputs |= {"noise_seed": 9, "add_noise": "enable", "start_at_step": 0, "end_at_step": 10_000}
    graph["3"] = {
        "class_type": "KSamplerAdvanced",
        "inputs": inputs | {"return_with_leftover_noise": "disable"} | changes,
    }
    return graph


def test_the_advanced_sampler_draws_all_of_the_way(drawn: Callable[[Graph], Wanted]) -> None:
    assert drawn(_advanced()).request.seed == 9
    for part in ({"start_at_step": 1}, {"end_at_step": 1}, {"add_noise": "disable"}):
        with pytest.raises(GraphError, match="from the first step to the last"):
            drawn(_advanced(**part))


@pytest.mark.parametrize(
    ("changes", "node", "message"),
    [
        ({"s4_ckpt_name": "odd"}, "4", "There is no model 'odd'"), ({"s3_sampler_name": "odd"}, "3", "odd"),
        ({"s3_scheduler": "odd"}, "3", "odd"), ({"s3_steps": 0}, "3", "steps is 0; give 1 to 1000"),
        ({"s3_steps": "many"}, "3", "steps is 'many'"), ({"s3_seed": ["6", 0]}, "3", "give a number, not a link"),
        ({"s3_seed": 2**63 - 1}, "3", "too large"), ({"s3_cfg": "nan"}, "3", "cfg is nan"),
        ({"s3_denoise": 0.5}, "3", "needs a picture"), ({"s5_width": 16384, "s5_height": 16384}, "3", "pixels is"),
        ({"s3_model": ["4", 1]}, "3", "model takes MODEL"), ({"s3_model": ["44", 0]}, "3", "there is none"),
        ({"s3_model": "4"}, "3", "must be a link"), ({"s3_model": ["4", True]}, "3", "must be a link"),
        ({"s6_text": 7}, "6", "not a text"), ({"s5_batch_size": 64}, "3", "batch is 64"),
    ],
)  # fmt: skip
def test_what_can_not_be_drawn_is_named(client: TestClient, changes: Graph, node: str, message: str) -> None:
    answer = client.post("/prompt", json={"prompt": _graph(**changes)})

    assert answer.status_code == 400, answer.text
    told = answer.json()
    assert set(told) == {"error", "node_errors"}
    assert list(told["node_errors"]) == [node]
    assert message in told["node_errors"][node]["errors"][0]["message"]
    assert told["node_errors"][node]["class_type"] == GRAPH[node]["class_type"]


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        ({}, "No prompt"), ("x", "No prompt"), (None, "No prompt"), ({"1": 7}, "no class_type"),
        ({"1": {"class_type": "Upscale", "inputs": {}}}, "there is no 'Upscale' here"),
        ({"1": {"class_type": "SaveImage"}}, "no inputs"), ({"4": GRAPH["4"]}, "no outputs"),
        ({str(k): GRAPH["4"] for k in range(300)}, "at most 200"), ({"9" * 101: GRAPH["4"]}, "100 letters"),
        ({**GRAPH, "9": {"class_type": "SaveImage", "inputs": {}}}, "images is missing"),
        ({**GRAPH, "8": {"class_type": "LoadImage", "inputs": {"image": "x"}}}, "VAEDecode alone"),
    ],
)  # fmt: skip
def test_what_is_no_graph_is_refused(client: TestClient, graph: object, message: str) -> None:
    answer = client.post("/api/prompt", json={"prompt": graph})
    assert (answer.status_code, message in answer.json()["error"]["message"]) == (400, True), answer.text


def test_parts_of_several_models_or_several_samplers_are_refused(drawn: Callable[[Graph], Wanted]) -> None:
    other = {"44": GRAPH["4"]}
    for changes in ({"s6_clip": ["44", 1]}, {"s8_vae": ["44", 2]}):
        with pytest.raises(GraphError, match="same checkpoint"):
            drawn({**_graph(**changes), **other})
    twice = {**GRAPH, "38": GRAPH["3"], "88": copy.deepcopy(GRAPH["8"]), "99": copy.deepcopy(GRAPH["9"])}
    twice["88"]["inputs"]["samples"], twice["99"]["inputs"]["images"] = ["38", 0], ["88", 0]
    with pytest.raises(GraphError, match="several samplers"):
        drawn(twice)
    ring = {"class_type": "LoraLoader", "inputs": {"model": ["10", 0], "clip": ["4", 1], "lora_name": "fur"}}
    with pytest.raises(GraphError, match="in a ring"):
        drawn({**_graph(s3_model=["10", 0]), "10": ring})


def test_a_client_finds_what_there_is(client: TestClient) -> None:
    info = client.get("/object_info").json()
    assert set(info) == set(NODES)
    required = info["KSampler"]["input"]["required"]
    assert list(required) == info["KSampler"]["input_order"]["required"]
    assert required["steps"] == ["INT", {"default": 20, "min": 1, "max": 1000}]
    for name in required["sampler_name"][0]:
        names.resolve(name)
    for name in required["scheduler"][0]:
        names.resolve(None, name)
    loader = client.get("/api/object_info/CheckpointLoaderSimple").json()["CheckpointLoaderSimple"]
    assert loader["input"]["required"]["ckpt_name"][0] == ["stable-universe", "own"]
    assert loader["output"] == ["MODEL", "CLIP", "VAE"]
    assert client.get("/object_info/Nothing").json() == {}
    stats = client.get("/system_stats").json()
    assert stats["devices"][0]["type"] == "cpu"
    assert stats["system"]["ram_total"] > stats["system"]["ram_free"] > 0
    assert client.post("/free", json={"unload_models": True}).status_code == 200


def test_only_the_newest_uploads_are_kept(services: Services, tmp_path: Path) -> None:
    inputs = Inputs(tmp_path / "inputs", services.limits)
    kept = [inputs.put(_picture(f"rgb({k}, 0, 0)", 8)) for k in range(KEPT + 3)]
    assert len(inputs.names()) == KEPT
    assert kept[-1] in inputs.names()


def test_a_listener_needs_the_password_and_the_name(services: Services) -> None:
    access = Access(credentials=read_credentials("ann:a secret word"))
    with TestClient(create(services, access), base_url="http://localhost:7860") as client:
        right = {"authorization": "Basic " + base64.b64encode(b"ann:a secret word").decode()}
        for path in ("/ws?clientId=ann", "/api/ws"):
            for headers in (HERE, HERE | right | {"origin": "http://evil.example"}, right | {"host": "evil.example"}):
                with pytest.raises(WebSocketDisconnect), client.websocket_connect(path, headers=headers):
                    pass
            with client.websocket_connect(path, headers=HERE | right) as ws:
                assert ws.receive_json()["type"] == "status"
        for method, path in (("POST", "/prompt"), ("GET", "/history"), ("POST", "/upload/image"), ("POST", "/queue")):
            assert client.request(method, path).status_code == 401
