"""Every family loads the same from every kind of file, and what is said of its prediction goes along."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGUFReader
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).parents[2]))
from checkpoints import make_networks, write_folder
from family_models import assert_same, make_refiner, make_sd2, make_sd3, make_sdxl, pipeline, write_file

from sfumato import Studio, Txt2ImgRequest
from sfumato.cli import quantize_main
from sfumato.families import registry
from sfumato.families.text import read
from sfumato.weights.survey import survey

CPU, F32 = torch.device("cpu"), torch.float32
MAKERS = [make_sd2, make_sdxl, make_refiner, make_sd3]


def _load(path):
    return registry.load(path, F32, F32, CPU)


@pytest.mark.parametrize("make", MAKERS)
def test_a_ckpt_is_the_same_model(tmp_path, make):
    model = make()
    tensors = load_file(write_file(tmp_path / "m.safetensors", model))
    torch.save({"state_dict": tensors | {"model_ema.decay": torch.ones(())}, "global_step": 7}, tmp_path / "m.ckpt")

    assert_same(_load(tmp_path / "m.ckpt"), model)


@torch.no_grad()
@pytest.mark.parametrize("make", MAKERS)
def test_a_gguf_answers_the_same_and_says_what_it_is(tmp_path, make):
    model = make(seed=2)
    plain = _load(write_file(tmp_path / "m.safetensors", model, {"modelspec.prediction_type": "v"}))

    flags = ["--model_path", str(tmp_path / "m.safetensors"), "--output_path", str(tmp_path / "m.gguf")]
    assert quantize_main([*flags, "--type", "f16"]) == 0
    packed = _load(tmp_path / "m.gguf")

    assert packed.spec == plain.spec
    architecture = GGUFReader(tmp_path / "m.gguf").get_field("general.architecture")
    wanted = {"sd2": "sd1", "sdxl-refiner": "sdxl"}.get(model.family, model.family)
    assert bytes(architecture.parts[-1]).decode() == wanted
    torch.manual_seed(0)
    x, t = torch.randn(1, plain.spec.latent_channels, 8, 8), torch.tensor([500.0])
    answers = [one.predict(x, t, read(one, (("a red cat", 1.0),))) for one in (plain, packed)]
    assert (answers[0] - answers[1]).abs().max() < 0.02 * answers[0].std()


@pytest.mark.parametrize("make", [make_sd2, make_sdxl, make_sd3])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_a_folder_that_ldms_layout_has_no_words_for_is_one_file_all_the_same(tmp_path, make):
    model = make()
    pipeline(model, tmp_path / "t").save_pretrained(tmp_path / "m")
    (tmp_path / "m" / "recommended.json").write_text('{"cfg_scale": 3.5}')
    flags = ["--model_path", str(tmp_path / "m"), "--output_path", str(tmp_path / "m.gguf"), "--type", "f32"]

    assert quantize_main(flags) == 0

    whole, packed = _load(tmp_path / "m"), _load(tmp_path / "m.gguf")
    assert packed.spec == whole.spec
    assert packed.spec.cfg_scale == 3.5
    assert packed.tokenizer.ids("a red apple") == whole.tokenizer.ids("a red apple")
    assert vars(packed.conditioner) == vars(whole.conditioner)
    assert_same(packed, model)
    assert survey(tmp_path / "m.gguf").family == survey(tmp_path / "m").family


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_such_a_file_goes_back_to_a_plain_one(tmp_path):
    model = make_sdxl()
    pipeline(model, tmp_path / "t").save_pretrained(tmp_path / "m")
    gguf, plain = str(tmp_path / "m.gguf"), str(tmp_path / "m.safetensors")
    assert quantize_main(["--model_path", str(tmp_path / "m"), "--output_path", gguf, "--type", "f16"]) == 0

    assert quantize_main(["--model_path", gguf, "--output_path", plain, "--dequantize"]) == 0

    assert _load(tmp_path / "m.safetensors").spec == _load(tmp_path / "m").spec
    for name, tensor in model.unet.state_dict().items():
        torch.testing.assert_close(load_file(plain)[f"unet.{name}"], tensor.half(), rtol=0, atol=0)


@pytest.mark.parametrize(("part", "change"), [("unet", {"attention_head_dim": 4}), ("scheduler", {"beta_end": 0.02})])
def test_what_ldms_layout_can_not_say_is_not_lost(tmp_path, part, change):
    path = write_folder(tmp_path / "m", *make_networks())
    config = next((path / part).glob("*config.json"))
    config.write_text(json.dumps(json.loads(config.read_text()) | change))
    flags = ["--model_path", str(path), "--output_path", str(tmp_path / "m.gguf"), "--type", "f16"]

    assert quantize_main(flags) == 0

    whole, packed = _load(path), _load(tmp_path / "m.gguf")
    assert packed.spec == whole.spec
    assert dict(packed.unet.config) | {"_name_or_path": ""} == dict(whole.unet.config) | {"_name_or_path": ""}


def test_the_built_in_model_becomes_a_gguf_that_draws_nearly_the_same(tmp_path):
    flags = ["--model_path", "stable-universe", "--output_path", str(tmp_path / "small.gguf"), "--type", "q8_0"]
    assert quantize_main([*flags, "--layout", "compact"]) == 0

    request = Txt2ImgRequest(prompt="a red apple", seed=3, steps=2, width=64, height=64)
    whole, small = (Studio(name, models_folders=[tmp_path]) for name in ("stable-universe", "small"))
    pictures = [np.asarray(studio.generate(request).images[0], dtype=float) for studio in (whole, small)]

    assert np.abs(pictures[0] - pictures[1]).mean() < 8
    assert small.load().networks.spec == whole.load().networks.spec
