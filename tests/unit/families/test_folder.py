"""Diffusers folders come back as diffusers itself reads them, whatever their configuration files say."""

import copy
import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderTiny, DDIMScheduler, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel

sys.path.insert(0, str(Path(__file__).parents[2]))
from checkpoints import make_networks, write_folder

from sfumato.errors import CheckpointError
from sfumato.families import sd1, tokens

CPU = torch.device("cpu")


def _load(path, dtype=torch.float32):
    return sd1.load(path, dtype, dtype, CPU)


def _assert_same(loaded, unet, coder, text):
    for ours, theirs in ((loaded.unet, unet), (loaded.vae, coder), (loaded.text_encoder, text)):
        actual, expected = ours.state_dict(), theirs.state_dict()
        assert actual.keys() == expected.keys()
        for name, tensor in expected.items():
            torch.testing.assert_close(actual[name], tensor, rtol=0, atol=0)
    for ours, theirs in ((loaded.unet, unet), (loaded.vae, coder)):
        assert _plain(ours.config) == _plain(theirs.config)


def _plain(config):
    """As it is after a file: lists for tuples, and nothing of diffusers' own notes."""
    return json.loads(json.dumps({key: value for key, value in config.items() if not key.startswith("_")}))


@torch.no_grad()
def _assert_same_outputs(loaded, unet, coder, text, side=8):
    """To the last bit, for the same classes compute with the same weights; in copies, as mapped ones lie unaligned."""
    ours = [copy.deepcopy(model) for model in (loaded.unet, loaded.vae, loaded.text_encoder)]
    torch.manual_seed(2)
    x = torch.randn(2, unet.config.in_channels, side, side)
    ids = torch.randint(0, text.config.vocab_size, (2, 77))
    words = text(ids).last_hidden_state
    pairs = (
        (ours[2](ids).last_hidden_state, words),
        (ours[0](x, 5, words).sample, unet(x, 5, words).sample),
        (ours[1].decode(x).sample, coder.decode(x).sample),
    )
    for actual, expected in pairs:
        torch.testing.assert_close(actual, expected, rtol=0, atol=0)


WORDS = ["a", "b", ",", "a</w>", "b</w>", ",</w>", "ab</w>", tokens.BOS, tokens.EOS]


def _write_vocabulary(folder):
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(WORDS)}))
    (folder / "merges.txt").write_text("#version: 0.2\na b</w>\n")


def _universe():
    """Networks of the built-in model's kind, tiny: a deep small autoencoder, words added to time, few tokens."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=4, in_channels=12, out_channels=12, block_out_channels=(32, 64), layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=64, attention_head_dim=4, norm_num_groups=16, resnet_time_scale_shift="scale_shift",
        addition_embed_type="text", addition_embed_type_num_heads=4,
    )  # fmt: skip
    coder = AutoencoderTiny(
        latent_channels=12, encoder_block_out_channels=(8,) * 5, decoder_block_out_channels=(8,) * 5,
        num_encoder_blocks=(0, 0, 1, 1, 1), num_decoder_blocks=(1, 1, 1, 0, 0),
    )  # fmt: skip
    count = len(WORDS)
    config = CLIPTextConfig(
        vocab_size=count, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        projection_dim=64, bos_token_id=count - 2, eos_token_id=count - 1, pad_token_id=count - 1,
    )  # fmt: skip
    return unet.eval(), coder.eval(), CLIPTextModel(config).eval()


def test_a_model_of_the_built_in_ones_kind(tmp_path):
    networks = _universe()
    path = write_folder(tmp_path / "m", *networks, prediction="v_prediction")
    _write_vocabulary(path / "tokenizer")

    loaded = _load(path)

    _assert_same(loaded, *networks)
    _assert_same_outputs(loaded, *networks)
    spec = loaded.spec
    assert (spec.prediction, spec.latent_channels, spec.latent_factor) == ("v_prediction", 12, 16)
    assert (spec.scaling_factor, spec.shift_factor, spec.native_size) == (1.0, 0.0, (64, 64))
    assert loaded.tokenizer.ids("ab, b") == [6, 5, 4]


@pytest.fixture(scope="module")
def networks():
    return make_networks()


@pytest.fixture(scope="module")
def original(tmp_path_factory, networks):
    return write_folder(tmp_path_factory.mktemp("models") / "m", *networks)


@pytest.fixture
def path(tmp_path, original):
    return Path(shutil.copytree(original, tmp_path / "m"))


def _change(path, part, **changes):
    """The model with some values of one configuration changed."""
    file = path / part / ("scheduler_config.json" if part == "scheduler" else "config.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return path


def _rename(path, old_to_new):
    """The weights file with each old piece of a name replaced."""
    renamed = {}
    for name, tensor in load_file(path).items():
        for old, new in old_to_new.items():
            name = name.replace(old, new)
        renamed[name] = tensor
    save_file(renamed, path)


@pytest.mark.parametrize("shape", [{}, {"widths": (32, 64, 64), "layers": 2, "depth": 2, "vae": (32, 32, 64)}])
def test_a_folder_comes_back(tmp_path, shape):
    networks = make_networks(**shape)

    loaded = _load(write_folder(tmp_path / "m", *networks, prediction="v_prediction"))

    _assert_same(loaded, *networks)
    _assert_same_outputs(loaded, *networks)
    assert loaded.spec.prediction == "v_prediction"
    assert loaded.spec.scaling_factor == 0.18215


def test_weights_in_half_precision_are_found(tmp_path, networks):
    unet, coder, _ = networks
    path = write_folder(tmp_path / "m", *networks)
    for part, model in (("unet", unet), ("vae", coder)):
        (path / part / "diffusion_pytorch_model.safetensors").unlink()
        half = {name: tensor.half() for name, tensor in model.state_dict().items()}
        save_file(half, path / part / "diffusion_pytorch_model.fp16.safetensors")

    loaded = _load(path, torch.float16)

    torch.testing.assert_close(loaded.unet.conv_in.weight, unet.conv_in.weight.half(), rtol=0, atol=0)
    assert loaded.vae.dtype == loaded.text_encoder.dtype == torch.float16


def test_attention_names_of_the_published_autoencoder(path, networks):
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    file = path / "vae" / "diffusion_pytorch_model.safetensors"
    _rename(file, old)
    theirs = AutoencoderKL.from_pretrained(path / "vae", local_files_only=True)

    loaded = _load(path)

    assert any(".query." in name for name in load_file(file))
    _assert_same(loaded, networks[0], theirs, networks[2])


@pytest.mark.parametrize("prefixed", [True, False])
def test_the_text_encoders_names_with_and_without_a_prefix(path, networks, prefixed):
    file = path / "text_encoder" / "model.safetensors"
    bare = {name.removeprefix("text_model."): tensor for name, tensor in load_file(file).items()}
    bare["embeddings.position_ids"] = torch.arange(77)[None]
    save_file({("text_model." if prefixed else "") + name: tensor for name, tensor in bare.items()}, file)

    _assert_same(_load(path), *networks)


def test_the_published_text_encoders_configuration(path, networks):
    published = {
        "_name_or_path": "openai/clip-vit-large-patch14", "architectures": ["CLIPTextModel"], "bos_token_id": 0,
        "dropout": 0.0, "eos_token_id": 2, "pad_token_id": 1, "torch_dtype": "float32",
        "transformers_version": "4.22.0.dev0", "model_type": "clip_text_model", "hidden_act": "quick_gelu",
    }  # fmt: skip

    loaded = _load(_change(path, "text_encoder", **published))

    _assert_same(loaded, *networks)
    _assert_same_outputs(loaded, *networks)


def test_the_scheduler_says_how_noise_was_added(path):
    DDIMScheduler(beta_start=0.0001, beta_end=0.02, beta_schedule="linear", num_train_timesteps=500).save_pretrained(
        path / "scheduler"
    )

    assert _load(path).spec.betas == (0.0001, 0.02, "linear", 500)


@pytest.mark.parametrize(("size", "native"), [(None, (128, 128)), (8, (16, 16)), ([8, 16], (32, 16))])
def test_native_size_is_width_and_height(path, size, native):
    assert _load(_change(path, "unet", sample_size=size)).spec.native_size == native


def test_the_autoencoder_says_how_latents_are_scaled(path):
    spec = _load(_change(path, "vae", scaling_factor=0.5, shift_factor=0.1)).spec

    assert (spec.scaling_factor, spec.shift_factor) == (0.5, 0.1)


@pytest.mark.parametrize(
    ("part", "changes", "message"),
    [
        ("unet", {"_class_name": "UNet3DConditionModel"}, "unet: a UNet3DConditionModel is of no family"),
        ("unet", {"cross_attention_dim": 32}, r"unet: .*attn2.* is \(32, 64\), not \(32, 32\)"),
        ("unet", {"block_out_channels": "x"}, "unet: no network can be built from its configuration"),
        ("unet", {"attention_head_dim": 0}, "unet: no network can be built from its configuration"),
        ("unet", {"time_embedding_type": "x"}, "unet: no network can be built.*fourier"),
        ("unet", {"layers_per_block": 2}, "unet: tensors do not match: 96 missing for UNet2DConditionModel, such as"),
        ("vae", {"_class_name": "VQModel"}, "vae: a VQModel is of no family"),
        ("vae", {"latent_channels": 8}, r"vae: .*conv_out\.weight is"),
        ("text_encoder", {"model_type": "bert"}, "text_encoder: a bert is of no family"),
        ("text_encoder", {"num_attention_heads": 3}, "text_encoder: no network can be built"),
        ("text_encoder", {"hidden_act": "nope"}, "text_encoder: no network can be built"),
        ("text_encoder", {"num_hidden_layers": 1}, "text_encoder: tensors do not match: 16 unknown"),
        ("scheduler", {"prediction_type": "v-prediction"}, "prediction_type 'v-prediction' is not known; nearest: 'v"),
        ("scheduler", {"beta_schedule": "sigmoid"}, "beta_schedule 'sigmoid' is not known"),
        ("scheduler", {"beta_end": "much"}, "beta_end is 'much', not a number above 0"),
        ("scheduler", {"use_dynamic_shifting": True}, "use_dynamic_shifting: a model with a shift by size"),
        ("scheduler", {"trained_betas": [0.1, 0.2]}, "trained_betas: a model with noise levels of its own"),
    ],
)  # fmt: skip
def test_a_configuration_that_does_not_fit_is_named_in_one_line(path, part, changes, message):
    with pytest.raises(CheckpointError, match=message) as caught:
        _load(_change(path, part, **changes))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"time_cond_proj_dim": 16}, "time_cond_proj_dim is 16"),
        ({"class_embed_type": "timestep"}, "class_embed_type is 'timestep'"),
    ],
)
def test_a_unet_that_wants_more_than_words_is_refused(path, networks, changes, message):
    unet = UNet2DConditionModel.from_config(_plain(networks[0].config) | changes)
    shutil.rmtree(path / "unet")
    unet.save_pretrained(path / "unet")

    with pytest.raises(CheckpointError, match=message):
        _load(path)


@pytest.mark.parametrize(
    ("name", "channels", "beside"),
    [("StableDiffusionInpaintPipeline", 9, "inpaint"), ("StableDiffusionInstructPix2PixPipeline", 8, "edit")],
)
def test_a_unet_that_takes_more_than_the_latent(tmp_path, networks, name, channels, beside):
    unet = UNet2DConditionModel(**{**networks[0].config, "in_channels": channels}).eval()
    path = write_folder(tmp_path / "m", unet, *networks[1:])
    (path / "model_index.json").write_text(json.dumps({"_class_name": name}))

    loaded = _load(path)

    assert (loaded.spec.beside, loaded.spec.latent_channels) == (beside, 4)
    _assert_same(loaded, unet, *networks[1:])


@pytest.mark.parametrize("name", ["StableVideoDiffusionPipeline", "FluxPipeline"])
def test_a_folder_of_another_family(path, name):
    (path / "model_index.json").write_text(json.dumps({"_class_name": name}))

    with pytest.raises(CheckpointError, match=rf"its model_index\.json names {name}; nearest: sd1"):
        _load(path)


@pytest.mark.parametrize("text", ["", "{", "[]", "3"])
@pytest.mark.parametrize("file", ["model_index.json", "unet/config.json", "scheduler/scheduler_config.json"])
def test_a_damaged_configuration_is_named(path, file, text):
    (path / file).write_text(text)

    with pytest.raises(CheckpointError, match=f"{file}: .*download it again"):
        _load(path)


@pytest.mark.parametrize(
    "file", ["unet/config.json", "vae/config.json", "text_encoder/config.json", "scheduler/scheduler_config.json"]
)
def test_a_missing_configuration_is_named(path, file):
    (path / file).unlink()

    with pytest.raises(CheckpointError, match=f"{file}: is missing; a diffusers model needs it"):
        _load(path)


def test_a_folder_that_is_not_a_model(tmp_path):
    with pytest.raises(CheckpointError, match=r"not a diffusers model: it has no model_index\.json; give"):
        _load(tmp_path)


def test_weights_that_are_missing_or_cut_are_named(path):
    file = path / "unet" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"unet.diffusion_pytorch_model\.safetensors: not a whole"):
        _load(path)
    file.unlink()
    with pytest.raises(CheckpointError, match=r"unet: no diffusion_pytorch_model\.safetensors"):
        _load(path)


def test_a_small_vocabulary_needs_the_models_own_tokenizer(tmp_path):
    path = write_folder(tmp_path / "m", *make_networks(vocabulary=512))

    with pytest.raises(CheckpointError, match=r"49408 tokens and its text encoder 512; the model's own vocab\.json"):
        _load(path)


def test_a_folder_may_recommend_its_guidance(tmp_path):
    path = write_folder(tmp_path / "m", *make_networks(seed=1))
    assert _load(path).spec.cfg_scale == 7

    (path / "recommended.json").write_text('{"cfg_scale": 3}')
    assert _load(path).spec.cfg_scale == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"cfg_scale": "much"}', "cfg_scale is 'much', not a number from 0 to 100"),
        ('{"class_cfg_scale": true}', "class_cfg_scale is True, not a number"),
        ('{"class_prompts": "a cat"}', "class_prompts is 'a cat', not a list of texts"),
        ('{"lora": []}', "lora is \\[\\], not an object"),
        ('{"lora": {"alpha_per_rank": "8"}}', "alpha_per_rank is '8', not a number"),
        ('{"lora": {"train_text_encoder": "no"}}', "train_text_encoder is 'no', not true or false"),
    ],
)
def test_a_recommendation_of_another_kind_is_named(tmp_path, text, message):
    path = write_folder(tmp_path / "m", *make_networks(seed=1))
    (path / "recommended.json").write_text(text)
    with pytest.raises(CheckpointError, match=message):
        _load(path)
