"""Varied noise, seed resize, edges that fit and rescaled guidance, through the studio."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))
from checkpoints import make_networks, write_ldm

from sfumato import Studio, Txt2ImgRequest
from sfumato.engine.draw import to_images
from sfumato.errors import RequestError
from sfumato.gallery import infotext
from sfumato.runtime.seamless import seamless

REQUEST = Txt2ImgRequest(prompt="a cat", width=32, height=32, steps=3, seed=5, sampler="Euler")


@pytest.fixture(scope="module")
def networks():
    return make_networks(seed=1)


@pytest.fixture(scope="module")
def path(networks, tmp_path_factory):
    return write_ldm(tmp_path_factory.mktemp("m") / "tiny.safetensors", *networks)


@pytest.fixture(scope="module")
def studio(path):
    return Studio(path, device="cpu", precision="full")


def _pixels(image):
    return np.asarray(image).astype(int)


def _draw(studio, **changes):
    return studio.generate(replace(REQUEST, **changes))


def test_a_variation_lies_between_two_seeds(studio):
    ends = [_pixels(_draw(studio, seed=seed).images[0]) for seed in (5, 9)]
    near, far = (_pixels(_draw(studio, subseed=9, subseed_strength=s).images[0]) for s in (0.1, 0.999999))

    assert np.abs(far - ends[1]).max() <= 1
    assert 0 < np.abs(near - ends[0]).mean() < np.abs(near - ends[1]).mean()


def test_a_batch_of_variations_shares_the_seed_and_counts_subseeds(studio):
    batch = _draw(studio, subseed=9, subseed_strength=0.3, batch_size=2)
    alone = _draw(studio, subseed=10, subseed_strength=0.3)

    assert [info.seed for info in batch.infos] == [5, 5]
    assert [info.extra["Variation seed"] for info in batch.infos] == [9, 10]
    assert np.abs(_pixels(batch.images[1]) - _pixels(alone.images[0])).max() <= 1


@pytest.mark.parametrize(
    "changes",
    [
        {"subseed_strength": 0.25},
        {"seed_resize_from_w": 24, "seed_resize_from_h": 40},
        {"tiling": True},
        {"guidance_rescale": 0.7},
    ],
)
def test_metadata_are_enough_to_draw_it_again(studio, changes):
    result = _draw(studio, **changes)
    text = infotext.write(result.infos[0])

    again = studio.generate(infotext.to_request(infotext.parse(text)))

    assert (_pixels(again.images[0]) == _pixels(result.images[0])).all()
    assert (_pixels(again.images[0]) != _pixels(_draw(studio).images[0])).any()
    assert infotext.write(again.infos[0]) == text


def _circular(networks):
    for network in networks:
        for module in network.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.padding_mode = "circular"


def test_tiling_is_circular_padding_in_diffusers_modules(studio, path):
    other = Studio(path, device="cpu", precision="full")
    _circular([other.load().networks.unet, other.load().networks.vae])

    expected, plain = _pixels(_draw(other).images[0]), _pixels(_draw(studio).images[0])
    found = _pixels(_draw(studio, tiling=True).images[0])

    assert np.abs(found - expected).max() <= 1
    assert (_pixels(_draw(studio).images[0]) == plain).all(), "for that request only"


def test_a_tiled_pictures_edge_is_like_its_middle(studio):
    networks = studio.load().networks
    factor = networks.spec.latent_factor
    latent = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(2))
    turned = latent.roll((8, 8), (2, 3))

    def drawn(one, tile=0):
        return _pixels(to_images(networks, one, tile, wrap=True)[0])

    with torch.inference_mode():
        plain = np.abs(np.roll(drawn(latent), (8 * factor,) * 2, (0, 1)) - drawn(turned))
        with seamless(networks.vae):
            whole = np.abs(np.roll(drawn(latent), (8 * factor,) * 2, (0, 1)) - drawn(turned))
            pieces = np.abs(drawn(latent, 12) - drawn(latent))

    assert plain[:2].max() > 20, "its seam would be seen in the middle"
    assert whole.max() <= 1, "what was the edge is drawn as it is in the middle"
    assert pieces[[0, -1]].mean() <= 1.2 * pieces.mean(), "tiles see around the edge"


def test_an_error_in_the_middle_leaves_nothing_tiled(studio):
    before = _pixels(_draw(studio).images[0])

    def stop(event):
        raise KeyError

    with pytest.raises(KeyError):
        studio.generate(replace(REQUEST, tiling=True), stop)

    assert (_pixels(_draw(studio).images[0]) == before).all()


@pytest.mark.parametrize("changes", [{"tiling": True}, {"subseed": 9, "subseed_strength": 0.3, "sampler": "Euler a"}])
def test_a_resume_gives_the_same_bits(studio, changes):
    events = []
    request = replace(REQUEST, **changes)
    whole = studio.generate(request, events.append).images[0]

    resumed = studio.generate(request, resume=events[0].resume).images[0]

    assert (_pixels(whole) == _pixels(resumed)).all()


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"subseed_strength": 1.5}, "subseed_strength"),
        ({"subseed_strength": float("nan")}, "subseed_strength"),
        ({"subseed_strength": 0.5, "subseed": -2}, "subseed"),
        ({"seed_resize_from_w": 64}, "give both"),
        ({"seed_resize_from_w": 64, "seed_resize_from_h": 1}, "seed_resize_from_h"),
        ({"guidance_rescale": -0.1}, "guidance_rescale"),
    ],
)
def test_what_cant_be_drawn_is_refused(studio, changes, word):
    with pytest.raises(RequestError, match=word):
        _draw(studio, **changes)


def test_a_prompts_choices_follow_from_the_seed(studio, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wildcards").mkdir()
    (tmp_path / "wildcards" / "animal.txt").write_text("cat\ndog\nbird\n")
    prompt = "a {red|blue} __animal__"

    results = [_draw(studio, prompt=prompt, seed=seed, steps=1) for seed in (1, 2, 3, 1)]
    again = studio.generate(infotext.to_request(infotext.parse(infotext.write(results[0].infos[0]))))

    said = [result.infos[0] for result in results]
    assert len({info.prompt for info in said}) > 1
    assert all("{" not in info.prompt and "__" not in info.prompt for info in said)
    assert {info.extra["Template"] for info in said} == {prompt}
    for other in (results[3], again):
        assert other.infos[0].prompt == said[0].prompt
        assert (_pixels(other.images[0]) == _pixels(results[0].images[0])).all()
    with pytest.raises(RequestError, match="nearest: 'animal'"):
        _draw(studio, prompt="an __animals__")
