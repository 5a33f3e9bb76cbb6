"""Previews by a tiny decoder from the models folder."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parents[2]))
from checkpoints import make_networks, write_ldm

from sfumato import Studio, Txt2ImgRequest
from sfumato.engine import previews
from sfumato.families import models_folder

REQUEST = Txt2ImgRequest(prompt="a cat", seed=1, steps=2, width=320, height=64)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_ldm(tmp_path / "m.safetensors", *make_networks())
    (tmp_path / "vae_approx").mkdir()
    return tmp_path


@pytest.fixture
def tiny(folder: Path) -> AutoencoderTiny:
    torch.manual_seed(1)
    made = AutoencoderTiny(
        encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8), num_encoder_blocks=(1, 2),
        num_decoder_blocks=(2, 1),
    ).eval()  # fmt: skip
    decoder = {name: tensor for name, tensor in made.state_dict().items() if name.startswith("decoder.")}
    save_file(decoder, folder / "vae_approx" / "taesd_decoder.safetensors")
    return made


def _seen(studio: Studio, request: Txt2ImgRequest = REQUEST) -> tuple[list, object]:
    """The previews of each step, and the picture."""
    shown: list = []
    picture = studio.generate(request, lambda event: shown.append((event, event.preview()))).images[0]
    return shown, picture


@torch.inference_mode()
def test_a_tiny_decoder_makes_them_and_not_the_picture(folder: Path, tiny: AutoencoderTiny) -> None:
    with_tiny = Studio("m", device="cpu", precision="full", models_folders=[folder])
    without = Studio(folder / "m.safetensors", device="cpu", precision="full", models_folders=[])
    (shown, picture), (plain, same) = _seen(with_tiny), _seen(without)

    assert shown[-1][1].size == (previews.TINY_SIDE, 52)
    assert plain[-1][1].size == (previews.SIDE, 26)
    assert picture.tobytes() == same.tobytes()

    event, last = _seen(with_tiny, replace(REQUEST, width=64))[0][-1]
    pixels = tiny.decode(event.resume.latent).sample[0] / 2 + 0.5
    expected = pixels.clamp(0, 1).permute(1, 2, 0).numpy() * 255
    assert np.abs(np.asarray(last) - expected).max() < 1
    assert expected.std() > 0


def test_one_that_does_not_fit_is_left_out_with_a_warning(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "vae_approx" / "taesd.safetensors").write_bytes(b"no weights")
    shown, _ = _seen(Studio("m", device="cpu", precision="full", models_folders=[folder]))

    assert shown[-1][1].size == (previews.SIDE, 26)
    assert "previews are made by the model's own autoencoder" in caplog.text


def test_a_model_whose_own_autoencoder_is_tiny_asks_for_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "vae_approx").mkdir()
    (tmp_path / "vae_approx" / "taesd.safetensors").write_bytes(b"no weights")
    networks = Studio("stable-universe", device="cpu", precision="full", models_folders=[tmp_path]).load().networks

    assert networks.preview_vae is None
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("family", "file", "found"),
    [
        ("sdxl", "taesdxl_decoder.pth", True),
        ("sdxl-refiner", "TAESDXL.safetensors", True),
        ("sd2", "taesd_decoder.pt", True),
        ("sdxl", "taesd_decoder.pth", False),
        ("sd3", "taesd.safetensors", False),
    ],
)
def test_names_say_whose_latents_it_reads(tmp_path: Path, family: str, file: str, found: bool) -> None:
    (tmp_path / "vae_approx").mkdir()
    (tmp_path / "vae_approx" / file).touch()

    assert (models_folder.find_preview(family, [tmp_path]) is not None) is found
