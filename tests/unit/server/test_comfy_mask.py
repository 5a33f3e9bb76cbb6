"""Masks that ComfyUI's clients upload: the transparency of a picture that is here."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from sfumato.server.access import Access, read_credentials
from sfumato.server.api.comfy_graph import translate
from sfumato.server.api.comfy_inputs import Inputs
from sfumato.server.application import create
from sfumato.server.services import Services

from .test_comfy import _ended, _graph, _picture, _send


def _mask(alpha: int, size: tuple[int, int] = (16, 16)) -> bytes:
    """All black, and as transparent as said."""
    out = io.BytesIO()
    Image.new("RGBA", size, (0, 0, 0, alpha)).save(out, "PNG")
    return out.getvalue()


def _masked(client: TestClient, mask: bytes, reference: object) -> Image.Image:
    """What a mask and a picture that is here become."""
    named = {"original_ref": json.dumps(reference), "type": "input", "subfolder": "clipspace", "overwrite": "true"}
    answer = client.post("/upload/mask", files={"image": ("mask.png", mask, "image/png")}, data=named)
    assert answer.status_code == 200, answer.text
    sent = answer.json()
    assert (sent["subfolder"], sent["type"]) == ("", "input")
    seen = client.get("/api/view", params={"filename": sent["name"], "type": "input"})
    return Image.open(io.BytesIO(seen.content))


def test_a_masks_transparency_replaces_the_pictures(client: TestClient) -> None:
    sent = client.post("/api/upload/image", files={"image": ("my.png", _picture("teal", 16), "image/png")}).json()
    for reference in (
        {"filename": sent["name"], "subfolder": "", "type": "input"},
        {"filename": f"{sent['name']} [input]"},
    ):
        assert _masked(client, _mask(70), reference).getcolors() == [(256, (0, 128, 128, 70))]

    made = _ended(client, _send(client, _graph(s5_width=16, s5_height=16)))["outputs"]["9"]["images"][0]
    drawn = _masked(client, _mask(9), {key: made[key] for key in ("filename", "subfolder", "type")})
    assert drawn.getcolors() == [(256, (5, 0, 0, 9))]  # of the seed 5
    again = {"filename": sent["name"], "type": "input"}
    assert _masked(client, _picture("white", 16), again).getextrema()[3] == (255, 255)  # none, so nothing is marked


def test_a_picture_is_drawn_from_without_its_transparency(services: Services, tmp_path: Path) -> None:
    (tmp_path / "teal.png").write_bytes(_picture("teal", 16))
    inputs = Inputs(tmp_path / "inputs", services.limits)
    name = inputs.put_mask(_mask(0), tmp_path / "teal.png")
    graph = _graph(s3_denoise=0.5)
    graph["1"] = {"class_type": "LoadImage", "inputs": {"image": name}}
    graph["5"] = {"class_type": "VAEEncode", "inputs": {"pixels": ["1", 0], "vae": ["4", 2]}}
    init = translate(graph, services, inputs).request.init
    assert init is not None
    assert init.picture.getcolors() == [(256, (0, 128, 128))]


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (None, "original_ref: JSON is needed"), ("{", "original_ref: JSON is needed"),
        ("[]", "original_ref: JSON is needed"), ("{}", "original_ref: JSON is needed"),
        ('{"filename": 7}', "original_ref: JSON is needed"), ('{"filename": ["a"]}', "original_ref: JSON is needed"),
        ('{"filename": "a.png", "type": ["input"]}', "original_ref: JSON is needed"), ("[" * 999, "deeper than"),
        ('{"filename": "../../own.safetensors", "type": "input"}', "there is no picture"),
        ('{"filename": "/etc/passwd"}', "there is no picture"), ('{"filename": "\\u0000", "type": "x"}', "no picture"),
        ('{"filename": "SENT", "type": "output"}', "there is no picture"),
        ('{"filename": "SENT", "type": "input"}', "the mask has 8x8 and the picture 16x16 pixels"),
    ],
)  # fmt: skip
def test_a_mask_of_no_picture_is_refused(client: TestClient, reference: str | None, message: str) -> None:
    sent = client.post("/upload/image", files={"image": ("my.png", _picture("teal", 16), "image/png")}).json()
    given = {} if reference is None else {"original_ref": reference.replace("SENT", sent["name"])}
    answer = client.post("/upload/mask", files={"image": ("mask.png", _mask(0, (8, 8)), "image/png")}, data=given)
    assert (answer.status_code, message in answer.text) == (400, True), answer.text
    node = client.get("/object_info/LoadImage").json()["LoadImage"]
    assert node["input"]["required"]["image"][0] == [sent["name"]]  # and nothing was kept


@pytest.mark.parametrize(("mask", "status"), [(b"GIF89a", 400), (_mask(0, (2000, 2000)), 400), (None, 400)])
def test_what_is_no_mask_is_refused(client: TestClient, mask: bytes | None, status: int) -> None:
    sent = client.post("/upload/image", files={"image": ("my.png", _picture("teal", 16), "image/png")}).json()
    files = {"image": ("mask.png", mask, "image/png")} if mask else {"other": ("x", b"x", "image/png")}
    reference = {"original_ref": json.dumps({"filename": sent["name"], "type": "input"})}
    assert client.post("/upload/mask", files=files, data=reference).status_code == status


def test_a_mask_needs_the_password(services: Services) -> None:
    access = Access(credentials=read_credentials("ann:a secret word"))
    with TestClient(create(services, access), base_url="http://localhost:7860") as client:
        assert client.post("/upload/mask").status_code == 401
        assert client.post("/api/upload/mask").status_code == 401
