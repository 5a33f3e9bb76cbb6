"""Models of several widths, written as an LDM file and as a folder, come back as they were."""

import json
import sys
from pathlib import Path

import pytest
import torch
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).parents[2]))
from checkpoints import make_networks, write_folder, write_ldm

from sfumato.errors import CheckpointError
from sfumato.families import sd1

SHAPES = [
    {},
    {"widths": (32, 64, 64), "layers": 2, "vae": (32, 32, 64)},
    {"widths": (16, 48), "context": 128, "depth": 2, "vae": (16, 32), "text_layers": 1},
]
CPU = torch.device("cpu")


def _load(path):
    return sd1.load(path, torch.float32, torch.float32, CPU)


def _assert_same(loaded, unet, coder, text):
    for ours, theirs in ((loaded.unet, unet), (loaded.vae, coder), (loaded.text_encoder, text)):
        actual, expected = ours.state_dict(), theirs.state_dict()
        assert actual.keys() == expected.keys()
        for name, tensor in expected.items():
            torch.testing.assert_close(actual[name], tensor, rtol=0, atol=0)


@pytest.mark.parametrize("shape", SHAPES)
def test_an_ldm_file_gives_the_hyperparameters_that_built_it(tmp_path, shape):
    networks = make_networks(**shape, vocabulary=512)

    loaded = _load(write_ldm(tmp_path / "m.safetensors", *networks))

    _assert_same(loaded, *networks)
    for key in ("block_out_channels", "layers_per_block", "cross_attention_dim", "down_block_types"):
        assert loaded.unet.config[key] == networks[0].config[key]
    assert loaded.spec.latent_factor == 2 ** (len(networks[1].config.block_out_channels) - 1)


@pytest.mark.parametrize("shape", SHAPES)
def test_names_are_those_of_diffusers_own_converter(tmp_path, shape):
    unet, coder, text = make_networks(**shape, vocabulary=512)
    file = load_file(write_ldm(tmp_path / "m.safetensors", unet, coder, text))

    their_unet = convert_ldm_unet_checkpoint(dict(file), dict(unet.config))
    their_vae = convert_ldm_vae_checkpoint(dict(file), dict(coder.config))

    for model, theirs in ((unet, their_unet), (coder, their_vae)):
        expected = model.state_dict()
        assert theirs.keys() == expected.keys()
        for name, tensor in theirs.items():
            torch.testing.assert_close(tensor.reshape(expected[name].shape), expected[name], rtol=0, atol=0)


def test_a_folder_comes_back(tmp_path):
    networks = make_networks(vocabulary=512)

    loaded = _load(write_folder(tmp_path / "m", *networks, prediction="v_prediction"))

    _assert_same(loaded, *networks)
    assert loaded.spec.prediction == "v_prediction"


def test_outputs_are_those_of_diffusers(tmp_path):
    unet, coder, text = make_networks(vocabulary=512)
    loaded = _load(write_ldm(tmp_path / "m.safetensors", unet, coder, text))
    x, ids = torch.randn(1, 4, 8, 8), torch.randint(0, 512, (1, 77))

    with torch.no_grad():
        words = text(ids).last_hidden_state
        torch.testing.assert_close(loaded.text_encoder(ids).last_hidden_state, words, rtol=0, atol=1e-5)
        torch.testing.assert_close(loaded.unet(x, 5, words).sample, unet(x, 5, words).sample, rtol=0, atol=1e-5)
        torch.testing.assert_close(loaded.vae.decode(x).sample, coder.decode(x).sample, rtol=0, atol=1e-5)


def test_weights_of_the_wished_type_are_mapped_and_not_copied(tmp_path):
    loaded = _load(write_ldm(tmp_path / "m.safetensors", *make_networks(vocabulary=512)))
    weights = list(loaded.unet.parameters())

    span = max(p.data_ptr() for p in weights) - min(p.data_ptr() for p in weights)
    total = sum(p.numel() * 4 for m in (loaded.unet, loaded.vae, loaded.text_encoder) for p in m.parameters())

    assert span <= total * 1.05


def test_the_oldest_text_names_load(tmp_path):
    networks = make_networks(vocabulary=512)
    path = write_ldm(tmp_path / "m.safetensors", *networks)
    old = {n.replace("transformer.text_model.", "transformer."): t for n, t in load_file(path).items()}
    old["cond_stage_model.transformer.embeddings.position_ids"] = torch.arange(77)[None]
    old["alphas_cumprod"] = torch.ones(1000)
    save_file(old, path)

    _assert_same(_load(path), *networks)


def test_unknown_family_names_the_nearest(tmp_path):
    save_file({"some.weight": torch.zeros(2)}, tmp_path / "m.safetensors")

    with pytest.raises(CheckpointError, match=r"nearest: sd1.*input_blocks\.0\.0"):
        _load(tmp_path / "m.safetensors")


def test_a_missing_and_an_extra_tensor_are_named(tmp_path):
    path = write_ldm(tmp_path / "m.safetensors", *make_networks(vocabulary=512))
    tensors = load_file(path)
    gone = tensors.pop("model.diffusion_model.time_embed.2.bias")
    save_file(tensors, path)
    with pytest.raises(CheckpointError, match=r"1 tensors are missing.*time_embedding\.linear_2\.bias"):
        _load(path)
    save_file(tensors | {"model.diffusion_model.time_embed.2.bias": gone, "control_model.x": gone.clone()}, path)
    with pytest.raises(CheckpointError, match=r"not part of sd1.*control_model\.x"):
        _load(path)


def test_a_folder_that_is_not_a_model(tmp_path):
    with pytest.raises(CheckpointError, match=r"model_index\.json"):
        _load(tmp_path)
    (tmp_path / "model_index.json").write_text(json.dumps({}))
    with pytest.raises(CheckpointError, match="missing"):
        _load(tmp_path)
