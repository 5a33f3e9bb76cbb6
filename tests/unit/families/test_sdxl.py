"""Stable Diffusion XL comes back as it was, and its UNet is given what diffusers gives it."""

import sys
from pathlib import Path

import pytest
import torch
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_open_clip_checkpoint
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).parents[2]))
from family_models import assert_same, make_refiner, make_sdxl, pipeline, write_file

from sfumato.engine.resolve import resolve
from sfumato.errors import CheckpointError
from sfumato.families import registry
from sfumato.families.base import Encoding
from sfumato.families.noise import schedule_of
from sfumato.families.sized import SCORES, WordsAndSize
from sfumato.families.text import BREAK, read
from sfumato.request import Txt2ImgRequest

SHAPES = [
    {},
    {"widths": (64, 64, 128), "depth": (1, 2, 3), "layers": 2, "time": 8},
    {"widths": (64, 128), "depth": (1, 1), "projection": 128},
]
CPU, F32 = torch.device("cpu"), torch.float32


def _load(path):
    return registry.load(path, F32, F32, CPU)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_file_gives_the_hyperparameters_and_weights_of_what_it_was_made_of(tmp_path, shape):
    model = make_sdxl(**shape)
    path = write_file(tmp_path / "m.safetensors", model)

    assert registry.identify(path)[0] == "sdxl"
    loaded = _load(path)

    assert_same(loaded, model)
    spec = loaded.spec
    assert (spec.name, spec.prediction, spec.scaling_factor, spec.native_size) == (
        "sdxl",
        "epsilon",
        0.13025,
        (256, 256),
    )
    assert [reader.tokenizer.pad for reader in loaded.readers] == [49407, 0]
    assert loaded.conditioner == WordsAndSize(zero_empty=True, scored=False)


def test_a_refiners_file(tmp_path):
    model = make_refiner()
    path = write_file(tmp_path / "m.safetensors", model)

    assert registry.identify(path)[0] == "sdxl-refiner"
    loaded = _load(path)

    assert_same(loaded, model)
    assert loaded.conditioner == WordsAndSize(zero_empty=False, scored=True)


@pytest.mark.parametrize("make", [make_sdxl, make_refiner])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_a_folder_is_read_as_diffusers_wrote_it(tmp_path, make):
    model = make()
    pipeline(model, tmp_path / "t", image=make is make_refiner).save_pretrained(tmp_path / "m")

    loaded = _load(tmp_path / "m")

    assert registry.identify(tmp_path / "m")[0] == loaded.spec.name == model.family
    assert_same(loaded, model)
    assert loaded.conditioner == WordsAndSize(zero_empty=make is make_sdxl, scored=make is make_refiner)


@pytest.mark.parametrize("make", [make_sdxl, make_refiner])
def test_names_are_those_of_diffusers_own_converters(tmp_path, make):
    model = make()
    file = load_file(write_file(tmp_path / "m.safetensors", model))
    prefix = f"conditioner.embedders.{int(make is make_sdxl)}.model."

    unet = convert_ldm_unet_checkpoint(dict(file), dict(model.unet.config))
    text = convert_open_clip_checkpoint(model.text_encoder_2, dict(file), prefix=prefix)

    for theirs, network in ((unet, model.unet), (text, model.text_encoder_2)):
        for name, tensor in network.state_dict().items():
            torch.testing.assert_close(theirs[name], tensor, rtol=0, atol=0)


def test_files_that_other_programs_converted(tmp_path):
    """stable-diffusion.cpp's names of the text encoders, and transformers' in the place of OpenCLIP's."""
    model = make_sdxl()
    path = write_file(tmp_path / "m.safetensors", model)
    kept = {n: t for n, t in load_file(path).items() if not n.startswith("conditioner.embedders.1.")}
    second = {n.removeprefix("text_model."): t for n, t in model.text_encoder_2.state_dict().items()}
    projection = second.pop("text_projection.weight")
    for first, prefix in (
        ("conditioner.embedders.0.", "conditioner.embedders.1.transformer.text_model."),
        ("cond_stage_model.", "cond_stage_model.1.transformer.text_model."),
    ):
        file = {n.replace("conditioner.embedders.0.", first): t for n, t in kept.items()}
        file |= {prefix + n: t for n, t in second.items()}
        file[f"{prefix}text_projection"] = projection.t().contiguous()
        save_file(file, path)

        assert_same(_load(path), model)


def test_marks_say_what_it_predicts(tmp_path):
    path = write_file(tmp_path / "m.safetensors", make_sdxl())
    save_file(load_file(path) | {"v_pred": torch.ones(1)}, path)
    assert (_load(path).spec.prediction, _load(path).spec.zero_snr) == ("v_prediction", False)

    save_file(load_file(path) | {"ztsnr": torch.ones(1)}, path)
    spec = _load(path).spec
    assert spec.zero_snr
    assert schedule_of(spec).sigma_max == pytest.approx(4096, rel=1e-6)
    assert resolve(Txt2ImgRequest(prompt="a", width=64, height=64), spec).sampler.scheduler == "uniform"


@torch.no_grad()
@pytest.mark.parametrize("make", [make_sdxl, make_refiner])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_texts_and_sizes_are_those_of_diffusers(tmp_path, make):
    model = make(seed=4)
    loaded = _load(write_file(tmp_path / "m.safetensors", model))
    theirs = pipeline(model, tmp_path / "t", image=make is make_refiner)
    states, unwanted, whole, unwanted_whole = theirs.encode_prompt("a red cat", negative_prompt="rain, fog")

    wanted, negative = (
        read(loaded, ((text, 1.0),), negative=text != "a red cat") for text in ("a red cat", "rain, fog")
    )

    torch.testing.assert_close(wanted.context, states, rtol=0, atol=1e-5)
    torch.testing.assert_close(wanted.pooled, whole, rtol=0, atol=1e-5)
    torch.testing.assert_close(negative.context, unwanted, rtol=0, atol=1e-5)
    torch.testing.assert_close(negative.pooled, unwanted_whole, rtol=0, atol=1e-5)
    scores = [None if one.score is None else float(one.score) for one in (wanted, negative)]
    assert scores == ([None, None] if make is make_sdxl else list(SCORES))


@torch.no_grad()
def test_an_empty_negative_prompt_is_zeros_in_the_base_alone(tmp_path):
    for make, zeros in ((make_sdxl, True), (make_refiner, False)):
        loaded = _load(write_file(tmp_path / f"{make.__name__}.safetensors", make()))
        empty = read(loaded, (("", 1.0),), negative=True)
        wanted = read(loaded, (("", 1.0),))

        assert bool((empty.context == 0).all() and (empty.pooled == 0).all()) == zeros
        assert wanted.context.abs().max() > 0
        assert wanted.pooled.abs().max() > 0


@torch.no_grad()
def test_long_texts_are_joined_by_chunks_and_the_whole_is_the_firsts(tmp_path):
    loaded = _load(write_file(tmp_path / "m.safetensors", make_sdxl()))

    one, two = read(loaded, (("a cat", 1.0),)), read(loaded, (("a cat", 1.0), BREAK, ("a dog", 1.3)))

    assert two.context.shape == (1, 2 * 77, 192)
    torch.testing.assert_close(two.context[:, :77], one.context, rtol=0, atol=1e-5)
    torch.testing.assert_close(two.pooled, one.pooled, rtol=0, atol=1e-5)
    assert torch.equal(read(loaded, (("a cat", 1.0),), 2).context, one.context)


@torch.no_grad()
def test_every_input_counts(tmp_path):
    loaded = _load(write_file(tmp_path / "m.safetensors", make_sdxl()))
    torch.manual_seed(0)
    x, t = torch.randn(2, 4, 8, 12), torch.tensor([500.0, 500.0])
    plain = Encoding(torch.randn(2, 77, 192), torch.randn(2, 96))
    answer = loaded.predict(x, t, plain)

    other = Encoding(plain.context, plain.pooled + 1)
    assert (loaded.predict(x, t, other) - answer).abs().max() > 1e-4
    assert (loaded.predict(x.transpose(2, 3), t, plain).transpose(2, 3) - answer).abs().max() > 1e-4


def test_a_words_vectors_for_both_text_encoders(tmp_path):
    loaded = _load(write_file(tmp_path / "m.safetensors", make_sdxl()))
    save_file({"clip_l": torch.randn(3, 64), "clip_g": torch.randn(3, 128)}, tmp_path / "zorb.safetensors")
    plain = read(loaded, (("a zorb", 1.0),))
    for reader in loaded.readers:
        reader.know({"zorb": tmp_path / "zorb.safetensors"})

    with torch.no_grad():
        own = read(loaded, (("a zorb", 1.0),))

    for part in (slice(0, 64), slice(64, 192)):
        assert (own.context[..., part] - plain.context[..., part]).abs().max() > 1e-3
    assert not torch.equal(own.pooled, plain.pooled)


def test_a_word_for_another_family_is_refused(tmp_path):
    loaded = _load(write_file(tmp_path / "m.safetensors", make_sdxl()))
    save_file({"clip_l": torch.randn(3, 64), "clip_g": torch.randn(2, 128)}, tmp_path / "odd.safetensors")
    save_file({"emb_params": torch.randn(3, 64)}, tmp_path / "old.safetensors")
    for reader in loaded.readers:
        reader.know({name: tmp_path / f"{name}.safetensors" for name in ("odd", "old")})

    for word, message in (
        ("odd", "more vectors for one text encoder"),
        ("old", "64 numbers long and this"),
    ):
        with pytest.raises(CheckpointError, match=rf"{word}\.safetensors: .*{message}"):
            read(loaded, ((word, 1.0),))
