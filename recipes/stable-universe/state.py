"""Training state on disk: written whole or not at all, and read back to go on where it stopped."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch


def save_state(path: Path, step: int, **parts: Any) -> None:
    """Save each part's ``state_dict`` and the step: temporary name, fsync, rename."""
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        torch.save({"step": step, **{name: part.state_dict() for name, part in parts.items()}}, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def load_state(path: Path, **parts: Any) -> int:
    """Fill each part from the file and return the step to go on from."""
    saved = torch.load(path, weights_only=True, mmap=True)
    for name, part in parts.items():
        part.load_state_dict(saved[name])
    return saved["step"]
