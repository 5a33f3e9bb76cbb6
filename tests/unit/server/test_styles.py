"""Styles in the file that AUTOMATIC1111's web UI has, and over the API."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from sfumato.errors import RequestError
from sfumato.server.access import Access
from sfumato.server.application import create
from sfumato.server.services import Services
from sfumato.server.styles import Style, Styles, parse

#: As that program writes it: with a byte order mark, quoted lines in a field, and a column more in newer versions.
THEIRS = (
    "\ufeffname,prompt,negative_prompt,path\r\n"
    'oil,"{prompt}, oil on canvas\nthick paint",blur,x\r\n'
    "soft,soft light,\r\n"
    ",no name,\r\n"
).encode()


def test_a_file_of_automatic1111_is_read() -> None:
    found = parse(THEIRS, "styles.csv")
    assert list(found) == ["oil", "soft"]
    assert found["oil"].apply("a cat", "") == ("a cat, oil on canvas\nthick paint", "blur")
    assert found["soft"].apply("a cat", "dog") == ("a cat, soft light", "dog")


def test_what_is_kept_comes_back(tmp_path: Path) -> None:
    styles = Styles(tmp_path / "styles.csv")
    odd = Style(name='a "b", c', prompt="x,\n'y'", negative_prompt="é")
    styles.put(odd)
    styles.put(Style(name="soft", prompt="old"))
    assert styles.take(THEIRS) == 2
    assert styles.read()[odd.name] == odd
    assert styles.read()["soft"].prompt == "soft light"
    styles.remove("soft")
    assert list(styles.read()) == [odd.name, "oil"]


@pytest.mark.parametrize("data", [b"\xff\xfe", b"a,b\n1,2\n", b"x" * (5 << 20)])
def test_what_is_no_file_of_styles_changes_nothing(tmp_path: Path, data: bytes) -> None:
    styles = Styles(tmp_path / "styles.csv")
    styles.put(Style(name="soft", prompt="old"))
    with pytest.raises(RequestError, match=r"styles\.csv"):
        styles.take(data)
    assert list(styles.read()) == ["soft"]


def test_over_the_api(services: Services, tmp_path: Path) -> None:
    app = create(replace(services, styles=Styles(tmp_path / "styles.csv")), Access())
    with TestClient(app, base_url="http://localhost:7860") as client:
        assert client.put("/api/v1/styles/soft", json={"prompt": "soft light"}).json()["prompt"] == "soft light"
        assert client.put("/api/v1/styles/none", json={}).status_code == 400
        assert client.post("/api/v1/styles/import", files={"file": ("styles.csv", THEIRS)}).json() == {"styles": 2}
        assert client.delete("/api/v1/styles/soft").status_code == 204
        assert client.delete("/api/v1/styles/soft").status_code == 400
        assert [each["name"] for each in client.get("/api/v1/styles").json()["styles"]] == ["oil"]


def test_a_web_ui_client_draws_with_them(services: Services, tmp_path: Path) -> None:
    styles = Styles(tmp_path / "styles.csv")
    styles.put(Style(name="oil", prompt="{prompt}, oil on canvas", negative_prompt="photo"))
    app = create(replace(services, styles=styles), Access())
    with TestClient(app, base_url="http://localhost:7860") as client:
        listed = client.get("/sdapi/v1/prompt-styles").json()
        asked = {"prompt": "a cat", "width": 32, "height": 16, "steps": 2, "styles": ["oil"]}
        info = json.loads(client.post("/sdapi/v1/txt2img", json=asked).json()["info"])
        odd = client.post("/sdapi/v1/txt2img", json={**asked, "styles": ["oli"]})

    assert listed == [{"name": "oil", "prompt": "{prompt}, oil on canvas", "negative_prompt": "photo"}]
    assert (info["prompt"], info["negative_prompt"]) == ("a cat, oil on canvas", "photo")
    assert odd.status_code == 400
    assert "There is no style 'oli'; nearest: 'oil'" in odd.text
