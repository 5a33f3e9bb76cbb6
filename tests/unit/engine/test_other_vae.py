"""Another autoencoder than the model's own, by the request."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).parents[2]))
from checkpoints import make_networks, write_ldm

from sfumato import Studio, Txt2ImgRequest
from sfumato.errors import CheckpointError
from sfumato.gallery import infotext
from sfumato.weights.keymaps import ldm

REQUEST = Txt2ImgRequest(prompt="a cat", width=32, height=32, steps=2, seed=5)


@pytest.fixture
def folder(tmp_path):
    write_ldm(tmp_path / "tiny.safetensors", *make_networks(seed=1))
    whole = load_file(write_ldm(tmp_path / "whole", *make_networks(seed=2)))
    (tmp_path / "vae").mkdir()
    save_file({n: t for n, t in whole.items() if n.startswith(ldm.VAE)}, tmp_path / "vae" / "other.safetensors")
    (tmp_path / "whole").unlink()
    return tmp_path


def _pixels(result):
    return np.asarray(result.images[0], dtype=float)


def test_a_request_decodes_with_another_and_the_next_with_the_own(folder):
    studio = Studio("tiny", device="cpu", precision="full", models_folders=[folder])
    named = Studio("tiny", device="cpu", precision="full", models_folders=[folder], vae="other")
    own, other = studio.generate(REQUEST), studio.generate(replace(REQUEST, vae="other"))

    assert np.array_equal(_pixels(other), _pixels(named.generate(REQUEST)))
    assert np.abs(_pixels(own) - _pixels(other)).mean() > 5
    assert np.array_equal(_pixels(own), _pixels(studio.generate(REQUEST)))
    assert np.array_equal(_pixels(own), _pixels(named.generate(replace(REQUEST, vae=""))))


def test_the_metadata_say_it(folder):
    studio = Studio("tiny", device="cpu", precision="full", models_folders=[folder])

    info = studio.generate(replace(REQUEST, vae="other")).infos[0]

    assert infotext.to_request(infotext.parse(infotext.write(info))).vae == "other"
    assert "VAE" not in studio.generate(REQUEST).infos[0].extra


def test_one_that_is_not_there_leaves_the_model(folder):
    studio = Studio("tiny", device="cpu", precision="full", models_folders=[folder])
    before = studio.load()

    with pytest.raises(CheckpointError, match="othre"):
        studio.generate(replace(REQUEST, vae="othre"))
    assert studio.load() is before
