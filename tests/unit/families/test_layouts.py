"""Every family loads the same from every kind of file, and what is said of its prediction goes along."""

import sys
from pathlib import Path

import pytest
import torch
from gguf import GGUFReader
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).parents[2]))
from family_models import assert_same, make_refiner, make_sd2, make_sd3, make_sdxl, pipeline, write_file

from sfumato.cli import quantize_main
from sfumato.families import registry
from sfumato.families.text import read

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


@pytest.mark.parametrize("make", [make_sd2, make_sdxl])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_a_folder_that_can_be_no_single_file_is_refused(tmp_path, make, capsys):
    pipeline(make(), tmp_path / "t").save_pretrained(tmp_path / "m")

    assert quantize_main(["--model_path", str(tmp_path / "m"), "--output_path", str(tmp_path / "m.gguf")]) == 2

    assert "are not Stable Diffusion 1's, so they can't be one file" in capsys.readouterr().err
    assert not (tmp_path / "m.gguf").exists()
