"""A studio with LoRAs: the picture, its metadata, and nothing of a LoRA in pictures without it."""

import hashlib
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parents[2]))
from checkpoints import make_networks, write_ldm
from loras import write_lora

from sfumato import Studio, Txt2ImgRequest
from sfumato.errors import CheckpointError, RequestError
from sfumato.gallery import infotext

REQUEST = Txt2ImgRequest(prompt="a cat", width=32, height=32, steps=2, seed=5)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(a checkpoint, a models folder with the LoRAs fur and scales, and one of a kind that can't be used)."""
    folder, networks = tmp_path_factory.mktemp("m"), make_networks(seed=1)
    loras = folder / "models" / "loras"
    write_lora(loras / "fur.safetensors", networks[0], networks[2])
    write_lora(loras / "deep" / "scales.safetensors", networks[0], networks[2], "diffusers", seed=1)
    save_file({"lora_unet_x.hada_w1_a": torch.zeros(1)}, loras / "loha.safetensors")
    return write_ldm(folder / "tiny.safetensors", *networks), folder / "models"


@pytest.fixture
def studio(made):
    return Studio(made[0], device="cpu", precision="full", models_folders=[made[1]])


def _draw(studio, prompt="a cat", **changes):
    return studio.generate(replace(REQUEST, prompt=prompt, **changes)).images[0].tobytes()


@pytest.mark.parametrize("seed", [5, 6])
def test_a_lora_changes_the_picture_and_goes_without_a_trace(studio, seed):
    plain = _draw(studio, seed=seed)
    on = [_draw(studio, f"a cat{tags}", seed=seed) for tags in ("<lora:fur>", "<lora:fur:0.5>", "<lora:scales>")]

    assert len({plain, *on}) == 4
    assert _draw(studio, "<lyco:fur:1:1>a cat", seed=seed) == on[0]
    assert _draw(studio, negative_prompt="<lora:fur>", seed=seed) == on[0]
    assert _draw(studio, "a cat<lora:fur:0>", seed=seed) == _draw(studio, seed=seed) == plain


def test_the_text_encoders_strength_counts_for_words_that_were_read_before(studio):
    plain = _draw(studio)
    text, both = _draw(studio, "a cat<lora:fur:1:0>"), _draw(studio, "a cat<lora:fur:1:1>")

    assert len({plain, text, both, _draw(studio, "a cat<lora:fur:0:1>")}) == 4
    assert _draw(studio, "a cat<lora:fur:1:0>") == text


@pytest.mark.parametrize(
    ("tag", "error"),
    [("<lora:loha>", CheckpointError), ("<lora:furr>", RequestError), ("<lora:fur:much>", RequestError)],
)
def test_after_a_request_that_fails_pictures_are_as_before(studio, tag, error):
    plain, on = _draw(studio), _draw(studio, "a cat<lora:fur>")
    with pytest.raises(error, match=tag[6:9]):
        _draw(studio, f"a cat{tag}")

    assert _draw(studio) == plain
    assert _draw(studio, "a cat<lora:fur>") == on


def test_the_model_is_not_loaded_for_a_tag_that_is_wrong(studio, monkeypatch):
    monkeypatch.setattr(studio, "load", None)
    for tag in ("<lora:furr>", "<lora:fur:much>"):
        with pytest.raises(RequestError, match="<lora:fur"):
            _draw(studio, tag)


def test_a_file_that_was_replaced_is_read_again(made, tmp_path):
    networks = make_networks(seed=1)
    home = tmp_path / "Lora" / "mine.safetensors"
    studio = Studio(made[0], device="cpu", precision="full", models_folders=[tmp_path])
    seen = set()
    for seed in (0, 1):
        write_lora(home, networks[0], networks[2], seed=seed)
        info = studio.generate(replace(REQUEST, prompt="<lora:mine>")).infos[0]
        seen.add((info.extra["Lora hashes"], _draw(studio, "<lora:mine>")))

    assert len({hashes for hashes, _ in seen}) == len({pixels for _, pixels in seen}) == 2


def test_the_metadata_has_the_prompt_as_typed_and_the_hashes_of_the_web_ui(studio, made):
    prompt = "a <lora:fur:0.5> cat <lora:scales:1:0.2>"
    info = studio.generate(replace(REQUEST, prompt=prompt, negative_prompt="<lora:fur:-0.1> dog")).infos[0]
    digests = []
    for name in ("fur", "deep/scales"):
        content = (made[1] / "loras" / f"{name}.safetensors").read_bytes()
        digests.append(hashlib.sha256(content[8 + int.from_bytes(content[:8], "little") :]).hexdigest()[:12])

    assert (info.prompt, info.negative_prompt) == (prompt, "<lora:fur:-0.1> dog")
    text = infotext.write(info)
    assert f'Lora hashes: "fur: {digests[0]}, scales: {digests[1]}"' in text
    assert infotext.to_request(infotext.parse(text)).prompt == prompt
    assert "Lora hashes" not in studio.generate(REQUEST).infos[0].extra
