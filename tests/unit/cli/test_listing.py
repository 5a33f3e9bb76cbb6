"""``models`` and ``samplers``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sfumato.cli import main


def test_samplers_lists_both_kinds(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["samplers"]) == 0
    text = capsys.readouterr().out

    assert "DPM++ 2M" in text
    assert "Align Your Steps" in text


def test_samplers_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["samplers", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)

    assert {"Euler a", "UniPC", "Restart"} <= {one["name"] for one in shown["samplers"]}
    assert {"Karras", "KL Optimal"} <= {one["name"] for one in shown["schedulers"]}
    assert all(isinstance(one["aliases"], list) for one in shown["samplers"] + shown["schedulers"])


def test_models_lists_the_folder_of_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "mine.safetensors").write_bytes(b"x" * 1000)
    (tmp_path / "m" / "notes.txt").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SFUMATO_MODELS_DIR", str(tmp_path / "m"))

    assert main(["models", "--json"]) == 0
    shown = {model["name"]: model for model in json.loads(capsys.readouterr().out)}

    assert shown["mine"]["path"] == str(tmp_path / "m" / "mine.safetensors")
    assert shown["mine"]["bytes"] == 1000
    assert "notes" not in shown


def test_models_lists_loras_and_embeddings_in_sections_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("mine", "loras/fur", "embeddings/zorb"):
        path = tmp_path / "m" / f"{name}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SFUMATO_MODELS_DIR", str(tmp_path / "m"))

    assert main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    heads = [line for line in lines if not line.startswith(" ")]
    assert heads == ["Models:", "LoRAs:", "Embeddings:"]
    names = {line.split()[0] for line in lines[lines.index("Models:") + 1 : lines.index("LoRAs:")]}
    assert {"mine"} <= names <= {"mine", "stable-universe"}
    assert lines[lines.index("LoRAs:") + 1].split()[0] == "fur"
    assert lines[lines.index("Embeddings:") + 1].split()[0] == "zorb"

    assert main(["models", "--json"]) == 0
    kinds = {row["name"]: row["kind"] for row in json.loads(capsys.readouterr().out)}
    assert kinds.items() >= {"mine": "file", "fur": "lora", "zorb": "embedding"}.items()
