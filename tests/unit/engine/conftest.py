"""A tiny model in a file, and a studio of it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))
from checkpoints import make_networks, write_ldm

from sfumato import Studio


@pytest.fixture(scope="module")
def networks():
    return make_networks(seed=1)


@pytest.fixture(scope="module")
def studio(networks, tmp_path_factory):
    path = write_ldm(tmp_path_factory.mktemp("m") / "tiny.safetensors", *networks)
    return Studio(path, device="cpu", precision="full")
