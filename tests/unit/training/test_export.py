"""What a run leaves: read by our engine and by diffusers, with the same picture; whole models like their base."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from safetensors import safe_open
from safetensors.torch import load_file, save
from transformers import CLIPTokenizer

sys.path.insert(0, str(Path(__file__).parents[2]))
from checkpoints import make_networks

from sfumato import Studio, Txt2ImgRequest
from sfumato.families import tokens
from sfumato.runtime.rng import BatchNoise
from sfumato.training.export import data_hash
from sfumato.weights.digest import network_hash
from sfumato.weights.lora import read_lora

WIDE = {"rank": 4, "train_text_encoder": True, "targets": "transformer"}
REQUEST = Txt2ImgRequest(prompt="a wall", negative_prompt="red", seed=3, steps=4, width=32, height=32, cfg_scale=4.0,
                         sampler="DDIM")  # fmt: skip


def _metadata(path):
    with safe_open(path, "pt") as file:
        return file.metadata()


def _their_picture(path, tmp_path):
    unet, coder, text = make_networks(seed=5)
    tokens.clip()._tokenizer.model.save(str(tmp_path))
    tokenizer = CLIPTokenizer(
        str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt"), model_max_length=77, pad_token="<|endoftext|>"
    )
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, clip_sample=False,
        set_alpha_to_one=False,
    )  # fmt: skip
    pipeline = StableDiffusionPipeline(
        coder, text, tokenizer, unet, scheduler, None, None, requires_safety_checker=False
    )
    pipeline.set_progress_bar_config(disable=True)
    pipeline.load_lora_weights(str(path.parent), weight_name=path.name)
    noise = BatchNoise([REQUEST.seed], (4, 16, 16)).initial()
    return np.asarray(pipeline(
        REQUEST.prompt, negative_prompt=REQUEST.negative_prompt, num_inference_steps=REQUEST.steps, height=32, width=32,
        guidance_scale=REQUEST.cfg_scale, latents=noise,
    ).images[0]).astype(int)  # fmt: skip


@pytest.mark.parametrize("save_as", ["kohya", "diffusers"])
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")
def test_a_trained_lora_gives_the_same_picture_here_and_in_diffusers(trained, ldm_file, tmp_path, save_as):
    run, _ = trained(method={**WIDE, "alpha": 8.0}, max_steps=12, learning_rate=2e-2, save_as=save_as)
    lora = run.places.output
    home = tmp_path / "models" / "loras" / "mine.safetensors"
    home.parent.mkdir(parents=True)
    home.write_bytes(lora.read_bytes())
    studio = Studio(ldm_file, device="cpu", precision="full", models_folders=[tmp_path / "models"])
    plain, drawn = (
        np.asarray(studio.generate(Txt2ImgRequest(**{**vars(REQUEST), "prompt": REQUEST.prompt + tag})).images[0])
        for tag in ("", "<lora:mine:1>")
    )

    assert np.abs(drawn.astype(int) - _their_picture(lora, tmp_path)).max() <= 2
    assert np.abs(drawn.astype(int) - plain).max() > 5


def test_every_branch_is_written_and_fits(trained):
    run, _ = trained(method={**WIDE, "targets": "all"})
    lora = read_lora(run.places.output)
    trainable = run.trainee.trained()

    assert 2 * len(lora.branches) == len(trainable)
    assert {network for network, _ in lora.branches} == {"unet", "text_encoder"}


def test_the_metadata_says_how_it_was_made(trained):
    run, _ = trained(method={"alpha": 2.0}, snr_gamma=5.0)
    facts = _metadata(run.places.output)

    assert facts["ss_network_module"] == "networks.lora"
    assert (facts["ss_network_dim"], facts["ss_network_alpha"], facts["ss_steps"]) == ("4", "2", "3")
    assert (facts["ss_min_snr_gamma"], facts["ss_base_model_version"]) == ("5.0", "sd_v1")
    assert facts["sfumato_base_hash"] == run.base_hash
    assert facts["sfumato_data_hash"] == run.dataset.manifest
    assert sum(next(iter(json.loads(facts["ss_tag_frequency"]).values())).values()) == 4
    assert facts["sshs_model_hash"].startswith(network_hash(run.places.output))
    assert data_hash(save({"a": torch.ones(2)}, {"x": "y"})) == data_hash(save({"a": torch.ones(2)}))


def test_a_whole_model_is_a_file_like_its_base(trained, ldm_file):
    run, _ = trained(method={"method": "full", "train_text_encoder": True})
    before, after = load_file(ldm_file), load_file(run.places.output)

    assert before.keys() == after.keys()
    assert all(before[n].shape == after[n].shape and before[n].dtype == after[n].dtype for n in before)
    changed = {n.split(".")[0] for n in before if not torch.equal(before[n], after[n])}
    assert changed == {"model", "cond_stage_model"}
    assert Studio(run.places.output, device="cpu", precision="full").generate(REQUEST).images


def test_a_whole_model_is_a_folder_like_its_base(trained, model_folder):
    run, _ = trained(base=model_folder, method={"method": "full"})
    new = run.places.output

    assert {p.relative_to(new) for p in new.rglob("*")} == {
        p.relative_to(model_folder) for p in model_folder.rglob("*")
    }
    weights = "diffusion_pytorch_model.safetensors"
    before, after = (load_file(folder / "unet" / weights) for folder in (model_folder, new))
    assert any(not torch.equal(before[n], after[n]) for n in before)
    assert Studio(new, device="cpu", precision="full").generate(REQUEST).images
    assert (model_folder / "vae" / weights).read_bytes() == (new / "vae" / weights).read_bytes()


def test_a_folders_text_encoder_keeps_its_tensors_names(trained, model_folder, tmp_path):
    """Published folders have names with ``text_model.``, and programs with transformers before 5 know no others."""
    base = shutil.copytree(model_folder, tmp_path / "published")
    file = base / "text_encoder" / "model.safetensors"
    file.write_bytes(save({f"text_model.{name}": tensor for name, tensor in load_file(file).items()}, {"format": "pt"}))
    run, _ = trained(base=base, method={"method": "full", "train_text_encoder": True})
    before, after = (load_file(home / "text_encoder" / "model.safetensors") for home in (base, run.places.output))

    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize(("save_as", "key"), [(None, "emb_params"), ("diffusers", "zorb")])
def test_a_new_word_is_learned_and_known_by_its_name(trained, ldm_file, tmp_path, save_as, key):
    what = {"method": "textual_inversion", "token": "zorb", "vectors": 2, "init_word": "wall"}
    run, _ = trained("zorb", method=what, max_steps=40, learning_rate=5e-2, batch_size=2, save_as=save_as)
    vectors = load_file(run.places.output)
    first = run.networks.text_encoder.get_input_embeddings().weight[run.networks.tokenizer.ids("wall")[0]]

    assert {name: tuple(value.shape) for name, value in vectors.items()} == {key: (2, 64)}
    assert (vectors[key][0] - first).abs().max() > 0.01
    assert all(item.caption.startswith("zorb, a ") for item in run.dataset.items)
    assert len(run.trainee.trained()) == 1
    home = tmp_path / "models" / "embeddings" / "zorb.safetensors"
    home.parent.mkdir(parents=True)
    home.write_bytes(run.places.output.read_bytes())
    studio = Studio(ldm_file, device="cpu", precision="full", models_folders=[tmp_path / "models"])
    assert studio.generate(Txt2ImgRequest(**{**vars(REQUEST), "prompt": "a zorb"})).images
