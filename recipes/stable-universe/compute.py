"""What the networks compute in: bfloat16 where the processor multiplies it natively, else float32."""

from __future__ import annotations

import torch

from sfumato.runtime.device import probe

QUICK = probe("cpu").bf16
DTYPE = torch.bfloat16 if QUICK else torch.float32


def autocast() -> torch.autocast:
    """A context in which networks compute in :data:`DTYPE`."""
    return torch.autocast("cpu", torch.bfloat16, enabled=QUICK)
