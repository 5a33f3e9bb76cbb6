"""``info`` and ``config``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from sfumato.cli import main
from sfumato.gallery import files, infotext

TEXT = "a cat\nNegative prompt: dog\nSteps: 20, Sampler: Euler a, CFG scale: 7.0, Seed: 0, Size: 64x32, Model: m"


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "x.png"
    path.write_bytes(files.encode(Image.new("RGB", (8, 8)), "png", TEXT))
    return path


def test_info_prints_the_request(picture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(picture)]) == 0
    lines = capsys.readouterr().out.splitlines()

    assert lines[:4] == ["prompt: a cat", "negative_prompt: dog", "width: 64", "height: 32"]
    assert "seed: 0" in lines
    assert "model: m" in lines


def test_info_as_json_is_the_same_request(picture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--json", str(picture)]) == 0
    shown = json.loads(capsys.readouterr().out)

    assert shown["request"] == infotext.request_dict(infotext.to_request(infotext.parse(TEXT)))
    assert shown["fields"]["Sampler"] == "Euler a"
    assert shown["infotext"] == TEXT


def test_info_of_a_picture_without_metadata_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "x.png")

    assert main(["info", str(tmp_path / "x.png")]) == 2
    assert "saved without metadata" in capsys.readouterr().err


def test_config_names_the_source_of_each_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("model:\n  type: 'stable-universe'\n  resolution: 512x512\n  steps: 50\n")
    monkeypatch.setenv("SFUMATO_MODEL__STEPS", "33")

    assert main(["config", "--json", "--config", str(path)]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert main(["config", "--config", str(path)]) == 0
    text = capsys.readouterr().out

    assert shown["model.steps"] == {"value": 33, "source": "SFUMATO_MODEL__STEPS"}
    assert shown["model.resolution"]["source"].endswith("config.yaml:3")
    assert shown["device"]["source"] == "default"
    assert len(text.splitlines()) == len(shown)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("sfumato ")
