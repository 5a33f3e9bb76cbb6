"""A network that enlarges pictures, for tests."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file


def write_plain(folder: Path, name: str = "plain") -> Path:
    """An SRVGGNet that adds nothing, twice the size: the nearest pixels."""
    made = {"body.0.weight": torch.zeros(2, 3, 3, 3), "body.0.bias": torch.zeros(2), "body.1.weight": torch.zeros(2)}
    made |= {"body.2.weight": torch.zeros(12, 2, 3, 3), "body.2.bias": torch.zeros(12)}
    folder.mkdir(parents=True)
    path = folder / f"{name}.safetensors"
    save_file(made, path)
    return path
