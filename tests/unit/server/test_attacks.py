"""What people with bad intentions send: each is refused with 4xx, told in one line of the log, and leaves nothing."""

from __future__ import annotations

import base64
import functools
import io
import json
import logging
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from PIL import Image
from starlette.websockets import WebSocketDisconnect

from sfumato.server.access import Access, read_credentials
from sfumato.server.application import create
from sfumato.server.services import Services

SECRET = "nobody may read this"
PASSWORD = "secret word"
PATHS = (
    "../secret.txt", "..%2fsecret.txt", "..%5csecret.txt", "%2e%2e%2f%2e%2e%2fetc%2fpasswd", "..%252fsecret.txt",
    "%2fetc%2fpasswd", "C:%5Cwindows%5Cwin.ini", "..%00.png", "%c0%ae%c0%ae%2fsecret.txt", "%ff",
)  # fmt: skip
ADDRESSES = (
    "http://127.0.0.1:1/x.png", "HTTPS://example.org/x.png", "file:///etc/passwd", "ftp://example.org/x",
    "//example.org/x.png", "\\\\example.org\\x.png", "gopher://127.0.0.1/x", "/etc/passwd",
    "data:text/plain,/etc/passwd",
)  # fmt: skip
#: Routes with names that the schema does not list.
HIDDEN = {"/v1/images/files/{name}": ["get"]}


@pytest.fixture(autouse=True)
def untouched(services: Services, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Whatever a test sends: no file comes, none goes, no job is queued."""
    (tmp_path / "secret.txt").write_text(SECRET)
    caplog.set_level(logging.WARNING, "sfumato")

    def files() -> set[Path]:
        return {path for path in tmp_path.rglob("*") if not path.name.startswith("queue.sqlite")}

    before = files()
    yield
    assert files() == before
    assert sum(services.queue.counts().values()) == 0


def _routes(client: TestClient) -> list[tuple[str, str]]:
    paths = client.get("/openapi.json").json()["paths"] | HIDDEN
    return [(method.upper(), path) for path, methods in paths.items() for method in methods]


def _refused(caplog: pytest.LogCaptureFixture, status: int) -> str:
    """The one line that tells of it."""
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("sfumato.server")]
    assert len(lines) == 1, lines
    assert lines[0].startswith(f"refused with {status}: ")
    assert "from testclient" in lines[0]
    caplog.clear()
    return lines[0]


def test_no_name_in_a_path_leads_out(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    named = [(method, path) for method, path in _routes(client) if "{" in path]
    assert len(named) >= 15

    for method, path in named:
        start, _, rest = path.partition("{")
        for name in PATHS:
            answer = client.request(method, start + name + rest.partition("}")[2].replace("{number}", "0"), json={})
            assert 400 <= answer.status_code < 500, (method, path, name, answer.text)
            assert SECRET not in answer.text
            assert "\n" not in _refused(caplog, answer.status_code)


def test_no_model_s_name_is_a_path(client: TestClient, tmp_path: Path) -> None:
    for name in (*PATHS, str(tmp_path / "secret.txt"), "../own.safetensors", str(tmp_path / "own.safetensors")):
        assert client.post("/api/v1/jobs", json={"request": {"prompt": "x"}, "model": name}).status_code == 404
        assert client.post("/v1/images/generations", json={"prompt": "x", "model": name}).status_code == 404
        answer = client.post("/sdapi/v1/options", json={"sd_model_checkpoint": name})
        assert answer.status_code == 400


@pytest.mark.parametrize("address", ADDRESSES)
def test_no_address_is_fetched(client: TestClient, caplog: pytest.LogCaptureFixture, address: str) -> None:
    for path, body in (
        ("img2img", {"init_images": [address], "width": 64, "height": 64, "steps": 1}),
        ("extra-single-image", {"image": address}),
        ("extra-batch-images", {"imageList": [{"data": address, "name": "x"}]}),
        ("png-info", {"image": address}),
    ):
        answer = client.post(f"/sdapi/v1/{path}", json=body)
        assert answer.status_code == 400, (path, answer.text)
        _refused(caplog, 400)


def test_every_route_asks_for_the_password(services: Services, caplog: pytest.LogCaptureFixture) -> None:
    access = Access(credentials=read_credentials(f"ann:{PASSWORD}"))
    with TestClient(create(services, access), base_url="http://localhost:7860") as client:
        routes = _routes(TestClient(create(services, Access()), base_url="http://localhost:7860"))
        caplog.clear()
        for method, path in (*routes, ("GET", "/"), ("POST", "/"), ("GET", "/docs"), ("GET", "/openapi.json")):
            answer = client.request(method, path, json={"prompt": "x"})
            assert answer.status_code == 401, (method, path)
            _refused(caplog, 401)
        wrong = base64.b64encode(b"ann:a wrong word").decode()
        assert client.post("/api/v1/jobs", headers={"authorization": f"Basic {wrong}"}).status_code == 401
        assert "wrong" not in (line := _refused(caplog, 401))
        assert wrong not in line


def test_no_route_answers_to_another_name_or_page(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    for method, path in _routes(client):
        for headers in ({"host": "evil.example"}, {"origin": "http://evil.example"}, {"origin": "null"}):
            assert client.request(method, path, json={}, headers=headers).status_code == 403, (method, path)
            _refused(caplog, 403)


def test_no_picture_of_a_graph_is_a_path_or_an_address(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    nodes = {
        "1": {"class_type": "LoadImage", "inputs": {}},
        "2": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "own"}},
        "3": {"class_type": "VAEEncode", "inputs": {"pixels": ["1", 0], "vae": ["2", 2]}},
        "4": {"class_type": "CLIPTextEncode", "inputs": {"text": "x", "clip": ["2", 1]}},
        "5": {"class_type": "KSampler", "inputs": {
            "model": ["2", 0], "positive": ["4", 0], "negative": ["4", 0], "latent_image": ["3", 0], "seed": 1,
            "steps": 1, "cfg": 1, "sampler_name": "euler", "scheduler": "normal", "denoise": 0.5}},
        "6": {"class_type": "VAEDecode", "inputs": {"samples": ["5", 0], "vae": ["2", 2]}},
        "7": {"class_type": "SaveImage", "inputs": {"images": ["6", 0], "filename_prefix": "../../x"}},
    }  # fmt: skip
    for name in (*PATHS, *ADDRESSES, "../secret.txt", "own.safetensors"):
        nodes["1"]["inputs"] = {"image": name}
        answer = client.post("/prompt", json={"prompt": nodes})
        assert (answer.status_code, list(answer.json()["node_errors"])) == (400, ["1"])
        _refused(caplog, 400)
        for kind in ("input", "output", "temp", "../"):
            for folder in ("", "..", "/etc", "../.."):
                answer = client.get("/view", params={"filename": name, "subfolder": folder, "type": kind})
                assert answer.status_code == 404
                assert SECRET not in answer.text
                _refused(caplog, 404)


def test_no_graph_is_too_much(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    bodies = {
        "[" * 100_000 + "]" * 100_000: 400, '{"a":' * 500 + "1" + "}" * 500: 400, "[" * 1_000_000: 413, "{": 400,
        '{"prompt": {"1": {"class_type": "KSampler", "inputs": {"cfg": NaN}}}}': 400, '["prompt"]': 400,
        '{"prompt": {"1": "\\ud800"}}': 400, "": 400,
    }  # fmt: skip
    for path in ("/prompt", "/api/prompt", "/queue", "/history", "/free"):
        for text, status in bodies.items():
            answer = client.post(path, content=text, headers={"content-type": "text/plain"})
            assert answer.status_code == status, (path, text[:40], answer.text[:200])
            _refused(caplog, status)


def test_a_listener_comes_in_by_no_other_name_or_page(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    here = {"host": "localhost:7860"}
    for headers in ({"host": "evil.example"}, here | {"origin": "http://evil.example"}, here | {"origin": "null"}):
        with pytest.raises(WebSocketDisconnect), client.websocket_connect("/ws?clientId=a", headers=headers):
            pass
        _refused(caplog, 403)


def test_the_log_tells_no_query_and_stays_on_its_line(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    assert client.get("/api/v1/jobs/a%0Ab%1B[2J?token=hidden").status_code == 404
    line = _refused(caplog, 404)
    assert "hidden" not in line
    assert line.isprintable()


def _png(width: int, height: int, *chunks: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + b"".join(chunks) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _frames(format: str) -> bytes:
    out, frames = io.BytesIO(), [Image.new("RGB", (600, 600), (k, 0, 0)) for k in range(20)]
    frames[0].save(out, format, save_all=True, append_images=frames[1:])
    return out.getvalue()


@functools.cache
def bombs() -> dict[str, bytes]:
    """Small files that would become large."""
    zeros = zlib.compress(bytes(100_000_000), 9)
    return {
        "a wide PNG": _png(50_000, 50_000, _chunk(b"IDAT", zeros)),
        "a PNG of a long line": _png(2**31 - 1, 1, _chunk(b"IDAT", zeros)),
        "a PNG with much text": _png(8, 8, *[_chunk(b"zTXt", b"parameters\0\0" + zeros)] * 4),
        "a PNG with a long profile": _png(8, 8, _chunk(b"iCCP", b"x\0\0" + zeros)),
        "an animated PNG": _frames("PNG"),
        "an animated GIF": _frames("GIF"),
        "an animated WebP": _frames("WEBP"),
        "a TIFF": b"II*\0" + bytes(64),
        "a program": b"\x7fELF" + bytes(64),
        "an SVG": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
    }


@pytest.mark.parametrize("name", bombs())
def test_bombs_do_not_go_off(client: TestClient, caplog: pytest.LogCaptureFixture, name: str) -> None:
    data = bombs()[name]
    assert len(data) < 500_000
    text, began = base64.b64encode(data).decode(), time.process_time()

    for path, body in (("img2img", {"init_images": [text]}), ("png-info", {"image": text})):
        assert client.post(f"/sdapi/v1/{path}", json=body).status_code == 400
        _refused(caplog, 400)
    files = {"image": ("x.png", data, "image/png")}
    for path in ("/v1/images/edits", "/upload/image"):
        assert client.post(path, files=files, data={"prompt": "x"}).status_code == 400
        _refused(caplog, 400)
    assert time.process_time() - began < 5  # of the processor: other work on the machine does not count


@pytest.mark.filterwarnings("ignore:Unclosed file:ResourceWarning")  # Starlette leaves half a part behind
@pytest.mark.parametrize(
    ("kind", "body"),
    [("multipart/form-data", b"--x\r\n"), ("multipart/form-data; boundary=", b""),
     ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data\r\n\r\nz\r\n--x--"),
     ("multipart/form-data; boundary=x", b"--x\r\nno colon\r\n\r\n"),
     ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'),
     ("multipart/form-data; boundary=x", b"".join(b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
                                                  for _ in range(2000)) + b"--x--"),
     ("application/x-www-form-urlencoded", b"image=http://127.0.0.1/x.png"), ("text/plain", b"image")],
)  # fmt: skip
def test_broken_forms_are_refused(client: TestClient, caplog: pytest.LogCaptureFixture, kind: str, body: bytes) -> None:
    for route in ("/v1/images/edits", "/v1/images/variations", "/upload/image"):
        assert client.post(route, content=body, headers={"content-type": kind}).status_code == 400
        _refused(caplog, 400)


@pytest.mark.parametrize("name", ["a\r\nX-Evil: 1.png", "../../x.png", 'a"; x="', "\x00.png", "a" * 20_000])
def test_a_file_s_name_goes_nowhere(client: TestClient, caplog: pytest.LogCaptureFixture, name: str) -> None:
    head = f'--x\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\nContent-Type: image/png\r\n\r\n'
    body = head.encode() + b"no picture\r\n--x--\r\n"
    for route in ("/v1/images/edits", "/upload/image"):
        answer = client.post(route, content=body, headers={"content-type": "multipart/form-data; boundary=x"})
        assert answer.status_code == 400
        assert "x-evil" not in answer.headers
        assert "Evil" not in _refused(caplog, 400)


DEEP = {"lists": "[" * 100_000 + "]" * 100_000, "objects": '{"a":' * 500 + "1" + "}" * 500, "open": "[" * 1_000_000}
NUMBERS = {
    "NaN": "NaN", "infinity": "-Infinity", "large": "1e999", "half a letter": '"\\ud800"', "long": "1" * 5000,
    "many": f"[{'1,' * 300_000}1]",
}  # fmt: skip
ROUTES = ("/api/v1/jobs", "/sdapi/v1/txt2img", "/sdapi/v1/options", "/v1/images/generations")


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("name", DEEP)
def test_deep_json_is_refused(client: TestClient, caplog: pytest.LogCaptureFixture, route: str, name: str) -> None:
    headers = {"content-type": "application/json"}
    for text in (DEEP[name], f'{{"prompt": "x", "comments": {DEEP[name]}}}'):
        answer = client.post(route, content=text, headers=headers)
        assert answer.status_code == 400, answer.text[:200]
        _refused(caplog, 400)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("name", NUMBERS)
def test_what_is_no_number_is_refused(
    client: TestClient, caplog: pytest.LogCaptureFixture, route: str, name: str
) -> None:
    for field in ("cfg_scale", "comments", "script_args"):
        given = f'{{"prompt": "x", "steps": 1, "{field}": {{"a": [{NUMBERS[name]}]}}}}'
        answer = client.post(route, content=given, headers={"content-type": "application/json"})
        assert answer.status_code == 400, answer.text[:200]
        _refused(caplog, 400)


def test_broken_json_is_refused(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    for body in (b"{", b"", b"\xff\xfe", b'{"prompt": "\xff"}', json.dumps("x").encode("utf-16")):
        answer = client.post("/api/v1/jobs", content=body, headers={"content-type": "application/json"})
        assert answer.status_code in (400, 422)
        _refused(caplog, answer.status_code)


def test_a_body_without_an_end_is_cut(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    answer = client.post("/sdapi/v1/txt2img", content=(bytes(1 << 16) for _ in range(100)))

    assert answer.status_code == 413
    assert "at most" in _refused(caplog, 413)
