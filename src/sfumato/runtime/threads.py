"""How many processor threads torch uses."""

from __future__ import annotations

import torch

from sfumato.errors import DeviceError


def set_threads(count: int | None) -> None:
    """Use ``count`` threads; None leaves torch's own choice, the number of cores."""
    if count is None:
        return
    if count < 1:
        raise DeviceError(f"threads is {count}; give 1 or more, or leave it out to use every core")
    torch.set_num_threads(count)
