"""Drawing from a picture: against diffusers' own pipeline, by formula, and what can't be drawn."""

from dataclasses import replace

import diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_img2img as theirs
import numpy as np
import pytest
import torch
from diffusers import EulerDiscreteScheduler
from PIL import Image

from sfumato import InitImage, Mask, Txt2ImgRequest
from sfumato.engine import source
from sfumato.engine.conditioning import Conditioning, Track
from sfumato.engine.draw import GuidedNetwork, Sampler
from sfumato.engine.resolve import resolve
from sfumato.errors import RequestError
from sfumato.families.decode import encode
from sfumato.families.text import read
from sfumato.jobs import wire
from sfumato.runtime.rng import BatchNoise

SIDE = 32


def _gradient(width, height):
    across, down = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([across, down, 255 - across], axis=2).astype(np.uint8))


REQUEST = Txt2ImgRequest(
    prompt="a cat",
    width=SIDE,
    height=SIDE,
    steps=6,
    seed=5,
    sampler="Euler a",
    init=InitImage(picture=_gradient(48, 64)),
)


def _pixels(image):
    return np.asarray(image).astype(int)


def _with(request=REQUEST, **changes):
    return replace(request, init=replace(request.init, **changes))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_latents_are_those_of_diffusers(studio, networks, monkeypatch):
    steps, scale, picture = 10, 5.0, _gradient(SIDE, SIDE)
    model = studio.load()
    request = replace(REQUEST, steps=steps, sampler="Euler", scheduler="normal", cfg_scale=scale)
    # int(0.5 * 10) + 1 steps as the web UI counts; diffusers takes int(0.6 * 10).
    job = resolve(_with(request, picture=picture, denoising_strength=0.5), model.networks.spec)
    with torch.inference_mode():
        words, unwanted = (read(model.networks, ((text, 1.0),)) for text in ("a cat", "blurry"))
        tracks = [Track(1.0, ((steps, one),)) for one in (words, unwanted)]
        network = GuidedNetwork(model.networks, Conditioning((tracks[0],), tracks[1]), scale)
        ours = Sampler(job, model.networks, network, model.schedule, None).run()
        start = encode(model.networks, source.to_pixels(picture))
    noise = BatchNoise((5,), tuple(start.shape[1:])).initial()
    monkeypatch.setattr(theirs, "randn_tensor", lambda *_, **__: noise)
    unet, coder, _ = networks
    scheduler = EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", timestep_spacing="linspace"
    )
    pipeline = theirs.StableDiffusionImg2ImgPipeline(
        coder, None, None, unet, scheduler, None, None, requires_safety_checker=False
    )
    pipeline.set_progress_bar_config(disable=True)
    expected = pipeline(
        prompt_embeds=words.context, negative_prompt_embeds=unwanted.context, image=start, strength=0.6,
        num_inference_steps=steps, guidance_scale=scale, output_type="latent",
    ).images  # fmt: skip

    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize(("strength", "taken"), [(0.0, 1), (0.5, 4), (0.75, 5), (0.99, 6), (1.0, 6)])
def test_strength_says_how_many_steps_are_taken(studio, strength, taken):
    seen = []
    studio.generate(_with(denoising_strength=strength), seen.append)

    assert [(event.step, event.steps) for event in seen] == [(k + 1, taken) for k in range(taken)]


def test_picture_k_of_a_batch_is_the_single_picture_of_seed_plus_k(studio):
    batch = studio.generate(replace(REQUEST, batch_size=2))
    alone = studio.generate(replace(REQUEST, seed=6)).images[0]

    assert np.abs(_pixels(batch.images[1]) - _pixels(alone)).max() <= 1
    assert np.abs(_pixels(batch.images[0]) - _pixels(alone)).max() > 1


def test_a_stored_request_goes_on_with_the_same_bits(studio, tmp_path):
    events = []
    whole = studio.generate(REQUEST, events.append).images[0]
    again = wire.load(wire.dump(REQUEST, tmp_path), tmp_path)
    resumed = studio.generate(again, resume=events[2].resume).images[0]

    assert (_pixels(whole) == _pixels(resumed)).all()


@pytest.fixture
def small(studio, monkeypatch):
    """The studio, whose model is made for pictures of 16x16 here."""
    spec = replace(studio.load().networks.spec, native_size=(16, 16))
    monkeypatch.setattr(studio.load().networks, "spec", spec)
    return studio


def test_far_above_the_models_size_a_loose_start_is_drawn_in_two_passes(small):
    events = []
    asked = _with(denoising_strength=0.75, resize_mode="crop")
    drawn = small.generate(asked, events.append)
    legs = {event.resume.leg: event.resume.latent.shape[-1] for event in events}
    resumed = [small.generate(asked, resume=events[k].resume).images[0] for k in (1, 5)]

    assert [(event.step, event.steps) for event in events] == [(k + 1, 7) for k in range(7)]
    assert legs == {0: 16 // 2, 1: SIDE // 2}
    assert drawn.images[0].size == (SIDE, SIDE)
    assert all((_pixels(drawn.images[0]) == _pixels(each)).all() for each in resumed)
    assert (drawn.infos[0].first_size, drawn.infos[0].extra) == (None, {"Denoising strength": 0.75})


@pytest.mark.parametrize(("side", "passes"), [(8, 1), (24, 2)])
def test_a_large_part_under_a_mask_is_drawn_in_two_passes_and_the_rest_stays(small, side, passes):
    mask = Image.new("L", (SIDE, SIDE))
    mask.paste(255, (2, 2, 2 + side, 2 + side))
    picture = _gradient(SIDE, SIDE)
    events = []
    asked = _with(picture=picture, denoising_strength=1.0, mask=Mask(picture=mask, blur=0.0))
    drawn = small.generate(asked, events.append).images[0]
    again = small.generate(asked, resume=events[-2].resume).images[0]
    changed = np.abs(_pixels(drawn) - _pixels(picture)).max(axis=2) > 0

    assert len({event.resume.leg for event in events}) == passes
    assert (_pixels(drawn) == _pixels(again)).all()
    assert not changed[np.asarray(mask) == 0].any()
    assert changed[np.asarray(mask) > 0].mean() > 0.9


@pytest.mark.parametrize("strength", [0.3, 0.7])
def test_what_the_other_picture_leads_is_drawn_in_one_pass(small, strength):
    assert resolve(_with(denoising_strength=strength), small.load().networks.spec).second is None


def test_a_first_pass_starts_from_all_that_the_second_one_shows(small):
    networks = small.load().networks
    halves = Image.new("RGB", (64, 32), "red")
    halves.paste((0, 0, 255), (32, 0, 64, 32))
    with torch.inference_mode():
        found = source.to_latent(networks, InitImage(picture=halves, resize_mode="crop"), 16, 16, (32, 16))
        expected = encode(networks, source.to_pixels(halves.resize((16, 16), Image.Resampling.LANCZOS)))

    torch.testing.assert_close(found, expected, rtol=0, atol=0.05)


def test_the_size_is_the_pictures_to_the_nearest_that_can_be_drawn(studio):
    result = studio.generate(replace(_with(picture=_gradient(45, 61)), width=None, height=None, steps=1))

    assert result.images[0].size == (44, 60)
    assert result.infos[0].extra == {"Denoising strength": 0.75}


def test_latent_resizing_is_of_the_latent(studio):
    networks = studio.load().networks
    init = InitImage(picture=_gradient(16, 32), resize_mode="latent")
    with torch.inference_mode():
        small = encode(networks, source.to_pixels(init.picture))
        found = source.to_latent(networks, init, 64, 64)
    expected = torch.nn.functional.interpolate(small, tuple(found.shape[2:]), mode="bilinear")

    torch.testing.assert_close(found, expected)


def test_crop_keeps_the_middle_and_fill_repeats_the_edge():
    wide = Image.new("RGB", (40, 20), "red")
    wide.paste((0, 0, 255), (10, 0, 30, 20))
    cropped, filled = (_pixels(source.fit(wide, 20, 20, mode)) for mode in ("crop", "fill"))

    assert cropped.shape == filled.shape == (20, 20, 3)
    assert (cropped == (0, 0, 255)).all()
    assert (filled[:5] == filled[5]).all()
    assert (filled[15:] == filled[14]).all()
    assert (filled[10, 10] == (0, 0, 255)).all()
    assert (filled[10, 0] == (255, 0, 0)).all()


def test_what_lets_through_lies_on_white():
    clear = Image.new("RGBA", (2, 1), (255, 0, 0, 0))
    clear.putpixel((1, 0), (255, 0, 0, 255))

    assert list(source.opaque(clear).tobytes()) == [255, 255, 255, 255, 0, 0]


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"denoising_strength": 1.5}, "denoising_strength"),
        ({"denoising_strength": float("nan")}, "denoising_strength"),
        ({"resize_mode": "bend"}, "stretch, crop, fill, latent"),
    ],
)
def test_what_cant_be_drawn_is_refused(studio, changes, word):
    with pytest.raises(RequestError, match=word):
        studio.generate(_with(**changes))
