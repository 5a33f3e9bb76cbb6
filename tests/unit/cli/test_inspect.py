"""``inspect``: a page, a table, JSON."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from sfumato.cli import main


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    home = tmp_path / "m"
    home.mkdir()
    save_file({"emb_params": torch.zeros(3, 768)}, home / "word.safetensors")
    (home / "broken.safetensors").write_bytes(b"\0" * 100)
    (home / "notes.txt").touch()
    return home


def test_one_file_has_a_page(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(folder / "word.safetensors")]) == 0
    lines = capsys.readouterr().out.splitlines()

    assert lines[0] == str(folder / "word.safetensors")
    assert lines[1].split() == ["kind", "embedding", "of", "Stable", "Diffusion", "1"]
    assert "  in memory  full 9.2 kB, half 4.6 kB, bf16 4.6 kB" in lines
    assert lines[-1].split() == ["loads", "yes"]


def test_the_hash_is_the_files(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "word.safetensors"
    assert main(["inspect", str(path)]) == 0
    assert "not known yet" in capsys.readouterr().out
    assert main(["inspect", str(path), "--hash"]) == 0
    assert hashlib.sha256(path.read_bytes()).hexdigest()[:10] in capsys.readouterr().out
    assert main(["inspect", str(path)]) == 0
    assert "not known yet" not in capsys.readouterr().out


def test_a_folder_has_a_line_for_each(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(folder)]) == 0
    broken, word = capsys.readouterr().out.splitlines()

    assert "not a whole safetensors file" in broken
    assert word.endswith("word.safetensors")


def test_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(folder), "--json"]) == 0
    broken, word = map(json.loads, capsys.readouterr().out.splitlines())

    assert (broken["loads"], word["loads"], word["family"], word["hash"]) == (False, True, "sd1", None)


def test_a_missing_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(tmp_path / "no.ckpt")]) == 2
    assert capsys.readouterr().err == f"Error: {tmp_path / 'no.ckpt'}: there is no such file or folder\n"
