"""``inspect``: a page, a table, JSON."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parents[2]))
from checkpoints import make_networks, write_ldm
from family_models import Model, make_refiner, make_sd2, make_sd3, make_sdxl, write_file
from loras import write_lora

from sfumato.cli import main
from sfumato.families import fitting


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
    assert "  in memory  full 9.2 kB, half 4.6 kB, bf16 4.6 kB, int8 2.3 kB" in lines
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


def test_with_a_model_it_says_how_adapters_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unet, coder, text = make_networks(depth=1)
    model = write_ldm(tmp_path / "m.safetensors", unet, coder, text)
    lora = write_lora(tmp_path / "lora.safetensors", unet, text)
    other = write_lora(tmp_path / "other.safetensors", *make_networks(widths=(64, 96))[::2])
    for name, width in (("word", 64), ("long", 768)):
        save_file({"emb_params": torch.zeros(3, width)}, tmp_path / f"{name}.safetensors")
    paths = [str(path) for path in (lora, other, tmp_path / "word.safetensors", tmp_path / "long.safetensors", model)]

    assert main(["inspect", *paths, "--with", str(model), "--json"]) == 0
    found = {Path(one["path"]).stem: one for one in map(json.loads, capsys.readouterr().out.splitlines())}

    assert re.fullmatch(r"(\d+) of \1 in text_encoder, (\d+) of \2 in unet fit", found["lora"]["fits"])
    assert found["word"]["fits"] == "3 vectors in text_encoder fit"
    assert "is not made for this model" in found["other"]["problem"]
    assert "its vectors are 768 numbers long and this model's are 64" in found["long"]["problem"]
    assert [found[name]["loads"] for name in ("lora", "word", "m", "other", "long")] == [True] * 3 + [False] * 2
    assert main(["inspect", str(lora), "--with", str(model)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split()[0] == "fits"
    assert main(["inspect", str(model), "--with", str(model)]) == 2
    assert "none is given" in capsys.readouterr().err


@pytest.mark.parametrize("make", [make_sd2, make_sdxl, make_refiner, make_sd3])
def test_a_skeleton_of_any_family_has_its_layers(make: Callable[[], Model], tmp_path: Path) -> None:
    model = make()
    networks = fitting.skeleton(write_file(tmp_path / "m.safetensors", model))

    assert networks.unet.state_dict().keys() == model.unet.state_dict().keys()
    assert all(tensor.is_meta for tensor in networks.unet.parameters())
