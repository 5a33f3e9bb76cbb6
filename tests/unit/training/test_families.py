"""Stable Diffusion 2 and XL: trained with our objective, read by our engine and by diffusers with the same picture."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).parents[2]))
from family_models import make_sd2, make_sdxl, pipeline, write_file

from sfumato import Studio, Txt2ImgRequest
from sfumato.runtime.rng import BatchNoise
from sfumato.training.cache import CaptionCache
from sfumato.weights.lora import read_lora

MAKERS = {"sd2": make_sd2, "sdxl": make_sdxl}
TEXTS = {"sd2": ["text_encoder"], "sdxl": ["text_encoder", "text_encoder_2"]}
REQUEST = Txt2ImgRequest(prompt="a wall", negative_prompt="red", seed=3, steps=4, width=32, height=32, cfg_scale=4.0,
                         sampler="DDIM")  # fmt: skip
WIDE = {"rank": 4, "alpha": 8.0, "train_text_encoder": True}


@dataclass
class Base:
    """A tiny model of a family, as diffusers has it and as a file."""

    model: Any
    file: Path

    @property
    def family(self):
        return self.model.family


@pytest.fixture(scope="module", params=MAKERS)
def base(request, tmp_path_factory):
    model = MAKERS[request.param](seed=5)
    metadata = {"modelspec.prediction_type": "epsilon"} if request.param == "sd2" else None
    return Base(model, write_file(tmp_path_factory.mktemp("base") / "tiny.safetensors", model, metadata))


def _placed(file, folder, name):
    home = folder / "models" / name
    home.parent.mkdir(parents=True)
    home.write_bytes(file.read_bytes())
    return folder / "models"


def _drawn(file, models, prompt=REQUEST.prompt):
    studio = Studio(file, device="cpu", precision="full", models_folders=[models])
    image = studio.generate(Txt2ImgRequest(**{**vars(REQUEST), "prompt": prompt})).images[0]
    return np.asarray(image).astype(int)


def _theirs(base, lora, folder):
    made = pipeline(base.model, folder)
    made.load_lora_weights(str(lora.parent), weight_name=lora.name)
    noise = BatchNoise([REQUEST.seed], (4, 16, 16)).initial()
    picture = made(
        REQUEST.prompt, negative_prompt=REQUEST.negative_prompt, num_inference_steps=REQUEST.steps, height=32, width=32,
        guidance_scale=REQUEST.cfg_scale, latents=noise,
    ).images[0]  # fmt: skip
    made.unload_lora_weights()
    return np.asarray(picture).astype(int)


@pytest.mark.parametrize("save_as", ["kohya", "diffusers"])
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")
def test_a_lora_gives_the_same_picture_here_and_in_diffusers(trained, base, tmp_path, save_as):
    run, _ = trained(base=base.file, method=WIDE, max_steps=12, learning_rate=2e-2, save_as=save_as)
    models = _placed(run.places.output, tmp_path, "loras/mine.safetensors")
    drawn = _drawn(base.file, models, REQUEST.prompt + "<lora:mine:1>")

    assert np.abs(drawn - _theirs(base, run.places.output, tmp_path / "theirs")).max() <= 2
    assert np.abs(drawn - _drawn(base.file, models)).max() > 5
    assert {network for network, _ in read_lora(run.places.output).branches} == {"unet", *TEXTS[base.family]}


def test_names_and_facts_are_kohyas(trained, base):
    run, _ = trained(base=base.file, method=WIDE)
    with safe_open(run.places.output, "pt") as file:
        names, version = set(file.keys()), file.metadata()["ss_base_model_version"]

    expected = {
        "sd2": ("sd_v2", "lora_te_text_model_encoder_layers_0_self_attn_q_proj.alpha",
                "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q.alpha"),
        "sdxl": ("sdxl_base_v1-0", "lora_te2_text_model_encoder_layers_0_self_attn_q_proj.alpha",
                 "lora_unet_middle_block_1_transformer_blocks_0_attn1_to_q.alpha"),
    }[base.family]  # fmt: skip
    assert version == expected[0]
    assert names.issuperset(expected[1:])


def test_a_whole_model_is_a_file_like_its_base(trained, base):
    run, _ = trained(base=base.file, method={"method": "full", "train_text_encoder": True})
    before, after = load_file(base.file), load_file(run.places.output)

    assert before.keys() == after.keys()
    assert all(before[n].shape == after[n].shape and before[n].dtype == after[n].dtype for n in before)
    changed = {n for n in before if not torch.equal(before[n], after[n])}
    open_clip = {"sd2": "cond_stage_model.model", "sdxl": "conditioner.embedders.1.model"}[base.family]
    assert f"{open_clip}.transformer.resblocks.0.attn.in_proj_weight" in changed
    assert not any(n.startswith("first_stage_model.") for n in changed)
    trainee = run.trainee.networks()
    loaded = Studio(run.places.output, device="cpu", precision="full").load().networks
    for name, network in {"unet": loaded.unet, **{r.name: r.network for r in loaded.readers}}.items():
        for key, value in network.state_dict().items():
            torch.testing.assert_close(value, trainee[name].state_dict()[key], rtol=0, atol=0)


def test_a_new_word_has_vectors_for_each_text_encoder(trained, base, tmp_path):
    what = {"method": "textual_inversion", "token": "zorb", "vectors": 2, "init_word": "wall"}
    run, _ = trained("zorb", base=base.file, method=what, max_steps=10, learning_rate=5e-2)
    vectors = load_file(run.places.output)
    models = _placed(run.places.output, tmp_path, "embeddings/zorb.safetensors")
    studio = Studio(base.file, device="cpu", precision="full", models_folders=[models])
    studio.generate(Txt2ImgRequest(**{**vars(REQUEST), "prompt": "a zorb"}))

    keys = {"sd2": ["emb_params"], "sdxl": ["clip_l", "clip_g"]}[base.family]
    assert sorted(vectors) == sorted(keys)
    for key, reader, learned in zip(keys, studio.load().networks.readers, run.trainee.vectors.values(), strict=True):
        assert torch.equal(vectors[key], learned)
        assert torch.equal(reader.embeddings.vectors["zorb"], vectors[key])


def test_no_caption_is_what_drawing_takes_for_none(make_run, base):
    run = make_run(base=base.file, data={"caption_dropout": 1.0})
    words = run.batches.get(0, [0]).words
    context = CaptionCache(run.networks).get(words).context

    assert words == ("",)
    assert bool((context == 0).all()) == (base.family == "sdxl")


def test_the_forecast_counts_what_the_network_takes_beside_words(make_run, base):
    run = make_run(base=base.file)
    forecast = run.forecast()
    weights = sum(p.nbytes for network in (run.trainee, run.networks.vae) for p in network.parameters())
    moments = sum(3 * p.nbytes for p in run.trainee.trained().values())

    assert forecast.seconds > 0
    assert forecast.memory_bytes > 400 * 2**20 + weights + moments
