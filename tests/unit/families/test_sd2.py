"""Stable Diffusion 2 comes back from a file as it was; what it predicts is found wherever it is said, or measured."""

import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_open_clip_checkpoint
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).parents[2]))
from family_models import assert_same, make_sd2, pipeline, write_file

from sfumato.errors import CheckpointError
from sfumato.families import prediction, registry
from sfumato.families.text import read
from sfumato.sampling.noise_schedule import NoiseSchedule

SHAPES = [{}, {"widths": (64, 64, 128), "layers": 2, "context": 128}, {"widths": (128, 192), "depth": 2}]
CPU, F32 = torch.device("cpu"), torch.float32


def _load(path):
    return registry.load(path, F32, F32, CPU)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_file_gives_the_hyperparameters_and_weights_of_what_it_was_made_of(tmp_path, shape):
    model = make_sd2(**shape)
    path = write_file(tmp_path / "m.safetensors", model, {"modelspec.prediction_type": "epsilon"})

    assert registry.identify(path)[0] == "sd2"
    loaded = _load(path)

    assert_same(loaded, model)
    assert (loaded.spec.name, loaded.tokenizer.pad, loaded.tokenizer.eos) == ("sd2", 0, 49407)


def test_names_are_those_of_diffusers_own_converters(tmp_path):
    model = make_sd2()
    file = load_file(write_file(tmp_path / "m.safetensors", model))

    unet = convert_ldm_unet_checkpoint(dict(file), dict(model.unet.config))
    text = convert_open_clip_checkpoint(model.text_encoder, dict(file), prefix="cond_stage_model.model.")

    for theirs, network in ((unet, model.unet), (text, model.text_encoder)):
        for name, tensor in network.state_dict().items():
            torch.testing.assert_close(theirs[name if name in theirs else f"text_model.{name}"], tensor, rtol=0, atol=0)


@pytest.mark.parametrize("said", ["epsilon", "v_prediction"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_a_folder_is_read_as_diffusers_wrote_it(tmp_path, said):
    model = make_sd2()
    pipeline(model, tmp_path / "t", said).save_pretrained(tmp_path / "m")

    assert registry.identify(tmp_path / "m")[0] == "sd2"
    loaded = _load(tmp_path / "m")

    assert_same(loaded, model)
    assert (loaded.spec.name, loaded.spec.prediction, loaded.tokenizer.pad) == ("sd2", said, 0)


@torch.no_grad()
def test_clip_skip_changes_nothing_as_in_the_web_ui(tmp_path):
    loaded = _load(write_file(tmp_path / "m.safetensors", make_sd2()))

    one, two = (read(loaded, (("a cat", 1.0),), skip).context for skip in (1, 2))

    assert torch.equal(one, two)


YAML = "model:\n  params:\n    {}\n"
SGM = YAML.format("denoiser_config: {{params: {{scaling_config: {{target: sgm.modules.diffusionmodules.{}}}}}}}")


@pytest.mark.parametrize(
    ("metadata", "yaml", "expected"),
    [
        ({"modelspec.prediction_type": "v"}, None, "v_prediction"),
        ({"modelspec.prediction_type": "epsilon"}, YAML.format("parameterization: v"), "epsilon"),
        (None, YAML.format('parameterization: "v"'), "v_prediction"),
        (None, YAML.format("linear_start: 0.00085"), "epsilon"),
        (None, SGM.format("denoiser_scaling.VScaling"), "v_prediction"),
        (None, SGM.format("denoiser_scaling.EpsScaling"), "epsilon"),
    ],
)
def test_what_is_said_of_the_prediction_is_believed(tmp_path, metadata, yaml, expected, monkeypatch):
    path = write_file(tmp_path / "m.safetensors", make_sd2(), metadata)
    if yaml:
        (tmp_path / "m.yaml").write_text(yaml)
    monkeypatch.setattr(prediction, "measured", lambda networks: pytest.fail("it is said"))

    spec = _load(path).spec

    assert spec.prediction == expected
    assert spec.native_size == {"epsilon": (128, 128), "v_prediction": (192, 192)}[expected]


def test_a_size_that_the_metadata_names(tmp_path):
    said = {"modelspec.prediction_type": "v", "modelspec.resolution": "96x160"}

    assert _load(write_file(tmp_path / "m.safetensors", make_sd2(), said)).spec.native_size == (96, 160)


@pytest.mark.parametrize("text", ["[", "model: {params: {parameterization: w}}"])
def test_a_damaged_yaml_is_named(tmp_path, text):
    path = write_file(tmp_path / "m.safetensors", make_sd2())
    (tmp_path / "m.yaml").write_text(text)

    with pytest.raises(CheckpointError, match=r"m\.yaml: (can't be read|parameterization is 'w')"):
        _load(path)


@pytest.mark.parametrize(("kind", "channels"), [("epsilon", 4), ("v_prediction", 4), ("epsilon", 9)])
def test_what_nothing_says_is_measured(tmp_path, kind, channels):
    """On UNets that were taught at the noisiest time: noise, or v of pictures that are smooth."""
    loaded = _load(write_file(tmp_path / "m.safetensors", make_sd2(widths=(64,), channels=channels)))
    _teach(loaded.unet, kind, channels - 4)

    assert prediction.measured(loaded) == kind


def _teach(unet, kind, more):
    torch.manual_seed(0)
    alpha = float(NoiseSchedule.from_betas().alphas_cumprod[-1]) ** 0.5
    for p in unet.parameters():
        p.requires_grad_(True)
    optimizer = torch.optim.AdamW(unet.parameters(), 2e-3)
    for _ in range(40):
        x0 = F.interpolate(torch.randn(4, 4, 2, 2), 8, mode="bicubic")
        noise = torch.randn(4, 4, 8, 8)
        x = alpha * x0 + (1 - alpha**2) ** 0.5 * noise
        goal = noise if kind == "epsilon" else alpha * noise - (1 - alpha**2) ** 0.5 * x0
        x = torch.cat([x, torch.zeros(4, more, 8, 8)], 1)
        answer = unet(x, torch.full((4,), 999.0), torch.zeros(4, 7, 64)).sample
        optimizer.zero_grad()
        F.mse_loss(answer, goal).backward()
        optimizer.step()


def test_tensors_that_do_not_belong_are_named(tmp_path):
    path = write_file(tmp_path / "m.safetensors", make_sd2())
    save_file(load_file(path) | {"model.diffusion_model.label_emb.0.0.weight": torch.ones(2, 2)}, path)

    with pytest.raises(CheckpointError, match=r"1 unknown for UNet2DConditionModel, such as add_embedding"):
        _load(path)
