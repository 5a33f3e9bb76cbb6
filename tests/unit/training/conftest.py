"""A tiny model and four pictures for training runs."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2]))
from checkpoints import make_networks, write_folder, write_ldm

from sfumato.training import samples
from sfumato.training.run import Places, Run
from sfumato.training.settings import DataSettings, MethodSettings, TrainSettings


@pytest.fixture(autouse=True)
def short_samples(monkeypatch):
    """Sample pictures take two steps here, not twenty."""
    monkeypatch.setattr(samples, "STEPS", 2)


COLOURS = ("red", "green", "blue", "white")


@pytest.fixture(scope="session")
def ldm_file(tmp_path_factory):
    return write_ldm(tmp_path_factory.mktemp("base") / "tiny.safetensors", *make_networks(seed=5))


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("base") / "tiny", *make_networks(seed=5))


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for name in COLOURS:
        Image.new("RGB", (40, 40), name).save(folder / f"a {name} wall.png")
    return folder


@pytest.fixture
def make_run(ldm_file, pictures, tmp_path):
    """A run of three steps in float32 at 32x32; keywords change its settings."""

    def make(name="run", base=None, method=None, data=None, **changes):
        options = {"data_dir": pictures, "resolution": 32, **(data or {})}
        what = replace(MethodSettings(rank=4), **(method or {}))
        settings = TrainSettings(
            data=DataSettings(**options), what=what,
            **{"max_steps": 3, "mixed_precision": "no", "sample_every": 0, "learning_rate": 1e-3, **changes},
        )  # fmt: skip
        base = base or ldm_file
        folder = what.method == "full" and base.is_dir()
        output = tmp_path / "out" / (name if folder else f"{name}.safetensors")
        return Run(settings, Places(base=base, run=tmp_path / name, output=output), device="cpu")

    return make


@pytest.fixture
def trained(make_run):
    """The same, trained: (run, its finished steps)."""

    def train(*args, resume=None, **changes):
        run, steps = make_run(*args, **changes), []
        run.start(resume, steps.append)
        return run, steps

    return train
