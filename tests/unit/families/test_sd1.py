"""Models of several shapes, written as an LDM file, come back as they were: hyperparameters, weights and outputs."""

import copy
import sys
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).parents[2]))
from checkpoints import make_networks, write_ldm

from sfumato.errors import CheckpointError
from sfumato.families import sd1
from sfumato.families.configs import groups_of

SHAPES = [
    {},
    {"widths": (32, 64, 64), "layers": 2, "vae": (32, 32, 64)},
    {"widths": (16, 48), "context": 128, "depth": 2, "vae": (16, 32), "text_layers": 1},
    {"widths": (8, 8, 16, 24), "layers": 3, "context": 32, "vae": (16,)},
]
CPU = torch.device("cpu")
UNET_KEYS = (
    "block_out_channels", "layers_per_block", "cross_attention_dim", "down_block_types", "up_block_types",
    "transformer_layers_per_block", "attention_head_dim", "norm_num_groups", "in_channels", "out_channels",
    "use_linear_projection",
)  # fmt: skip
VAE_KEYS = (
    "block_out_channels", "layers_per_block", "latent_channels", "norm_num_groups", "scaling_factor",
    "down_block_types", "up_block_types",
)  # fmt: skip
TEXT_KEYS = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "hidden_act",
    "max_position_embeddings", "layer_norm_eps",
)  # fmt: skip


def _load(path, dtype=torch.float32):
    return sd1.load(path, dtype, dtype, CPU)


def _attending(*attention, linear=False):
    """A UNet with attention at these levels."""
    torch.manual_seed(1)
    widths = tuple(16 * (level + 1) for level in range(len(attention)))
    down = tuple("CrossAttnDownBlock2D" if attends else "DownBlock2D" for attends in attention)
    return UNet2DConditionModel(
        block_out_channels=widths, layers_per_block=1, cross_attention_dim=64, attention_head_dim=8, sample_size=64,
        norm_num_groups=groups_of(widths), down_block_types=down, use_linear_projection=linear,
        up_block_types=tuple(name.replace("Down", "Up") for name in reversed(down)),
    ).eval()  # fmt: skip


def _assert_same(loaded, unet, coder, text):
    for ours, theirs in ((loaded.unet, unet), (loaded.vae, coder), (loaded.text_encoder, text)):
        actual, expected = ours.state_dict(), theirs.state_dict()
        assert actual.keys() == expected.keys()
        for name, tensor in expected.items():
            torch.testing.assert_close(actual[name], tensor, rtol=0, atol=0)
    assert {key: loaded.unet.config[key] for key in UNET_KEYS} == {key: unet.config[key] for key in UNET_KEYS}
    assert {key: loaded.vae.config[key] for key in VAE_KEYS} == {key: coder.config[key] for key in VAE_KEYS}
    for key in TEXT_KEYS:
        assert getattr(loaded.text_encoder.config, key) == getattr(text.config, key), key


@torch.no_grad()
def _assert_same_outputs(loaded, unet, coder, text):
    """To the last bit, for the same classes compute with the same weights; in copies, as mapped ones lie unaligned.

    Both frozen, as torch multiplies otherwise, and may round otherwise, by a weight that learns.
    """
    unet, coder, text = (copy.deepcopy(model).requires_grad_(False) for model in (unet, coder, text))
    ours = [copy.deepcopy(model) for model in (loaded.unet, loaded.vae, loaded.text_encoder)]
    torch.manual_seed(2)
    x, ids = torch.randn(2, 4, 8, 8), torch.randint(0, text.config.vocab_size, (2, 77))
    words = text(ids).last_hidden_state
    pixels = torch.rand(1, 3, 16, 16) * 2 - 1
    pairs = (
        (ours[2](ids).last_hidden_state, words),
        (ours[0](x, 5, words).sample, unet(x, 5, words).sample),
        (ours[1].decode(x).sample, coder.decode(x).sample),
        (ours[1].encode(pixels).latent_dist.mean, coder.encode(pixels).latent_dist.mean),
    )
    for actual, expected in pairs:
        torch.testing.assert_close(actual, expected, rtol=0, atol=0)


@pytest.mark.parametrize("shape", SHAPES)
def test_an_ldm_file_gives_the_hyperparameters_and_outputs_of_what_it_was_made_of(tmp_path, shape):
    networks = make_networks(**shape)

    loaded = _load(write_ldm(tmp_path / "m.safetensors", *networks))

    _assert_same(loaded, *networks)
    _assert_same_outputs(loaded, *networks)
    factor = 2 ** (len(networks[1].config.block_out_channels) - 1)
    assert (loaded.spec.latent_factor, loaded.spec.native_size) == (factor, (64 * factor, 64 * factor))
    assert (loaded.spec.prediction, loaded.spec.latent_channels) == ("epsilon", 4)


@pytest.mark.parametrize(
    ("attention", "linear"), [((True,), False), ((False, True), False), ((True, False, True), True)]
)
def test_attention_at_any_levels(tmp_path, attention, linear):
    _, coder, text = make_networks()
    unet = _attending(*attention, linear=linear)

    loaded = _load(write_ldm(tmp_path / "m.safetensors", unet, coder, text))

    _assert_same(loaded, unet, coder, text)
    _assert_same_outputs(loaded, unet, coder, text)


@pytest.mark.parametrize("shape", SHAPES[:3])
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


@pytest.fixture(scope="module")
def networks():
    return make_networks()


@pytest.fixture
def path(tmp_path, networks):
    return write_ldm(tmp_path / "m.safetensors", *networks)


def _rewrite(path, change=None, metadata=None, *, without=()):
    """The file with some tensors changed, added or left out."""
    tensors = load_file(path) | (change or {})
    save_file({name: tensor for name, tensor in tensors.items() if name not in without}, path, metadata)
    return path


def test_weights_of_the_wished_type_are_mapped_and_not_copied(path):
    loaded = _load(path)
    weights = [p for m in (loaded.unet, loaded.vae, loaded.text_encoder) for p in m.parameters()]

    span = max(p.data_ptr() for p in weights) - min(p.data_ptr() for p in weights)

    assert span <= path.stat().st_size


def test_weights_of_another_type_are_converted(path, networks):
    loaded = sd1.load(path, torch.bfloat16, torch.float32, CPU)

    assert {p.dtype for p in loaded.unet.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in loaded.text_encoder.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in loaded.vae.parameters()} == {torch.float32}
    torch.testing.assert_close(loaded.unet.conv_in.weight, networks[0].conv_in.weight.bfloat16(), rtol=0, atol=0)


def test_convolutions_are_converted_to_the_order_that_they_are_used_in(path):
    save_file({name: tensor.half() for name, tensor in load_file(path).items()}, path)
    weights = {name: w for name, w in _load(path).unet.named_parameters() if w.ndim == 4}
    kept = sd1.load(path, torch.bfloat16, torch.bfloat16, CPU).unet.conv_in.weight

    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights.values())
    assert not weights["conv_in.weight"].is_contiguous()
    assert kept.is_contiguous()


def test_what_is_loaded_does_not_learn_and_has_every_number(path):
    loaded = _load(path)
    for model in (loaded.unet, loaded.vae, loaded.text_encoder):
        assert not model.training
        assert not any(p.requires_grad for p in model.parameters())
        assert not any(t.is_meta for t in [*model.parameters(), *model.buffers()])


def test_the_oldest_text_names_load(path, networks):
    old = {n.replace("transformer.text_model.", "transformer."): t for n, t in load_file(path).items()}
    old["cond_stage_model.transformer.embeddings.position_ids"] = torch.arange(77)[None]
    save_file(old, path)

    _assert_same(_load(path), *networks)


def test_what_training_and_merging_leave_in_files_is_passed_over(path, networks):
    extras = {
        "alphas_cumprod": torch.ones(1000),
        "logvar": torch.ones(1000),
        "model_ema.decay": torch.ones(()),
        "model_ema.diffusion_modelout2bias": torch.ones(4),
        "cond_stage_model.logit_scale": torch.ones(()),
        "cond_stage_model.transformer.text_projection.weight": torch.ones(64, 64),
        "cond_stage_model.transformer.text_model.embeddings.position_ids": torch.arange(77.0)[None],
    }

    _assert_same(_load(_rewrite(path, extras)), *networks)


@pytest.mark.parametrize(("said", "meant"), [("v", "v_prediction"), ("epsilon", "epsilon"), ("", "epsilon")])
def test_the_prediction_that_the_metadata_names(path, said, meant):
    assert _load(_rewrite(path, metadata={"modelspec.prediction_type": said})).spec.prediction == meant


def test_unknown_family_names_the_nearest(tmp_path):
    save_file({"some.weight": torch.zeros(2)}, tmp_path / "m.safetensors")

    with pytest.raises(CheckpointError, match=r"nearest: sd1.*input_blocks\.0\.0"):
        _load(tmp_path / "m.safetensors")


UNET, TEXT = "model.diffusion_model.", "cond_stage_model.transformer.text_model."
DOOR, EMBEDDING = UNET + "input_blocks.0.0.weight", TEXT + "embeddings.token_embedding.weight"
LAYER = TEXT + "encoder.layers.0."


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"control_model.x": torch.ones(1)}, r"1 tensors are not part of sd1, such as control_model\.x"),
        ({UNET + "out.2.bias": torch.ones(5)}, r"conv_out\.bias is \(5,\), not \(4,\)"),
        ({LAYER + "mlp.fc2.weight": torch.ones(256, 64)}, r"mlp\.fc2\.weight is \(256, 64\), not \(64, 256\)"),
        ({UNET + "out.2.bias": torch.ones(4, dtype=torch.int32)}, r"conv_out\.bias is of type torch\.int32"),
        ({DOOR: torch.ones(3)}, "looks like sd1, but a tensor's shape"),
        ({DOOR: torch.ones(32, 5, 3, 3)}, "takes 5 channels and a latent has 4, as for drawing by depth"),
        ({DOOR: torch.ones(32, 7, 3, 3)}, "takes 7 channels and a latent has 4; such a model is of no family"),
        ({EMBEDDING: torch.ones(49408, 200)}, "no network can be built from its configuration: .*200"),
        ({EMBEDDING: torch.ones(49408)}, "looks like sd1, but a tensor's shape"),
        ({EMBEDDING: torch.ones(512, 64)}, "tokenizer has 49408 tokens and its text encoder 512"),
        ({TEXT + "embeddings.position_embedding.weight": torch.ones(64, 64)}, "reads 64 tokens, not 77"),
    ],
)  # fmt: skip
def test_tensors_that_do_not_belong_are_named_in_one_line(path, change, message):
    with pytest.raises(CheckpointError, match=rf"m\.safetensors: .*{message}") as caught:
        _load(_rewrite(path, change))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("channels", "beside"), [(4, ""), (8, "edit"), (9, "inpaint")])
def test_what_a_unet_takes_beside_the_latent_is_told(path, channels, beside):
    loaded = _load(_rewrite(path, {DOOR: torch.ones(32, channels, 3, 3)}))

    assert (loaded.spec.beside, loaded.spec.latent_channels) == (beside, 4)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (UNET + "time_embed.2.bias", r"1 missing for UNet2DConditionModel, such as time_embedding\.linear_2\.bias"),
        (UNET + "middle_block.1.proj_in.weight", r"tensor '.*proj_in\.weight' is missing"),
        (LAYER + "mlp.fc1.weight", r"tensor '.*layers\.0\.mlp\.fc1\.weight' is missing"),
        (LAYER + "mlp.fc1.bias", "1 missing for CLIPTextModel"),
        (EMBEDDING, r"of whose 6 marks 1 are missing: cond_stage_model.*token_embedding\.weight"),
    ],
)
def test_a_missing_tensor_is_named(path, name, message):
    with pytest.raises(CheckpointError, match=message):
        _load(_rewrite(path, without={name}))


def test_networks_that_are_not_of_one_model(path):
    narrow = {
        name: tensor[:, :48].contiguous()
        for name, tensor in load_file(path).items()
        if name.endswith(("attn2.to_k.weight", "attn2.to_v.weight"))
    }

    with pytest.raises(CheckpointError, match="gives 64 numbers a word and its UNet takes 48"):
        _load(_rewrite(path, narrow))
