"""A file's family is told from its names alone, and a file of none is told what it looks like."""

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).parents[2]))
from checkpoints import make_networks, write_folder, write_ldm
from family_models import make_refiner, make_sd2, make_sdxl, write_file

from sfumato.errors import CheckpointError
from sfumato.families import registry

F32, CPU = torch.float32, torch.device("cpu")


@pytest.fixture(scope="module")
def networks():
    return make_networks(widths=(16, 32), vae=(16, 16), context=32, text_layers=1)


@pytest.fixture
def path(tmp_path, networks):
    return write_ldm(tmp_path / "m.safetensors", *networks)


def test_a_file_and_a_folder_of_stable_diffusion_1(tmp_path, path, networks):
    folder = write_folder(tmp_path / "m", *networks)

    name, header = registry.identify(path)
    folder_name, folder_header = registry.identify(folder)

    assert name == folder_name == "sd1"
    assert header.tensors.keys() == load_file(path).keys()
    assert folder_header.tensors.keys() == networks[0].state_dict().keys()


def test_every_family_loads_what_it_knows(tmp_path, path, networks):
    for model in (path, write_folder(tmp_path / "m", *networks)):
        loaded = registry.load(model, F32, F32, CPU)
        torch.testing.assert_close(loaded.unet.conv_in.weight, networks[0].conv_in.weight, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight", "a LoRA"),
        ("unet.down_blocks.0.attentions.0.to_q.lora.up.weight", "a LoRA"),
        ("unet.down_blocks.0.attentions.0.to_q.lora_A.weight", "a LoRA"),
        ("lora_unet_mid.hada_w1_a", "a LoRA"),
        ("control_model.input_hint_block.0.weight", "a ControlNet"),
        ("conditioner.embedders.1.model.ln_final.weight", "a part of Stable Diffusion XL"),
        ("cond_stage_model.model.ln_final.weight", "a part of Stable Diffusion 2"),
        ("model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight", "Stable Diffusion 3"),
        ("double_blocks.0.img_attn.qkv.weight", "Flux"),
        ("down_blocks.0.resnets.0.conv1.weight", "one part of a diffusers folder"),
        ("text_model.embeddings.token_embedding.weight", "one part of a diffusers folder"),
        ("model.diffusion_model.input_blocks.0.0.weight", "lacks its text encoder"),
        ("decoder.conv_in.weight", "an autoencoder alone"),
        ("emb_params", "an embedding"),
    ],
)
def test_a_file_of_another_kind_is_told_what_it_is(tmp_path, name, what):
    save_file({name: torch.zeros(2)}, tmp_path / "x.safetensors")

    message = rf"x\.safetensors: of no family that is known \(it looks like .*{what}.*\); nearest: sd\S+, of whose"
    for read in (registry.identify, lambda path: registry.load(path, F32, F32, CPU)):
        with pytest.raises(CheckpointError, match=message) as caught:
            read(tmp_path / "x.safetensors")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("tensors", [{}, {"net.0.weight": torch.zeros(2)}])
def test_a_file_of_no_kind_names_the_nearest_and_what_it_lacks(tmp_path, tensors):
    save_file(tensors, tmp_path / "x.safetensors")

    message = r"of no family that is known; nearest: sd1, of whose 6 marks 6 are missing: model\.diffusion_model"
    with pytest.raises(CheckpointError, match=message):
        registry.identify(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    ("make", "family", "gone"),
    [
        (make_sd2, "sd2", "first_stage_model."),
        (make_sdxl, "sdxl", "first_stage_model."),
        (make_sdxl, "sdxl", "cond"),
        (make_refiner, "sdxl-refiner", "first_stage_model."),
    ],
)
def test_a_file_without_a_part_names_its_family_and_what_it_lacks(tmp_path, make, family, gone):
    path = write_file(tmp_path / "m.safetensors", make())
    save_file({n: t for n, t in load_file(path).items() if not n.startswith(gone)}, path)

    with pytest.raises(CheckpointError, match=rf"nearest: {family}, of whose [78] marks 2 are missing: .*{gone}"):
        registry.identify(path)


@pytest.mark.parametrize(("name", "content"), [("cut.safetensors", b"\x08"), ("page.safetensors", b"<!doctype>")])
def test_damage_is_told_before_the_family(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)

    with pytest.raises(CheckpointError, match=f"{name}: .*not a (whole )?safetensors file"):
        registry.identify(tmp_path / name)


def test_a_folder_that_is_no_model(tmp_path):
    with pytest.raises(CheckpointError, match=r"no model_index\.json"):
        registry.identify(tmp_path)
