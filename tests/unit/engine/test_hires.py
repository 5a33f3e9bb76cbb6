"""The second pass: against diffusers' own pipelines, its sizes and steps, and what can't be drawn."""

import sys
from dataclasses import replace
from pathlib import Path

import diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_img2img as theirs
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from diffusers import EulerDiscreteScheduler, StableDiffusionPipeline
from PIL import Image
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parents[2]))
from checkpoints import write_ldm

from sfumato import InitImage, Studio, Txt2ImgRequest
from sfumato.engine.conditioning import Conditioning, Track
from sfumato.engine.draw import GuidedNetwork, Sampler
from sfumato.engine.enlarge import SecondNoise, enlarge
from sfumato.engine.resolve import resolve
from sfumato.engine.upscale import Upscalers
from sfumato.errors import RequestError
from sfumato.families.base import Spec
from sfumato.families.decode import decode
from sfumato.families.pixels import to_image
from sfumato.families.text import read
from sfumato.gallery import infotext
from sfumato.jobs import wire
from sfumato.request import LATENT_UPSCALERS, RESIZERS, Hires, expected_size
from sfumato.runtime.rng import BatchNoise

SIDE = 32
REQUEST = Txt2ImgRequest(
    prompt="a [cat:dog:1.5]", width=SIDE, height=SIDE, steps=3, seed=5, sampler="Euler a",
    hires=Hires(steps=2, denoising_strength=0.5),
)  # fmt: skip
SPEC = Spec(name="sd1")
#: As the web UI calls torch's interpolation.
MODES = {
    "Latent": ("bilinear", False),
    "Latent (antialiased)": ("bilinear", True),
    "Latent (bicubic)": ("bicubic", False),
    "Latent (bicubic antialiased)": ("bicubic", True),
    "Latent (nearest)": ("nearest", False),
    "Latent (nearest-exact)": ("nearest-exact", False),
}


@pytest.fixture
def latents(studio):
    """The latents of a request after each of its passes."""

    def of(request):
        after = {}
        studio.generate(request, lambda event: after.update({event.resume.leg: event.resume.latent}))
        return after

    return of


def _pixels(image):
    return np.asarray(image).astype(int)


def _with(request=REQUEST, **changes):
    return replace(request, hires=replace(request.hires, **changes))


def _pipeline(kind, networks):
    unet, coder, _ = networks
    scheduler = EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", timestep_spacing="linspace"
    )
    pipeline = kind(coder, None, None, unet, scheduler, None, None, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _enlarged(networks, latent, size, name):
    """The web UI's way from the first pass to the second, with PIL and the autoencoder of diffusers."""
    if name in MODES:
        mode, antialias = MODES[name]
        return F.interpolate(latent, size, mode=mode, antialias=antialias)
    coder = networks[1]
    pixels = coder.decode(latent / coder.config.scaling_factor).sample[0] / 2 + 0.5
    image = Image.fromarray((pixels.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy())
    factor = image.width // latent.shape[-1]
    large = image.resize((size[1] * factor, size[0] * factor), getattr(Image.Resampling, name.upper()))
    signal = torch.from_numpy(np.array(large)).permute(2, 0, 1)[None] / 127.5 - 1
    return coder.encode(signal).latent_dist.mean * coder.config.scaling_factor


@pytest.mark.parametrize("name", ["Latent", "Latent (nearest-exact)", "Latent (bicubic antialiased)", "Lanczos"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_both_passes_are_those_of_diffusers(studio, networks, monkeypatch, name):
    scale, model = 5.0, studio.load()
    request = replace(_with(upscaler=name, steps=4), steps=6, sampler="Euler", scheduler="normal", cfg_scale=scale)
    job = resolve(request, model.networks.spec)
    with torch.inference_mode():
        words, unwanted = (read(model.networks, ((text, 1.0),)) for text in ("a cat", "blurry"))
        tracks = [Track(1.0, ((9, one),)) for one in (words, unwanted)]
        network = GuidedNetwork(model.networks, Conditioning((tracks[0],), tracks[1]), scale)
        ours = Sampler(job, model.networks, network, model.schedule, None, upscale=Upscalers(()).find(name)).run()
        our_image = to_image(decode(model.networks, ours)[0])
    given = {"prompt_embeds": words.context, "negative_prompt_embeds": unwanted.context, "guidance_scale": scale}
    first = _pipeline(StableDiffusionPipeline, networks)
    noise, sigma = BatchNoise((5,), (4, 16, 16)).initial(), first.scheduler.init_noise_sigma
    start = noise * (sigma**2 + 1) ** 0.5 / sigma
    latent = first(**given, num_inference_steps=6, latents=start, height=32, width=32, output_type="latent").images
    monkeypatch.setattr(
        theirs, "randn_tensor", lambda shape, **_: SecondNoise(BatchNoise((5,), tuple(shape[1:]))).initial()
    )
    second = _pipeline(theirs.StableDiffusionImg2ImgPipeline, networks)
    with torch.inference_mode():
        large = _enlarged(networks, latent, (32, 32), name)
    # Four steps at half strength are the last four of eight.
    expected = second(**given, image=large, strength=0.5, num_inference_steps=8).images[0]

    assert our_image.size == expected.size == (64, 64)
    assert np.abs(_pixels(our_image) - _pixels(expected)).mean() < 1


def test_latent_upscalers_are_the_web_uis(studio):
    latent = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(1))
    # Smaller, as only there the filter against aliasing shows.
    second = resolve(_with(scale=0.7), studio.load().networks.spec).second
    found = {}
    for name in LATENT_UPSCALERS:
        wished = replace(second, wish=replace(second.wish, upscaler=name))
        found[name] = enlarge(studio.load().networks, latent, wished, Upscalers(()).find(name))
        mode, antialias = MODES[name]
        expected = F.interpolate(latent, (11, 11), mode=mode, antialias=antialias)
        torch.testing.assert_close(found[name], expected, rtol=0, atol=0)

    assert len({each.numpy().tobytes() for each in found.values()}) == len(MODES)


def test_pixel_upscalers_are_those_of_pillow():
    picture = Image.effect_noise((16, 12), 90).convert("RGB")
    for name in RESIZERS:
        expected = picture.resize((40, 30), getattr(Image.Resampling, name.upper()))

        assert Upscalers(()).find(name)(picture, (40, 30)) == expected


def test_a_network_of_the_models_folder_enlarges_between_the_passes(networks, tmp_path):
    # An SRVGGNet that adds nothing makes each pixel four, as the filter "Nearest" does.
    net = {"body.0.weight": torch.zeros(2, 3, 3, 3), "body.0.bias": torch.zeros(2), "body.1.weight": torch.zeros(2)}
    net |= {"body.2.weight": torch.zeros(12, 2, 3, 3), "body.2.bias": torch.zeros(12)}
    (tmp_path / "upscale_models").mkdir()
    save_file(net, tmp_path / "upscale_models" / "twice.safetensors")
    path = write_ldm(tmp_path / "tiny.safetensors", *networks)
    with_folder = Studio(path, device="cpu", precision="full", models_folders=(tmp_path,))
    network, nearest, lanczos = (with_folder.generate(_with(upscaler=name)) for name in ("twice", "Nearest", "Lanczos"))

    assert network.images[0].size == (2 * SIDE, 2 * SIDE)
    assert (_pixels(network.images[0]) == _pixels(nearest.images[0])).all()
    assert (_pixels(network.images[0]) != _pixels(lanczos.images[0])).any()
    assert network.infos[0].extra["Hires upscaler"] == "twice"
    with pytest.raises(RequestError, match="twice"):
        with_folder.generate(_with(upscaler="twise"))


@pytest.mark.parametrize("step", [0, 2, 3])
def test_a_stored_request_goes_on_in_either_pass_with_the_same_bits(studio, tmp_path, step):
    events, request = [], _with(upscaler="Lanczos")
    whole = studio.generate(request, events.append).images[0]
    again = wire.load(wire.dump(request, tmp_path), tmp_path)
    resumed = studio.generate(again, resume=events[step].resume).images[0]

    assert [(event.step, event.steps, event.resume.leg) for event in events] == [
        (1, 5, 0), (2, 5, 0), (3, 5, 0), (4, 5, 1), (5, 5, 1),
    ]  # fmt: skip
    assert (_pixels(whole) == _pixels(resumed)).all()


def test_picture_k_of_a_batch_is_the_single_picture_of_seed_plus_k(studio):
    batch = studio.generate(replace(REQUEST, batch_size=2)).images[1]
    alone = studio.generate(replace(REQUEST, seed=6)).images[0]

    assert np.abs(_pixels(batch) - _pixels(alone)).max() <= 1


@pytest.mark.parametrize(
    "changes", [{"prompt": "a tower"}, {"negative_prompt": "grass"}, {"cfg_scale": 1.0}, {"sampler": "Heun"}]
)
def test_the_second_pass_has_words_guidance_and_sampler_of_its_own(latents, changes):
    plain, other = latents(REQUEST), latents(_with(**changes))

    assert torch.equal(plain[0], other[0])
    assert not torch.allclose(plain[1], other[1], rtol=0, atol=1e-4)


def test_the_prompts_plan_goes_on_in_the_second_pass(latents):
    # From 1 to 2 are the second pass's shares: the first of its two steps still has the cat.
    planned = latents(REQUEST)
    kept, switched = (latents(replace(_with(prompt=then), prompt="a cat")) for then in ("a cat", "a dog"))

    assert torch.equal(planned[0], kept[0])
    assert not torch.allclose(planned[1], kept[1], rtol=0, atol=1e-4)
    assert not torch.allclose(planned[1], switched[1], rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("hires", "size", "cover"),
    [
        (Hires(scale=1.5), (96, 144), (96, 144)),
        (Hires(scale=1.3), (80, 128), (80, 128)),
        (Hires(width=128), (128, 192), (128, 192)),
        (Hires(height=96), (64, 96), (64, 96)),
        (Hires(width=128, height=128), (128, 128), (128, 192)),
        (Hires(width=64, height=192), (64, 192), (128, 192)),
    ],
)
def test_the_size_is_scaled_or_cut(hires, size, cover):
    request = replace(REQUEST, width=64, height=96, hires=hires)
    job = resolve(request, SPEC)

    assert (job.width, job.height) == (64, 96)
    assert job.size == size
    assert job.second.cover == cover
    assert all(abs(one - other) < 8 for one, other in zip(expected_size(request), size, strict=True))


@pytest.mark.parametrize(
    ("hires", "steps", "planned"),
    [
        (Hires(), 20, 28),
        (Hires(steps=10, denoising_strength=0.5), 10, 20),
        (Hires(steps=7, denoising_strength=1.0), 7, 7),
        (Hires(steps=1, denoising_strength=0.01), 1, 100),
    ],
)
def test_steps_are_those_that_are_taken(hires, steps, planned):
    second = resolve(replace(REQUEST, steps=20, hires=hires), SPEC).second

    assert (second.steps, second.planned) == (steps, planned)


def test_a_picture_far_above_the_models_size_is_drawn_as_its_metadata_says(studio, monkeypatch):
    spec = replace(studio.load().networks.spec, native_size=(16, 16))
    monkeypatch.setattr(studio.load().networks, "spec", spec)
    drawn = studio.generate(replace(REQUEST, hires=None))
    text = infotext.write(drawn.infos[0])
    asked = infotext.to_request(infotext.parse(text))

    assert "Size: 16x16" in text
    assert asked.hires == Hires(width=32, height=32, upscaler="Bicubic", steps=1, denoising_strength=spec.second_pass)
    assert (_pixels(drawn.images[0]) == _pixels(studio.generate(asked).images[0])).all()


def test_metadata_are_those_of_the_web_ui(studio):
    hires = {"sampler": "Heun", "scheduler": "Karras", "prompt": "a dog", "cfg_scale": 3.0}
    info = studio.generate(_with(**hires)).infos[0]

    assert (info.width, info.height, info.first_size) == (64, 64, (32, 32))
    assert info.extra == {
        "Denoising strength": 0.5,
        "Hires CFG Scale": 3.0,
        "Hires sampler": "Heun",
        "Hires schedule type": "Karras",
        "Hires prompt": "a dog",
        "Hires upscale": 2.0,
        "Hires steps": 2,
        "Hires upscaler": "Latent",
    }
    assert infotext.to_request(infotext.parse(infotext.write(info))).hires == _with(**hires).hires


@pytest.mark.parametrize(
    ("hires", "word"),
    [
        (Hires(denoising_strength=0.0), "denoising_strength is 0"),
        (Hires(denoising_strength=float("nan")), "denoising_strength"),
        (Hires(scale=0), "scale is 0"),
        (Hires(steps=-1), "steps are -1"),
        (Hires(steps=20, denoising_strength=0.01), "at most 1000"),
        (Hires(width=130, height=128), "not a multiple of 8"),
        (Hires(width=0), "hires width is 0"),
        (Hires(width=100_000, height=64), "from 8 to 16384"),
        (Hires(width=8, height=16384), "from 8 to 16384|megapixels"),
        (Hires(sampler="Eular"), "'Euler'"),
        (Hires(cfg_scale=-1), "hires cfg_scale"),
    ],
)
def test_what_cant_be_drawn_is_refused(hires, word):
    with pytest.raises(RequestError, match=word):
        resolve(replace(REQUEST, width=64, height=64, hires=hires), SPEC)


def test_what_needs_more_than_numbers_is_refused(studio):
    picture = InitImage(picture=Image.new("RGB", (32, 32)))
    for request, word in (
        (replace(REQUEST, init=picture), "words alone"),
        (_with(upscaler="Lanczo"), "'Lanczos'"),
        (_with(prompt="a <lora:fur:1>"), "'fur' is on in both passes"),
    ):
        with pytest.raises(RequestError, match=word):
            studio.generate(request)
