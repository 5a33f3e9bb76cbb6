"""Pictures that are brought in are kept by name, shown again, and not kept for ever."""

from __future__ import annotations

import io

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image

from sfumato.errors import RequestError
from sfumato.gallery import files
from sfumato.server import failures
from sfumato.server.limits import Limits
from sfumato.server.ui import tray as trays
from sfumato.server.ui.tray import Tray, tray_url


def _bytes(colour: str, size: tuple[int, int] = (8, 6)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def tray(tmp_path):
    return Tray(tmp_path / "pictures", Limits(picture_pixels=100))


@pytest.fixture
def client(tray):
    app = FastAPI()
    failures.install(app)
    app.include_router(trays.routes(tray))
    return TestClient(app)


def test_a_picture_comes_back_as_it_went(client, tray):
    name = client.post("/edit/pictures", content=_bytes("red")).json()["name"]
    with Image.open(io.BytesIO(client.get(tray_url(name)).content)) as seen:
        assert (seen.size, seen.getpixel((0, 0))) == ((8, 6), (255, 0, 0))
    assert tray.get(name).getpixel((7, 5)) == (255, 0, 0)


def test_the_same_picture_is_kept_once(tray):
    assert tray.read(_bytes("red")) == tray.read(_bytes("red")) != tray.read(_bytes("blue"))


@pytest.mark.parametrize("data", [b"", b"<svg/>", _bytes("red", (11, 10))])
def test_what_is_no_picture_or_too_large_is_refused(client, data):
    answer = client.post("/edit/pictures", content=data)
    assert answer.status_code == 400
    assert answer.json()["error"]["kind"] == "RequestError"


@pytest.mark.parametrize("name", ["0" * 64, "..%2f..%2fpages.secret", "x"])
def test_other_files_are_not_shown(client, name):
    assert client.get(f"/edit/pictures/{name}").status_code in (400, 404)


def test_the_oldest_go(tray, monkeypatch):
    monkeypatch.setattr(trays, "KEPT", 2)
    names = [tray.read(_bytes(colour)) for colour in ("red", "green", "blue")]
    assert tray.get(names[2]).size == (8, 6)
    with pytest.raises(RequestError, match="choose it again"):
        tray.get(names[0])


def test_what_a_picture_says_of_itself_stays_with_it(tray):
    text = "a cat\nSteps: 3, Sampler: Euler, Seed: 9 <é>"
    name = tray.read(files.encode(Image.new("RGB", (8, 6)), "png", text))
    assert files.read_bytes(tray.file(name).read_bytes()) == text
    assert "parameters" not in tray.get(name).info
