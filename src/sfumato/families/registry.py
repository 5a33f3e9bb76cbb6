"""Every family that can be loaded, and which one a file is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

import torch

from sfumato.families import sd1
from sfumato.families.base import Networks

Load = Callable[[Path, torch.dtype, torch.dtype, torch.device], Networks]

FAMILIES: Mapping[str, ModuleType] = {"sd1": sd1}


def load(path: Path, dtype: torch.dtype, vae_dtype: torch.dtype, device: torch.device) -> Networks:
    """Load a checkpoint file or diffusers folder.

    Raises:
        CheckpointError: it is damaged or of no known family; the message names the nearest and what is missing.
    """
    return sd1.load(path, dtype, vae_dtype, device)
