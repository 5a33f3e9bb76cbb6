"""Drawing a part of a picture: against diffusers' own pipeline, what stays, what it starts from, what is refused."""

from dataclasses import replace

import diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_inpaint as theirs
import numpy as np
import pytest
import torch
from diffusers import EulerDiscreteScheduler
from PIL import Image

from sfumato import InitImage, Mask, Txt2ImgRequest
from sfumato.engine import source, surroundings
from sfumato.engine.conditioning import Conditioning, Track
from sfumato.engine.draw import GuidedNetwork, Sampler, to_images
from sfumato.engine.resolve import resolve
from sfumato.errors import RequestError
from sfumato.families.decode import encode
from sfumato.families.text import read
from sfumato.imaging import masks
from sfumato.jobs import wire
from sfumato.runtime.rng import BatchNoise

SIDE = 32


def _gradient(width, height):
    across, down = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([across, down, 255 - across], axis=2).astype(np.uint8))


def _box(size, box, level=255):
    mask = Image.new("L", size)
    mask.paste(level, box)
    return mask


PICTURE = _gradient(SIDE, SIDE)
HALF = _box((SIDE, SIDE), (0, 0, 16, SIDE))
REQUEST = Txt2ImgRequest(
    prompt="a cat",
    steps=6,
    seed=5,
    sampler="Euler a",
    init=InitImage(picture=PICTURE, mask=Mask(picture=HALF, blur=0)),
)


def _pixels(image):
    return np.asarray(image).astype(int)


def _with(request=REQUEST, **changes):
    return replace(request, init=replace(request.init, **changes))


def _masked(request=REQUEST, **changes):
    return _with(request, mask=replace(request.init.mask, **changes))


def _sampled(model, job, scale):
    """Our latents, and the words that they were drawn by."""
    words, unwanted = (read(model.networks, ((text, 1.0),)) for text in ("a cat", "blurry"))
    tracks = [Track(1.0, ((job.request.steps, one),)) for one in (words, unwanted)]
    network = GuidedNetwork(model.networks, Conditioning((tracks[0],), tracks[1]), scale)
    part = source.part_of(job.request, job.width, job.height)
    ours = Sampler(job, model.networks, network, model.schedule, None, part=part).run()
    return ours, words.context, unwanted.context


def _pipeline(networks):
    unet, coder, _ = networks
    scheduler = EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", timestep_spacing="linspace"
    )
    pipeline = theirs.StableDiffusionInpaintPipeline(
        coder, None, None, unet, scheduler, None, None, requires_safety_checker=False
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _fixed(monkeypatch, noise, start):
    """Their pipeline with our noise and with the mean of what the autoencoder makes of a picture."""
    monkeypatch.setattr(theirs, "randn_tensor", lambda *_, **__: noise)
    monkeypatch.setattr(theirs, "retrieve_latents", lambda *_, **__: start / 0.18215)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_latents_and_pixels_are_those_of_diffusers(studio, networks, monkeypatch):
    steps, scale = 10, 5.0
    model = studio.load()
    # int(0.5 * 10) + 1 steps as the web UI counts; diffusers takes int(0.6 * 10).
    request = replace(REQUEST, steps=steps, sampler="Euler", scheduler="normal", cfg_scale=scale)
    job = resolve(_with(request, denoising_strength=0.5), model.networks.spec)
    with torch.inference_mode():
        ours, words, unwanted = _sampled(model, job, scale)
        start = encode(model.networks, source.to_pixels(PICTURE))
    _fixed(monkeypatch, BatchNoise((5,), tuple(start.shape[1:])).initial(), start)
    expected = _pipeline(networks)(
        prompt_embeds=words, negative_prompt_embeds=unwanted, image=PICTURE, mask_image=HALF, strength=0.6,
        num_inference_steps=steps, guidance_scale=scale, width=SIDE, height=SIDE, output_type="latent",
    ).images  # fmt: skip

    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-3)
    with torch.inference_mode():
        mine, other = (_pixels(to_images(model.networks, latent)[0]) for latent in (ours, expected))
    assert np.abs(mine - other).mean() < 1


@pytest.mark.parametrize(("blur", "sampler"), [(0, "Euler a"), (2, "DPM++ 2M")])
def test_what_is_outside_keeps_its_bytes_and_the_rest_is_drawn(studio, blur, sampler):
    request = replace(_masked(blur=blur), batch_size=2, sampler=sampler)
    mask = _pixels(masks.soft(request.init.mask, PICTURE.size))
    first, second = (_pixels(image) for image in studio.generate(request).images)

    for image in (first, second):
        assert (image[mask == 0] == _pixels(PICTURE)[mask == 0]).all()
        assert np.abs(image - _pixels(PICTURE))[mask == 255].mean() > 1
    assert (mask == 0).sum() > 100
    assert np.abs(first - second).max() > 1


def test_picture_k_of_a_batch_is_the_single_picture_of_seed_plus_k(studio):
    request = _masked(fill="latent noise")
    batch = studio.generate(replace(request, batch_size=2)).images[1]
    alone = studio.generate(replace(request, seed=6)).images[0]

    assert np.abs(_pixels(batch) - _pixels(alone)).max() <= 1


@pytest.mark.parametrize("sampler", ["UniPC", "DPM++ SDE"])
def test_a_stored_request_goes_on_with_the_same_bits(studio, tmp_path, sampler):
    events = []
    request = replace(_masked(fill="fill", blur=2.5, only_masked=True, padding=4), sampler=sampler)
    whole = studio.generate(request, events.append).images[0]
    again = wire.load(wire.dump(request, tmp_path), tmp_path)
    resumed = studio.generate(again, resume=events[2].resume).images[0]

    assert (_pixels(whole) == _pixels(resumed)).all()


def test_the_clean_latent_outside_is_the_pictures_at_each_step(studio):
    networks, seen = studio.load().networks, []
    with torch.inference_mode():
        held = source.hold(networks, source.part_of(REQUEST, SIDE, SIDE))
    studio.generate(REQUEST, lambda event: seen.append(event.resume))

    half = held.latent.shape[-1] // 2
    assert held.mask[..., :half].min() == 1
    assert held.mask[..., half:].max() == 0
    torch.testing.assert_close(seen[-1].latent[..., half:], held.latent[..., half:], rtol=0, atol=1e-5)


def test_each_fill_starts_from_what_it_says(studio):
    networks = studio.load().networks
    with torch.inference_mode():
        part = source.part_of(REQUEST, SIDE, SIDE)
        held, noise = source.hold(networks, part), torch.full((2, 4, 16, 16), 3.0)
        found = {how: source.fill(networks, part, held, how, noise) for how in ("original", "fill")}
        noisy, nothing = (source.fill(networks, part, held, how, noise) for how in ("latent noise", "latent nothing"))

    width = held.latent.shape[-1] // 2
    assert (found["original"] == held.latent).all()
    assert (found["fill"] - held.latent)[..., :width].abs().mean() > 1e-4
    assert (nothing[..., :width] == 0).all()
    assert (nothing[..., width:] == held.latent[..., width:]).all()
    assert (noisy[..., :width] == 3).all()
    assert len(noisy) == 2
    pictures = [_pixels(studio.generate(_masked(fill=how)).images[0]) for how in masks.MASK_FILLS]
    assert len({picture.tobytes() for picture in pictures}) == 4


def test_surroundings_go_on_under_the_mask():
    pixels = torch.zeros(1, 3, 20, 30)
    pixels[:, 0], pixels[..., 10:20] = 1.0, 0.5
    mask = torch.zeros(1, 1, 20, 30)
    mask[..., 10:20] = 1
    found = surroundings.surroundings(pixels, mask)

    assert (found[..., :10] == pixels[..., :10]).all()
    torch.testing.assert_close(found[:, 0, :, 10:20], torch.ones(1, 20, 10))
    assert found[:, 1:].max() < 1e-6
    torch.testing.assert_close(surroundings.surroundings(pixels, torch.ones_like(mask)), torch.full_like(pixels, 0.5))


def test_only_the_part_is_drawn_and_put_back(studio):
    picture = _gradient(90, 61)
    request = _with(picture=picture, mask=Mask(picture=_box((90, 61), (40, 20, 50, 30)), blur=0, only_masked=True,
                    padding=5))  # fmt: skip
    request = replace(request, width=64, height=32)
    part = source.part_of(request, 64, 32)
    result = studio.generate(request)
    changed = np.abs(_pixels(result.images[0]) - _pixels(picture)).max(axis=2) > 0

    assert part.box == (25, 15, 65, 35)
    assert result.images[0].size == (90, 61)
    assert changed[20:30, 40:50].mean() > 0.5
    changed[20:30, 40:50] = False
    assert not changed.any()


@pytest.mark.parametrize(
    ("box", "padding", "shape", "expected"),
    [
        ((0, 0, 10, 10), 0, (64, 32), (0, 0, 20, 10)),
        ((90, 50, 100, 60), 0, (64, 32), (80, 50, 100, 60)),
        ((0, 0, 100, 10), 8, (32, 64), (0, 0, 100, 60)),
    ],
)
def test_the_part_lies_in_the_picture(box, padding, shape, expected):
    assert masks.region(_box((100, 60), box), padding, *shape) == expected


def test_without_a_size_the_picture_keeps_its_own(studio):
    picture = _gradient(45, 61)
    mask = _box((45, 61), (0, 0, 20, 61))
    result = studio.generate(_with(picture=picture, mask=Mask(picture=mask, blur=0)))

    assert result.images[0].size == (45, 61)
    assert (_pixels(result.images[0])[:, 20:] == _pixels(picture)[:, 20:]).all()


def test_a_mask_is_stretched_turned_around_and_kept_soft():
    small = Image.new("L", (2, 1))
    small.putpixel((0, 0), 255)
    stretched = _pixels(masks.soft(Mask(picture=small, blur=0), (20, 10)))
    turned = _pixels(masks.soft(Mask(picture=small, blur=0, invert=True), (20, 10)))
    grey = _pixels(masks.soft(Mask(picture=Image.new("L", (4, 4), 100)), (8, 8)))
    across = _pixels(masks.soft(Mask(picture=HALF, blur=3, blur_y=0), HALF.size))

    assert stretched.shape == (10, 20)
    assert (stretched[0, 0], stretched[0, -1]) == (255, 0)
    assert (turned == 255 - stretched).all()
    assert (grey == 100).all()
    assert 0 < across[16, 17] < 255
    assert (across == across[0]).all()


def test_what_lets_through_is_not_drawn():
    clear = Image.new("RGBA", (2, 1), (255, 255, 255, 0))
    clear.putpixel((1, 0), (255, 255, 255, 255))

    assert list(masks.levels(clear).tobytes()) == [0, 255]


def test_the_metadata_says_it_as_the_web_ui_does(studio):
    info = studio.generate(_masked(fill="fill", invert=True, only_masked=True, padding=8, blur=2)).infos[0]

    assert info.extra == {
        "Denoising strength": 0.75, "Mask blur": 2, "Mask mode": "Inpaint not masked", "Masked content": "fill",
        "Inpaint area": "Only masked", "Masked area padding": 8,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"picture": Image.new("RGB", (8, 8))}, "black everywhere"),
        ({"picture": Image.new("1", (8, 8), 1), "invert": True}, "white everywhere"),
        ({"fill": "sand"}, "latent nothing"),
        ({"blur": float("nan")}, "blur is nan"),
        ({"blur_y": -1.0}, "blur is -1"),
        ({"padding": -1}, "padding is -1"),
        ({"picture": _box((32, 32), (3, 3, 4, 4), 1), "blur": 30.0, "only_masked": True}, "too faint"),
    ],
)
def test_what_cant_be_drawn_is_refused(studio, changes, word):
    with pytest.raises(RequestError, match=word):
        studio.generate(_masked(**changes))
