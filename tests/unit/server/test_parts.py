"""LoRAs, embeddings, autoencoders and upscalers, told by their headers."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from fastapi.testclient import TestClient
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parents[2]))
from upscalers import write_plain

from sfumato.server.access import Access
from sfumato.server.application import create
from sfumato.server.services import Services

LORA = {"lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight": torch.zeros(4, 768)}


def _write(path: Path, tensors: Mapping[str, torch.Tensor]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(dict(tensors), path)
    return path


@pytest.fixture
def parts(services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """What the server says of each file, by place and name."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    lora, broken = _write(tmp_path / "zorb.safetensors", LORA), tmp_path / "broken.safetensors"
    broken.write_bytes(lora.read_bytes()[:-1])
    vae = _write(tmp_path / "vae.safetensors", {"decoder.conv_in.weight": torch.zeros(8, 4, 3, 3)})
    word = _write(tmp_path / "word.safetensors", {"emb_params": torch.zeros(2, 768)})
    foreign = _write(tmp_path / "foreign.safetensors", {"layers.0.weight": torch.zeros(3, 3)})
    given = replace(
        services,
        loras=lambda: {"zorb": lora, "broken": broken, "vae": vae, "gone": tmp_path / "gone.safetensors"},
        embeddings=lambda: {"word": word, "foreign": foreign},
        vaes=lambda: {"vae": vae, "zorb": lora},
        upscalers=lambda: {"plain": write_plain(tmp_path / "up"), "foreign": foreign, "broken": broken},
    )
    with TestClient(create(given, Access()), base_url="http://localhost:7860") as client:
        answer = client.get("/api/v1/parts")
    assert answer.status_code == 200
    return {place: {each["name"]: each for each in found} for place, found in answer.json().items()}


def test_each_says_what_it_is(parts: dict[str, dict[str, Any]]) -> None:
    assert list(parts) == ["loras", "embeddings", "vaes", "upscalers"]
    zorb, word = parts["loras"]["zorb"], parts["embeddings"]["word"]
    assert (zorb["kind"], zorb["variant"], zorb["family"], zorb["problem"]) == ("lora", "LoRA", "sd1", "")
    assert zorb["bytes"] > 4 * 4 * 768
    assert (word["kind"], word["family"], word["problem"]) == ("embedding", "sd1", "")
    assert (parts["vaes"]["vae"]["kind"], parts["vaes"]["vae"]["problem"]) == ("vae", "")
    assert (parts["upscalers"]["plain"]["kind"], parts["upscalers"]["plain"]["problem"]) == ("upscaler", "")


def test_one_that_can_not_be_used_says_why(parts: dict[str, dict[str, Any]]) -> None:
    assert list(parts["loras"]) == ["broken", "vae", "zorb"]
    assert "bytes" in parts["loras"]["broken"]["problem"]
    assert parts["upscalers"]["broken"]["problem"] == parts["loras"]["broken"]["problem"]
    assert parts["loras"]["vae"]["problem"] == "a vae, not one of these; it belongs into the folder vae"
    assert parts["vaes"]["zorb"]["problem"] == "a lora, not one of these; it belongs into the folder loras"
    assert "layers.0.weight" in parts["embeddings"]["foreign"]["problem"]


def test_an_upscaler_of_another_kind_says_what_reads_it(parts: dict[str, dict[str, Any]]) -> None:
    foreign = parts["upscalers"]["foreign"]
    assert (foreign["problem"], "spandrel" in foreign["note"]) == ("", True)
