"""Stable Diffusion 3 comes back as it was, and its transformer is given what diffusers gives it."""

import sys
from pathlib import Path

import pytest
import torch
from diffusers.loaders.single_file_utils import convert_sd3_transformer_checkpoint_to_diffusers
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).parents[2]))
from family_models import assert_same, make_sd3, pipeline, write_file

from sfumato.engine.resolve import resolve
from sfumato.errors import CheckpointError, RequestError
from sfumato.families import registry
from sfumato.families.joint import JointWords
from sfumato.families.text import read
from sfumato.request import Txt2ImgRequest

SHAPES = [{}, {"layers": 3, "heads": 3, "context": 320, "twice": (0, 1), "normed": True}]
CPU, F32 = torch.device("cpu"), torch.float32


def _load(path):
    return registry.load(path, F32, F32, CPU)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_file_gives_the_hyperparameters_and_weights_of_what_it_was_made_of(tmp_path, shape):
    model = make_sd3(**shape)
    path = write_file(tmp_path / "m.safetensors", model)

    assert registry.identify(path)[0] == "sd3"
    loaded = _load(path)

    assert_same(loaded, model)
    spec = loaded.spec
    assert (spec.prediction, spec.latent_channels, spec.flow_shift, spec.size_multiple) == ("flow", 16, 3.0, 4)
    assert (spec.scaling_factor, spec.shift_factor, spec.native_size) == (1.5305, 0.0609, (256, 256))
    assert loaded.conditioner == JointWords(shape.get("context", 256))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_a_folder_is_read_as_diffusers_wrote_it(tmp_path):
    model = make_sd3(twice=(1,), normed=True)
    pipeline(model, tmp_path / "t").save_pretrained(tmp_path / "m")

    loaded = _load(tmp_path / "m")

    assert registry.identify(tmp_path / "m")[0] == loaded.spec.name == "sd3"
    assert_same(loaded, model)
    assert (loaded.spec.prediction, loaded.spec.flow_shift, loaded.spec.shift_factor) == ("flow", 3.0, 0.0609)


@pytest.mark.parametrize(
    ("stored", "held"), [(torch.float16, torch.float16), (F32, F32), (torch.float8_e4m3fn, torch.bfloat16)]
)
def test_the_table_of_positions_keeps_the_files_type(tmp_path, stored, held):
    path = write_file(tmp_path / "m.safetensors", make_sd3())
    tensors = {name: tensor.to(stored) for name, tensor in load_file(path).items()}
    save_file(tensors, path)

    unet = registry.load(path, torch.bfloat16, torch.bfloat16, CPU).unet

    positions = unet.pos_embed.pos_embed
    assert positions.dtype is held
    assert torch.equal(positions, tensors["model.diffusion_model.pos_embed"].to(held))
    assert {parameter.dtype for parameter in unet.parameters()} == {torch.bfloat16}
    x = torch.randn(1, 16, 8, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    assert unet.pos_embed(x).dtype is torch.bfloat16


@pytest.mark.parametrize("shape", SHAPES)
def test_names_are_those_of_diffusers_own_converter(tmp_path, shape):
    model = make_sd3(**shape)
    file = load_file(write_file(tmp_path / "m.safetensors", model))

    theirs = convert_sd3_transformer_checkpoint_to_diffusers(dict(file))

    assert theirs.keys() == model.unet.state_dict().keys()
    for name, tensor in model.unet.state_dict().items():
        torch.testing.assert_close(theirs[name], tensor, rtol=0, atol=0)


@torch.no_grad()
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_texts_are_those_of_diffusers(tmp_path):
    model = make_sd3(seed=4)
    loaded = _load(write_file(tmp_path / "m.safetensors", model))
    theirs = pipeline(model, tmp_path / "t").encode_prompt("a red cat", None, None, negative_prompt="rain, fog")

    wanted, negative = read(loaded, (("a red cat", 1.0),)), read(loaded, (("rain, fog", 1.0),), negative=True)

    assert wanted.context.shape == (1, 77 + 256, 256)
    for ours, expected in zip((wanted.context, negative.context, wanted.pooled, negative.pooled), theirs, strict=True):
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)


def test_t5_in_a_file_is_left_out(tmp_path):
    model = make_sd3()
    path = write_file(tmp_path / "m.safetensors", model)
    extras = {
        "text_encoders.t5xxl.transformer.shared.weight": torch.ones(4, 4),
        "text_encoders.t5xxl.logit_scale": torch.ones(()),
    }
    save_file(load_file(path) | extras, path)

    assert_same(_load(path), model)


def test_a_file_without_text_encoders_is_told_what_it_lacks(tmp_path):
    path = write_file(tmp_path / "m.safetensors", make_sd3())
    save_file({n: t for n, t in load_file(path).items() if not n.startswith("text")}, path)

    with pytest.raises(CheckpointError, match=r"give --text_encoder FILE,FILE .*; nearest: sd3, of whose 8 marks 2"):
        _load(path)


def test_sizes_are_whole_patches_and_automatic_is_an_even_schedule(tmp_path):
    spec = _load(write_file(tmp_path / "m.safetensors", make_sd3())).spec

    with pytest.raises(RequestError, match="width is 66 pixels, not a multiple of 4"):
        resolve(Txt2ImgRequest(prompt="a", width=66, height=64), spec)
    job = resolve(Txt2ImgRequest(prompt="a", width=68, height=64), spec)
    assert (job.sampler.sampler, job.sampler.scheduler) == ("dpmpp_2m", "uniform")
    assert resolve(Txt2ImgRequest(prompt="a", scheduler="karras"), spec).sampler.scheduler == "karras"
