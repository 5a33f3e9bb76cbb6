"""Models that take more than latent and words, against diffusers' pipelines on the same weights and noise."""

import sys
from dataclasses import replace
from pathlib import Path

import diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_inpaint as inpaint
import diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_instruct_pix2pix as pix2pix
import diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl_inpaint as xl_inpaint
import numpy as np
import pytest
import torch
from diffusers import EulerDiscreteScheduler, UNet2DConditionModel
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2]))
from checkpoints import make_networks, write_ldm
from family_models import make_sdxl, tokenizer, write_file

from sfumato import InitImage, Mask, Studio, Txt2ImgRequest
from sfumato.engine import beside, source
from sfumato.engine.draw import GuidedNetwork, Sampler, condition, to_images
from sfumato.engine.resolve import resolve
from sfumato.errors import RequestError
from sfumato.families.decode import encode
from sfumato.jobs import wire
from sfumato.runtime.rng import BatchNoise

SIDE, STEPS, SCALE = 32, 8, 5.0
PICTURE = Image.linear_gradient("L").resize((SIDE, SIDE)).convert("RGB")
HALF = Image.new("L", (SIDE, SIDE))
HALF.paste(255, (0, 0, 16, SIDE))
REQUEST = Txt2ImgRequest(
    prompt="a cat", negative_prompt="blurry", steps=STEPS, seed=5, sampler="Euler", scheduler="normal", cfg_scale=SCALE,
    width=SIDE, height=SIDE,
    init=InitImage(picture=PICTURE, denoising_strength=1.0, mask=Mask(picture=HALF, blur=0)),
)  # fmt: skip
EDIT = replace(REQUEST, init=InitImage(picture=PICTURE, denoising_strength=1.0, image_cfg_scale=1.7))


def _networks(channels):
    unet, coder, text = make_networks(seed=2)
    torch.manual_seed(2)
    return UNet2DConditionModel.from_config(unet.config, in_channels=channels).eval(), coder, text


def _made(channels, folder):
    networks = _networks(channels)
    return Studio(write_ldm(folder / "tiny.safetensors", *networks), device="cpu", precision="full"), networks


@pytest.fixture(scope="module")
def redrawing(tmp_path_factory):
    return _made(9, tmp_path_factory.mktemp("inpaint"))


@pytest.fixture(scope="module")
def editing(tmp_path_factory):
    return _made(8, tmp_path_factory.mktemp("edit"))


@pytest.fixture(params=["redrawing", "editing"])
def made(request):
    return request.getfixturevalue(request.param)


def _pixels(image):
    return np.asarray(image).astype(int)


def _sampled(model, request):
    """Our latents, and what both sides draw by: words, the unwanted ones and the noise."""
    job = resolve(request, model.networks.spec)
    conditioning = condition(job, model.cache)
    network = GuidedNetwork(model.networks, conditioning, job.cfg_scale, job.image_cfg_scale)
    part = source.part_of(request, job.width, job.height)
    ours = Sampler(job, model.networks, network, model.schedule, None, part=part).run()
    words, unwanted = conditioning.positive[0].at(0).context, conditioning.negative.at(0).context
    noise = BatchNoise(job.seeds, tuple(ours.shape[1:])).initial()
    level = model.schedule.sigmas[-1]
    return ours, {"prompt_embeds": words, "negative_prompt_embeds": unwanted}, noise * (1 + level**-2) ** 0.5


def _pipeline(kind, networks):
    unet, coder, _ = networks
    scheduler = EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", timestep_spacing="linspace"
    )
    pipeline = kind(coder, None, None, unet, scheduler, None, None, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _same(model, ours, expected):
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-3)
    mine, other = (_pixels(to_images(model.networks, latent)[0]) for latent in (ours, expected))
    assert np.abs(mine - other).mean() < 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_nine_channels_draw_as_diffusers_does(redrawing, monkeypatch):
    studio, networks = redrawing
    model = studio.load()
    monkeypatch.setattr(
        inpaint, "retrieve_latents", lambda coded, **_: coded.latent_dist.mode()
    )  # they draw from what the autoencoder says; we take its mean
    with torch.inference_mode():
        ours, words, noise = _sampled(model, REQUEST)
        expected = _pipeline(inpaint.StableDiffusionInpaintPipeline, networks)(
            **words, image=PICTURE, mask_image=HALF, latents=noise, strength=1.0, num_inference_steps=STEPS,
            guidance_scale=SCALE, width=SIDE, height=SIDE, output_type="latent",
        ).images  # fmt: skip
        _same(model, ours, expected)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_nine_channels_of_the_larger_model_draw_as_diffusers_does(tmp_path, monkeypatch):
    tiny = make_sdxl(seed=2, channels=9)
    model = Studio(write_file(tmp_path / "xl.safetensors", tiny), device="cpu", precision="full").load()
    assert (model.networks.spec.name, model.networks.spec.beside) == ("sdxl", "inpaint")
    scheduler = EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", timestep_spacing="linspace"
    )
    ends, bangs = tokenizer(tmp_path / "end", "<|endoftext|>"), tokenizer(tmp_path / "bang", "!")
    pipeline = xl_inpaint.StableDiffusionXLInpaintPipeline(
        tiny.vae, tiny.text_encoder, tiny.text_encoder_2, ends, bangs, tiny.unet, scheduler, add_watermarker=False
    )
    pipeline.set_progress_bar_config(disable=True)
    monkeypatch.setattr(xl_inpaint, "retrieve_latents", lambda coded, **_: coded.latent_dist.mode())
    with torch.inference_mode():
        ours, _, noise = _sampled(model, REQUEST)
        expected = pipeline(
            REQUEST.prompt, negative_prompt=REQUEST.negative_prompt, image=PICTURE, mask_image=HALF, latents=noise,
            strength=1.0, num_inference_steps=STEPS, guidance_scale=SCALE, width=SIDE, height=SIDE,
            output_type="latent",
        ).images  # fmt: skip
        _same(model, ours, expected)
    assert ours.std() > 0.1


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_eight_channels_draw_as_diffusers_does(editing):
    studio, networks = editing
    model = studio.load()
    with torch.inference_mode():
        ours, words, noise = _sampled(model, EDIT)
        expected = _pipeline(pix2pix.StableDiffusionInstructPix2PixPipeline, networks)(
            **words, image=PICTURE, latents=noise, num_inference_steps=STEPS, guidance_scale=SCALE,
            image_guidance_scale=1.7, output_type="latent",
        ).images  # fmt: skip
        _same(model, ours, expected)


def test_words_alone_see_a_mask_of_all_and_a_grey_picture(redrawing):
    studio, _ = redrawing
    networks = studio.load().networks
    with torch.inference_mode():
        found = beside.channels(networks, None, None, (16, 16))
        grey = encode(networks, torch.full((1, 3, SIDE, SIDE), 0.5))
    words, picture = replace(REQUEST, init=None), replace(REQUEST, init=replace(REQUEST.init, mask=None))

    assert found.shape == (1, 5, 16, 16)
    assert (found[:, :1] == 1).all()
    torch.testing.assert_close(found[:, 1:], grey)
    for request in (words, picture):
        assert studio.generate(request).images[0].size == (SIDE, SIDE)


def test_what_is_outside_keeps_its_bytes(made):
    request = replace(REQUEST, batch_size=2)
    for image in made[0].generate(request).images:
        assert (_pixels(image)[:, 16:] == _pixels(PICTURE)[:, 16:]).all()
        assert np.abs(_pixels(image) - _pixels(PICTURE))[:, :16].mean() > 1


def test_a_stored_request_goes_on_with_the_same_bits(made, tmp_path):
    events, request = [], replace(REQUEST, sampler="DPM++ 2M")
    whole = made[0].generate(request, events.append).images[0]
    again = wire.load(wire.dump(request, tmp_path), tmp_path)
    resumed = made[0].generate(again, resume=events[3].resume).images[0]

    assert (_pixels(whole) == _pixels(resumed)).all()


def test_guidance_by_the_picture_counts_and_is_told(editing):
    studio, _ = editing
    near = studio.generate(EDIT)
    plain = studio.generate(replace(EDIT, cfg_scale=1.0, init=replace(EDIT.init, image_cfg_scale=1.0)))

    assert near.infos[0].extra == {"Image CFG scale": 1.7, "Denoising strength": 1.0}
    assert plain.infos[0].extra == {"Denoising strength": 1.0}
    assert np.abs(_pixels(near.images[0]) - _pixels(plain.images[0])).max() > 0


def test_guidance_by_the_picture_has_limits(editing):
    with pytest.raises(RequestError, match="image_cfg_scale is -1"):
        editing[0].generate(replace(EDIT, init=replace(EDIT.init, image_cfg_scale=-1.0)))
