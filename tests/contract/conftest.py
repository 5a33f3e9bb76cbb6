"""A tiny Stable Diffusion of random weights, as one LDM file."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file; it uses CLIP's whole vocabulary."""
    from checkpoints import make_networks, write_ldm

    networks = make_networks(widths=(16, 32), vae=(16, 32), context=32, text_layers=1)
    return write_ldm(tmp_path_factory.mktemp("models") / "my-model.safetensors", *networks)
